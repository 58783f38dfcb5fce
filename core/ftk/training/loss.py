"""The loss on supervised tokens only, without the logits of all the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from ..data.batches import Batch


class SupervisedHead:
    """Lets a model's output layer see only the positions that the loss counts.

    Vocabularies are large: for a row of 512 tokens the logits of SmolLM2 alone take 100 MB in float32. A hook
    before the output layer picks the wanted positions, so that the model's own forward pass (soft-capping and
    scaling of logits included) does the rest, in every architecture.
    """

    def __init__(self, model: Any) -> None:
        self._positions: torch.Tensor | None = None
        head = model.get_output_embeddings()
        self._hook = head.register_forward_pre_hook(self._select)

    def _select(self, module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._positions is None:
            return None
        return (inputs[0][self._positions], *inputs[1:])

    @contextmanager
    def only(self, positions: torch.Tensor) -> Iterator[None]:
        """Within the block, logits have the shape (true places of `positions`, vocabulary)."""
        self._positions = positions
        try:
            yield
        finally:
            self._positions = None

    def remove(self) -> None:
        """Take the hook off."""
        self._hook.remove()


def summed_loss(model: Any, head: SupervisedHead, batch: Batch, device: torch.device) -> torch.Tensor:
    """The cross-entropy summed over a micro-batch's supervised tokens, in float32.

    A sum and not a mean: what it is divided by is the number of supervised tokens of the whole step, so that
    every token weighs the same whatever the micro-batches are.
    """
    with head.only(batch.predict.to(device, non_blocking=True)):
        logits = model(
            input_ids=batch.input_ids.to(device, non_blocking=True),
            attention_mask=batch.attention_mask.to(device, non_blocking=True),
            use_cache=False,
        ).logits
    labels = batch.labels.to(device, non_blocking=True)
    return functional.cross_entropy(logits.float(), labels, reduction="sum")
