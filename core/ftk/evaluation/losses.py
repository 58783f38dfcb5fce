"""The loss of every row, exact over its supervised tokens, however long it is.

A text that fits into the context is read at once. Of a longer one each supervised token is still predicted once, from
as much of what stands before it as the context holds, and never from less than half of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data import encoding, templates
from ..data.batches import collate
from ..data.encoding import Example, RowExamples, Shape
from ..data.rows import Row
from ..errors import DataError, FtkError, ModelError
from ..training.loss import SupervisedHead
from ..training.recovery import give_back_memory, is_out_of_memory
from .generate import context_of, evaluating

_LOGITS = 1 << 28
"""Bytes that the scores of a batch may take in float32: vocabularies are large."""
_CONTEXT = 4096
"""Tokens that are read at once at most, where nothing else is asked for."""

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class RowLoss:
    """The loss of a row summed over its supervised tokens, in nats, and their number."""

    total: float
    tokens: int


@dataclass(frozen=True)
class Measurable:
    """Rows as examples, those of each row together; `left_out` says how many rows have nothing to measure."""

    rows: tuple[tuple[Example, ...], ...]
    kept: tuple[int, ...]
    """Which of the rows that were given these are, by their places."""
    left_out: int = 0

    @property
    def tokens(self) -> int:
        """All supervised tokens."""
        return sum(example.targets for row in self.rows for example in row)


def measurable(rows: Sequence[Row], tokenizer: Any, *, turns: Any = "all", system: str | None = None) -> Measurable:
    """Rows as examples of their full length; those without a supervised token, or that the template refuses, are out.

    Args:
        rows: Conversations or raw texts.
        tokenizer: Its chat template is used.
        turns: The assistant turns that count: ``all``, or the ``last``.
        system: Put before conversations that have no system turn.

    """
    shape = Shape(1 << 30, turns, "cut", system, len(rows))
    made: list[RowExamples] = list(encoding.stream(rows, tokenizer, shape))
    kept = [place for place, row in enumerate(made) if any(example.targets for example in row.examples)]
    return Measurable(tuple(tuple(made[place].examples) for place in kept), tuple(kept), len(rows) - len(kept))


def plain(texts: Sequence[str], tokenizer: Any) -> Measurable:
    """Plain texts, of which every token counts but the first (and that too where the model has a token to begin with).

    Texts of fewer than two tokens are left out.
    """
    begin = tuple(templates.beginning(tokenizer))
    rows, kept = [], []
    for place, text in enumerate(texts):
        tokens = begin + tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if len(tokens) > 1:
            rows.append((Example(tokens, (True,) * len(tokens), f"text {place + 1}"),))
            kept.append(place)
    return Measurable(tuple(rows), tuple(kept), len(texts) - len(kept))


def context_for(model: Any, wanted: int | None) -> int:
    """The tokens to read at once: as asked for, but no more than the model can."""
    room = context_of(model) or _CONTEXT
    return max(2, min(wanted or _CONTEXT, room))


def row_losses(
    model: Any,
    pad: int,
    rows: Measurable,
    *,
    context: int | None = None,
    batch_size: int = 4,
    tell: Tell = lambda done, total: None,
) -> list[RowLoss]:
    """The loss of every row.

    Args:
        model: A causal language model, with or without an adapter.
        pad: The id of the padding token; what it is does not matter.
        rows: The rows.
        context: Tokens to read at once; by default as many as the model can, at most 4096.
        batch_size: Rows of the longest kind that are computed at once; of shorter ones as many as take the same room.
        tell: Called with windows done and windows in all; may raise to cancel.

    Raises:
        ModelError: the memory does not hold a single window, or a loss is not a number.

    """
    length, most = context_for(model, context), _most_targets(model)
    parts = [
        (number, window)
        for number, row in enumerate(rows.rows)
        for example in row
        for window in windows(example, length, most)
    ]
    parts.sort(key=lambda part: -len(part[1]))
    totals = [0.0] * len(rows.rows)
    with evaluating(model):
        for done, number, total in _sums(model, pad, parts, batch_size, most):
            totals[number] += total
            tell(done, len(parts))
    for number, total in enumerate(totals):
        if not math.isfinite(total):
            raise ModelError(
                f"The loss of {rows.rows[number][0].origin} is not a number: the model or its adapter is damaged.",
                hint="Try --precision float32 where it is float16; else take another checkpoint.",
            )
    counts = [sum(example.targets for example in row) for row in rows.rows]
    return [RowLoss(total, count) for total, count in zip(totals, counts, strict=True)]


def _most_targets(model: Any) -> int:
    return max(64, _LOGITS // (4 * int(model.config.get_text_config().vocab_size)))


def windows(example: Example, length: int, most: int) -> Iterator[Example]:
    """Cut an example into windows that together supervise each of its supervised tokens once.

    Args:
        example: The example.
        length: Tokens of a window at most, 2 or more.
        most: Supervised tokens of a window at most.

    """
    places = [place for place, counts in enumerate(example.supervised) if counts and place > 0]
    start = 0
    while start < len(places):
        first = places[start]
        reach = length - 1 if first < length else first + length - 1 - length // 2
        end = start
        while end < len(places) and places[end] <= reach and end - start < most:
            end += 1
        last = places[end - 1]
        begin = max(0, last + 1 - length)
        counted = set(places[start:end])
        marks = tuple(place in counted for place in range(begin, last + 1))
        yield Example(tuple(example.tokens[begin : last + 1]), marks, example.origin)
        start = end


def _sums(
    model: Any, pad: int, parts: list[tuple[int, Example]], batch_size: int, most: int
) -> Iterator[tuple[int, int, float]]:
    """The summed loss of every window, with how many are done and the number of its row."""
    head = SupervisedHead(model)
    budget = batch_size * max((len(window) for _, window in parts), default=1)
    done = 0
    try:
        while done < len(parts):
            size = _fitting(parts, done, budget, most)
            batch = parts[done : done + size]
            sums = _attempt(model, head, pad, [window for _, window in batch])
            if sums is None:
                give_back_memory()
                budget = _less(budget, batch[0][1], size)
                continue
            done += size
            for (number, _), total in zip(batch, sums, strict=True):
                yield done, number, total
    finally:
        head.remove()


def _fitting(parts: list[tuple[int, Example]], start: int, budget: int, most: int) -> int:
    """How many of the windows from place `start` on, longest first, go into a batch; at least one."""
    first = parts[start][1]
    longest, targets, size = len(first), first.targets, 1
    for _, window in parts[start + 1 :]:
        targets += window.targets
        if (size + 1) * longest > budget or targets > most:
            break
        size += 1
    return size


def _attempt(model: Any, head: SupervisedHead, pad: int, batch: list[Example]) -> list[float] | None:
    """The sums of a batch; None where the memory does not hold it."""
    try:
        sums: list[float] = _batch_sums(model, head, pad, batch)
        return sums
    except FtkError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None


@torch.no_grad()
def _batch_sums(model: Any, head: SupervisedHead, pad: int, examples: list[Example]) -> list[float]:
    device = model.get_input_embeddings().weight.device
    batch = collate(examples, pad)
    with head.only(batch.predict.to(device)):
        logits = model(
            input_ids=batch.input_ids.to(device), attention_mask=batch.attention_mask.to(device), use_cache=False
        ).logits
    logits = logits if logits.dtype == torch.float64 else logits.float()
    losses = torch.nn.functional.cross_entropy(logits, batch.labels.to(device), reduction="none").cpu().double()
    owners: Tensor = batch.predict.nonzero()[:, 0]
    sums: list[float] = torch.zeros(len(examples), dtype=torch.float64).index_add_(0, owners, losses).tolist()
    return sums


def _less(budget: int, longest: Example, size: int) -> int:
    if size > 1:
        return max(1, min(budget, size * len(longest)) // 2)
    raise ModelError(
        f"The memory does not hold the model with {len(longest)} tokens.",
        hint=f"Read less at once: --context {max(64, len(longest) // 2)}; or --quantization nf4.",
    )


def need_tokens(rows: Measurable, what: str) -> None:
    """Raise `DataError` where there is no token to measure in `what`."""
    if not rows.tokens:
        raise DataError(
            f"There is nothing to measure in {what}: no row has an answer with at least one token.",
            hint="Each row needs a prompt and an answer; `ftk data inspect` tells what is wrong with rows.",
        )
