"""Noise on the embeddings while training (NEFTune, arXiv:2310.05914)."""

from __future__ import annotations

import math
from typing import Any

import torch


class EmbeddingNoise:
    """Adds uniform noise to what the embedding of a model gives, while the model is in training mode.

    It keeps a model from learning few rows by heart. The noise reaches alpha / sqrt(length x width) in every number;
    the length is that of the micro-batch with its padding, as in transformers.

    Args:
        model: A causal language model.
        alpha: The strength; the paper uses 5 to 15.

    """

    def __init__(self, model: Any, alpha: float) -> None:
        self._alpha = alpha
        self._hook = model.get_input_embeddings().register_forward_hook(self._add)

    def _add(self, module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return output
        reach = self._alpha / math.sqrt(output.size(1) * output.size(2))
        return output + torch.empty_like(output).uniform_(-reach, reach)

    def remove(self) -> None:
        """Take the hook off."""
        self._hook.remove()
