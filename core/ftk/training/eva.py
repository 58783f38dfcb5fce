"""Begin an adapter along what the base model makes of the data (EVA, arXiv:2410.07170, through peft)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..config import RunConfig
from ..data.batches import StepPlan, collate, lengths_of
from ..data.encoding import Example

_BATCHES = 64
"""Most batches that are looked at; peft stops earlier, when the directions have settled."""


class _Batches:
    """Padded batches in the order of training, any number of times."""

    def __init__(self, examples: Sequence[Example], pad: int, config: RunConfig, device: torch.device) -> None:
        self._examples, self._pad, self._device = examples, pad, device
        self._plan = StepPlan(lengths_of(examples), config.batch_size, config.seed)

    def __len__(self) -> int:
        return min(_BATCHES, self._plan.steps_per_epoch)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for step in range(len(self)):
            batch = collate([self._examples[row] for row in self._plan.rows(step)], self._pad)
            yield {
                "input_ids": batch.input_ids.to(self._device),
                "attention_mask": batch.attention_mask.to(self._device),
            }


def initialise(model: Any, examples: Sequence[Example], pad: int, config: RunConfig) -> None:
    """Set the matrices A to the main directions of their inputs over the data; B stays zero, so nothing changes yet.

    Args:
        model: A model whose adapter was made with ``eva``.
        examples: What it will be trained on.
        pad: Id of the padding token.
        config: Settings without any ``auto``; batches are made as they say.

    """
    from peft import initialize_lora_eva_weights

    training = model.training
    model.eval()
    device = model.get_input_embeddings().weight.device
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about layers that see too few tokens for the rank; they keep random ones
        initialize_lora_eva_weights(
            model, _Batches(examples, pad, config, device), show_progress_bar=False, gather_distributed_inputs=False
        )
    model.train(training)
