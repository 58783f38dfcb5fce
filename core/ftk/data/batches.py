"""Which rows make up which step, and the tensors of a micro-batch.

The order is a function of seed and epoch alone, so the position in the data is the number of the step: a
resumed run needs nothing else to go on with the right rows.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .encoding import Example

_WINDOW = 16  # steps whose rows are grouped by length: wide enough to save padding, narrow enough to stay random


@dataclass(frozen=True)
class Batch:
    """A padded micro-batch. Tensors of shape (rows, length): token ids, mask of real tokens, and of targets.

    `predict[b, t]` is true where the token at t + 1 is supervised; `labels` holds those tokens in the order
    of the true places of `predict`, a vector of length `targets`.
    """

    input_ids: Any
    attention_mask: Any
    predict: Any
    labels: Any
    tokens: int
    targets: int


class StepPlan:
    """The rows of every step of a run.

    Args:
        lengths: Tokens of every example.
        rows_per_step: Examples of a step.
        seed: Of the order.

    """

    def __init__(self, lengths: Sequence[int], rows_per_step: int, seed: int) -> None:
        self._lengths = lengths
        self._rows = rows_per_step
        self._seed = seed
        self.steps_per_epoch = math.ceil(len(lengths) / rows_per_step)
        self._epoch = -1
        self._steps: list[list[int]] = []

    def rows(self, step: int) -> list[int]:
        """The indices of the rows of step `step` (from 0), longest first."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._steps, self._epoch = self._order(epoch), epoch
        return self._steps[position]

    def _order(self, epoch: int) -> list[list[int]]:
        """Shuffle; sort windows of some steps by length; cut into steps; shuffle these.

        The grouping halves the padding of rows of mixed length. Every row still occurs once an epoch.
        """
        shuffle = random.Random(f"{self._seed}/{epoch}").shuffle  # noqa: S311 - not a secret
        order = list(range(len(self._lengths)))
        shuffle(order)
        width = self._rows * _WINDOW
        grouped = [
            index
            for start in range(0, len(order), width)
            for index in sorted(order[start : start + width], key=lambda i: -self._lengths[i])
        ]
        steps = [grouped[start : start + self._rows] for start in range(0, len(grouped), self._rows)]
        shuffle(steps)
        return steps


def lengths_of(examples: Sequence[Example]) -> list[int]:
    """Tokens of every example, without a look at the tokens where the examples know."""
    known = getattr(examples, "lengths", None)
    return known.tolist() if known is not None else [len(example) for example in examples]


def targets_of(examples: Sequence[Example]) -> int:
    """All supervised tokens of some examples."""
    known = getattr(examples, "targets", None)
    return int(known.sum()) if known is not None else sum(example.targets for example in examples)


def micro_batches(rows: Sequence[int], size: int) -> list[list[int]]:
    """The rows of a step, cut into portions of at most `size`."""
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def collate(examples: Sequence[Example], pad: int) -> Batch:
    """Pad examples on the right to the longest one.

    Args:
        examples: The rows of a micro-batch.
        pad: The id of the padding token; what it is does not matter, the mask hides it.

    """
    import torch

    length = max(map(len, examples))
    input_ids = torch.full((len(examples), length), pad, dtype=torch.long)
    attention_mask = torch.zeros((len(examples), length), dtype=torch.long)
    predict = torch.zeros((len(examples), length), dtype=torch.bool)
    for row, example in enumerate(examples):
        size = len(example)
        input_ids[row, :size] = torch.tensor(example.tokens)
        attention_mask[row, :size] = 1
        predict[row, : size - 1] = torch.tensor(example.supervised[1:], dtype=torch.bool)
    labels = torch.roll(input_ids, -1, dims=1)[predict]
    tokens = sum(map(len, examples))
    return Batch(input_ids, attention_mask, predict, labels, tokens, int(labels.numel()))
