"""The cards that memory and time can be estimated for without having them; their data stands in ``cards.yaml``."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import strict_yaml
from ..errors import ConfigError, UsageError, did_you_mean
from ..recipes import packaged_dir

Positive = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(ge=0)]
_CONTEXT_PER_PROCESSOR = 3.5 * 2**20
"""Bytes of a CUDA context for each multiprocessor: 141 MiB on a T4 (40), 426 MiB on an RTX 6000 Ada (142)."""
_WORKSPACE, _WORKSPACE_HOPPER = 4096 * 2 * 2**10 + 16 * 8 * 2**10, 4096 * 8 * 2**10
"""Bytes that torch gives cuBLAS for each thread that calls it (`CUBLAS_WORKSPACE_CONFIG` of its defaults)."""


class Card(BaseModel):
    """One card; the header of ``presets/cards.yaml`` explains every field."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str
    name: str
    aliases: list[str]
    match: list[str]
    vendor: Literal["nvidia", "amd"]
    memory_gib: Positive
    processors: Annotated[int, Field(ge=1)]
    capability: Annotated[list[int], Field(min_length=2, max_length=2)]
    bfloat16: bool
    bandwidth: Positive
    bf16_tflops: Rate
    fp16_tflops: Positive
    fp32_tflops: Positive
    source: str

    @property
    def memory(self) -> int:
        """Bytes that torch may take."""
        return int(self.memory_gib * 2**30)

    @property
    def context(self) -> int:
        """Bytes that CUDA takes for itself as soon as a process uses the card."""
        return int(self.processors * _CONTEXT_PER_PROCESSOR)

    @property
    def workspace(self) -> int:
        """Bytes of cuBLAS workspaces inside torch's allocator: one for the forward thread, one for the backward."""
        return 2 * (_WORKSPACE_HOPPER if self.capability[0] == 9 and self.vendor == "nvidia" else _WORKSPACE)

    @property
    def packs_rows(self) -> bool:
        """Whether rows can go without padding: PyTorch's flash attention runs from compute capability 8.0."""
        return tuple(self.capability) >= (8, 0)

    def rate(self, precision: str) -> float:
        """Operations a second in a number format, on paper; in bfloat16 without units for it, that of float32."""
        rates = {"float16": self.fp16_tflops, "bfloat16": self.bf16_tflops or self.fp32_tflops}
        return rates.get(precision, self.fp32_tflops) * 1e12


class _Cards(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    cards: list[Card]


@cache
def cards() -> tuple[Card, ...]:
    """All cards of the list, in its order.

    Raises:
        ConfigError: the list's file was damaged.

    """
    document = strict_yaml.read(packaged_dir() / "cards.yaml", source="cards.yaml")
    try:
        return tuple(_Cards.model_validate(document.values).cards)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"cards.yaml: {where}: {first['msg']}", hint="Install ftk again.") from None


@cache
def _by_name() -> dict[str, Card]:
    return {name.lower(): card for card in cards() for name in (card.id, card.name, *card.aliases)}


def find(name: str) -> Card:
    """The card of that id, name or alias (upper and lower case alike).

    Raises:
        UsageError: the list has none of that name; the nearest is named.

    """
    known = _by_name()
    if card := known.get(name.lower()):
        return card
    raise UsageError(
        f"There is no card {name!r}.{did_you_mean(name, tuple(known))}",
        hint=f"Known cards: {', '.join(card.id for card in cards())}",
    )


def of_gpu(gpu: Any) -> Card:
    """The card that a `hardware.Gpu` is: the list's entry, with the memory that the driver states here.

    A card that the list does not have gets the rates of the nearest one in memory among those of its generation.
    """
    named = [card for card in cards() if any(_word(word, gpu.name) for word in card.match)]
    kin = [card for card in cards() if card.vendor == "nvidia" and card.capability[0] == gpu.capability[0]]
    nearest = min(named or kin or cards(), key=lambda card: abs(card.memory - gpu.memory_total))
    if not named:
        nearest = nearest.model_copy(update={"capability": list(gpu.capability), "bfloat16": gpu.bfloat16})
    return nearest.model_copy(update={"name": gpu.name, "memory_gib": gpu.memory_total / 2**30})


def _word(word: str, name: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", name) is not None
