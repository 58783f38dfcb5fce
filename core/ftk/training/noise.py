"""Noise on the embeddings while training (NEFTune, arXiv:2310.05914)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..data.batches import Batch


class EmbeddingNoise:
    """Adds uniform noise to what the embedding of a model gives, while training.

    It keeps a model from learning few rows by heart. The noise reaches alpha / sqrt(length x width) in every number;
    the length is that of the row, or of padded rows that of the longest, as in transformers.

    Args:
        model: A causal language model.
        alpha: The strength; the paper uses 5 to 15.

    """

    def __init__(self, model: Any, alpha: float) -> None:
        self._alpha = alpha
        self._starts: torch.Tensor | None = None
        self._on = False
        self._hook = model.get_input_embeddings().register_forward_hook(self._add)

    @contextmanager
    def over(self, batch: Batch) -> Iterator[None]:
        """Within the block, the model embeds this batch for training."""
        self._starts, self._on = batch.starts, True
        try:
            yield
        finally:
            self._on = False

    def _add(self, module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if not self._on:
            return output
        noise = torch.empty_like(output).uniform_(-self._alpha, self._alpha)
        if self._starts is None:
            return output + noise / math.sqrt(output.size(1) * output.size(2))
        sizes = self._starts.diff().to(output.device)
        lengths = sizes.repeat_interleave(sizes)[None, :, None]
        return output + noise * (lengths * output.size(2)).rsqrt().to(output.dtype)

    def remove(self) -> None:
        """Take the hook off."""
        self._hook.remove()
