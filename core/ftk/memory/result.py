"""The answer: what takes how much, and when."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .settings import Settings

_TENSORS = (
    "weights",
    "unpacked",
    "adapters",
    "masters",
    "optimizer",
    "gradients",
    "activations",
    "loss",
    "workspace",
    "batch",
)
_BESIDES = ("context", "mapped", "loading", "fragmentation")


@dataclass(frozen=True)
class Breakdown:
    """Memory at the moment of the most, in bytes.

    Attributes:
        model: The model's name.
        device: ``cpu`` or the card's name.
        settings: What it was worked out for.
        basis: ``trace``, or ``formula`` with the reason why nothing was traced.
        moment: When the most is taken, in words.
        weights: The base model as it is stored.
        unpacked: 4-bit layers in plain numbers besides, where a processor has room for them.
        adapters: The adapter in the number format of the base.
        masters: Float32 copies of what is trained, and the best adapter so far where it is kept.
        optimizer: AdamW's moments.
        gradients: Those that are there at that moment.
        activations: What the forward pass kept for the backward pass.
        loss: Logits of a chunk with their gradient.
        workspace: What passes: temporaries of a layer, and cuBLAS's workspace on a card.
        batch: Tokens, positions and labels.
        context: What CUDA takes, or on a processor the interpreter with its libraries.
        mapped: On a processor, pages of the weight file that stay mapped although their weights were packed.
        loading: What loading the model takes beyond all that training takes.
        fragmentation: What the allocator holds beyond what it gave out.
        paged: Moments in managed memory, which leave the card when it is full; part of neither sum.
        snapshot: Main memory for a checkpoint's copy, while it is written beside the training; part of neither sum.

    """

    model: str
    device: str
    settings: Settings
    basis: str
    moment: str
    weights: int
    unpacked: int
    adapters: int
    masters: int
    optimizer: int
    gradients: int
    activations: int
    loss: int
    workspace: int
    batch: int
    context: int = 0
    mapped: int = 0
    loading: int = 0
    fragmentation: int = 0
    paged: int = 0
    snapshot: int = 0

    @property
    def tensors(self) -> int:
        """Everything that torch allocates."""
        return sum(getattr(self, name) for name in _TENSORS)

    @property
    def process(self) -> int:
        """What the process takes of the card, or on a processor of main memory."""
        return self.tensors + self.context + self.mapped + self.loading + self.fragmentation

    def parts(self) -> dict[str, int]:
        """The parts that take anything, in the order in which they are stacked; their sum is `process`."""
        named = {name: getattr(self, name) for name in (*_TENSORS, *_BESIDES)}
        return {name: size for name, size in named.items() if size}

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, with both sums."""
        return asdict(self) | {"tensors": self.tensors, "process": self.process}
