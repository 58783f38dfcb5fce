"""Which rows make up which step, and the tensors of a micro-batch.

The order is a function of seed and epoch alone, so the position in the data is the number of the step: a
resumed run needs nothing else to go on with the right rows.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from .encoding import Example

_WINDOW = 16  # steps whose rows are grouped by length: wide enough to save padding, narrow enough to stay random


PACKED_MULTIPLE = 16
"""Rows without padding are filled up to a multiple of this: matmuls like it, and fewer shapes are met."""
_SIZES_AN_OCTAVE = 16
"""Different sizes between a number of tokens and its double where they are to be few."""


@dataclass(frozen=True)
class Batch:
    """A micro-batch: token ids of shape (rows, length), or (1, tokens) for rows without padding.

    `predict[b, t]` is true where the token at t + 1 is supervised; `labels` holds those tokens in the order
    of the true places of `predict`, a vector of length `targets`. Padded rows have an `attention_mask` of the
    real tokens; rows without padding have `position_ids` and `starts`, the place where each row begins and
    the end of the last one.
    """

    input_ids: Any
    predict: Any
    labels: Any
    tokens: int
    targets: int
    attention_mask: Any = None
    position_ids: Any = None
    starts: Any = None

    def pinned(self) -> Batch:
        """The same in page-locked memory, from which a GPU copies without making anybody wait."""
        names = ("input_ids", "predict", "labels", "attention_mask", "position_ids", "starts")
        found = {name: tensor.pin_memory() for name in names if (tensor := getattr(self, name)) is not None}
        return replace(self, **found)


class StepPlan:
    """The rows of every step of a run.

    Args:
        lengths: Tokens of every example.
        rows_per_step: Examples of a step.
        seed: Of the order.
        grouped: Whether rows of like length make a step, which halves the padding of rows of mixed length. Steps then
            hold few tokens or many, and since each update counts as much as another, tokens of short rows count more
            (`benchmarks/grouping.py` has what that costs). Without, steps are drawn from all rows.

    """

    def __init__(self, lengths: Sequence[int], rows_per_step: int, seed: int, *, grouped: bool = True) -> None:
        self._window = _WINDOW if grouped else 1
        self._lengths = lengths
        self.rows_per_step = rows_per_step
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

        Every row occurs once an epoch.
        """
        shuffle = random.Random(f"{self._seed}/{epoch}").shuffle  # noqa: S311 - not a secret
        order = list(range(len(self._lengths)))
        shuffle(order)
        width = self.rows_per_step * self._window
        grouped = [
            index
            for start in range(0, len(order), width)
            for index in sorted(order[start : start + width], key=lambda i: -self._lengths[i])
        ]
        steps = [grouped[start : start + self.rows_per_step] for start in range(0, len(grouped), self.rows_per_step)]
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


def micro_batches(rows: Sequence[int], lengths: Sequence[int], budget: int, *, padded: bool = True) -> list[list[int]]:
    """The rows of a step, cut into portions of at most `budget` tokens with their padding.

    Short rows are computed many at once and long ones few, so that the time goes into large matmuls and the
    memory stays what the longest rows take. A row longer than the budget is a portion of its own.

    Args:
        rows: Indices, longest first.
        lengths: Tokens of every row.
        budget: Tokens.
        padded: Whether rows take the room of the longest one beside them; else each takes its own.

    """
    portions: list[list[int]] = []
    longest = tokens = 0
    for row in rows:
        longest, tokens = max(longest, lengths[row]), tokens + lengths[row]
        if portions and ((len(portions[-1]) + 1) * longest if padded else tokens) <= budget:
            portions[-1].append(row)
        else:
            portions.append([row])
            longest = tokens = lengths[row]
    return portions


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
    return Batch(input_ids, predict, labels, tokens, int(labels.numel()), attention_mask=attention_mask)


def filled(tokens: int, *, few: bool) -> int:
    """How many tokens a micro-batch without padding is filled up to.

    Args:
        tokens: Its own.
        few: Fill up so far that sizes come again: by 3 % on average, and 6 at most from 256 tokens on.

    """
    step = PACKED_MULTIPLE
    if few:
        step = max(step, (1 << (tokens - 1).bit_length()) // (2 * _SIZES_AN_OCTAVE))
    return -(-tokens // step) * step


def pack(examples: Sequence[Example], pad: int, *, few: bool = False) -> Batch:
    """Lay examples one after another, without padding between them.

    The whole is filled up with a last row of padding that nobody learns from.

    Args:
        examples: The rows of a micro-batch.
        pad: The id of the padding token; what it is does not matter.
        few: Have few different sizes, see `filled`.

    """
    import torch

    sizes = [len(example) for example in examples]
    tokens = sum(sizes)
    if rest := filled(tokens, few=few) - tokens:
        sizes.append(rest)
    input_ids = torch.full((1, sum(sizes)), pad, dtype=torch.long)
    predict = torch.zeros(input_ids.shape, dtype=torch.bool)
    begin = 0
    for example in examples:
        end = begin + len(example)
        input_ids[0, begin:end] = torch.tensor(example.tokens)
        predict[0, begin : end - 1] = torch.tensor(example.supervised[1:], dtype=torch.bool)
        begin = end
    labels = torch.roll(input_ids, -1, dims=1)[predict]
    positions = torch.cat([torch.arange(len(example)) for example in examples])
    positions = torch.nn.functional.pad(positions, (0, rest))[None]  # a model may know no higher ones than rows have
    starts = torch.tensor([0, *accumulate(sizes)], dtype=torch.int32)
    return Batch(input_ids, predict, labels, tokens, int(labels.numel()), position_ids=positions, starts=starts)
