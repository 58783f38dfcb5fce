"""Rows as examples: tokens, with the mask of those that the loss counts, fitted into the longest length.

`rendering` finds what is learnt in the text, `masking` in the tokens; here is what the rest of the engine sees.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal

from ..errors import DataError
from .masking import Marked, Masker, Plan
from .rendering import Rendered, Template
from .rows import Row, with_system

CUT_ROWS_NAMED = 5
_BATCH = 256  # rows that are tokenised at once: enough for all cores, little in memory


@dataclass(frozen=True)
class Shape:
    """How rows become examples.

    `max_length` is in tokens; `turns` are the assistant turns that are learnt; a longer row is cut at its end, or
    dropped whole; `system` is put before conversations that have no system turn; so many as `refusals` tells may be
    left out because the chat template refuses them.
    """

    max_length: int
    turns: Literal["all", "last"] = "all"
    long_rows: Literal["cut", "drop"] = "cut"
    system: str | None = None
    refusals: int = 0


@dataclass(frozen=True)
class Example:
    """A row as tokens: `supervised[i]` tells whether the loss counts token i. Both have the same length."""

    tokens: tuple[int, ...]
    supervised: tuple[bool, ...]
    origin: str

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def targets(self) -> int:
        """The number of supervised tokens; the first token of a row has nothing to be predicted from."""
        return sum(self.supervised[1:])


@dataclass(frozen=True)
class Encoded:
    """The examples of a data set, and what became of rows that are too long.

    `cut` rows lost their end and are learnt without it, `cut_rows` are the origins of the first of them; the rows
    of `dropped` gave no example at all, those of `unlearnt` have the weight 0 on every answer, and the chat template
    refuses those that the messages of `refused` name. A row is counted on one side only, and once, however often it
    occurs.
    """

    examples: Sequence[Example]
    cut: int
    dropped: tuple[str, ...]
    cut_rows: tuple[str, ...] = ()
    unlearnt: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """All tokens."""
        known = getattr(self.examples, "lengths", None)  # examples on disk know without a look at them
        return int(known.sum()) if known is not None else sum(map(len, self.examples))

    @property
    def supervised(self) -> int:
        """The tokens that the loss counts."""
        known = getattr(self.examples, "targets", None)
        return int(known.sum()) if known is not None else sum(example.targets for example in self.examples)


@dataclass(frozen=True)
class RowExamples:
    """What became of one row: its examples (`marked`, or `examples` in full), and how many of them were cut.

    `unlearnt` tells that it has none because every answer has the weight 0, `refused` why the chat template refuses it.
    """

    origin: str
    marked: list[Marked]
    cut: int
    unlearnt: bool = False
    refused: DataError | None = None

    @cached_property
    def examples(self) -> list[Example]:
        """The examples, with a mark for every token."""
        return [Example(tuple(part.tokens), supervised(part), self.origin) for part in self.marked]


def supervised(part: Marked) -> tuple[bool, ...]:
    """A mark for every token: whether the loss counts it."""
    marks = [False] * len(part.tokens)
    for start, end in part.spans:
        marks[start:end] = [True] * (end - start)
    return tuple(marks)


def encode(
    rows: Sequence[Row],
    tokenizer: Any,
    max_length: int,
    progress: Callable[[int, int], None] | None = None,
) -> Encoded:
    """Turn rows into examples in memory; `tokens.tokenised` keeps them on disk.

    Args:
        rows: Conversations.
        tokenizer: A fast tokenizer with a chat template.
        max_length: Longest example in tokens; the rest is cut off at the end and counted.
        progress: Called now and then with rows done and rows in all.

    Raises:
        DataError: the template refuses a row, or no row keeps a supervised token.

    """
    found = []
    for number, row in enumerate(stream(rows, tokenizer, Shape(max_length)), 1):
        found.append(row)
        if progress and (number % 100 == 0 or number == len(rows)):
            progress(number, len(rows))
    examples = tuple(example for row in found for example in row.examples)
    if rows and not examples:
        raise nothing_fits(max_length)
    cut = [row.origin for row in found if row.examples and row.cut]
    dropped = tuple(row.origin for row in found if not row.examples and not row.unlearnt)
    unlearnt = tuple(row.origin for row in found if row.unlearnt)
    return Encoded(examples, len(cut), dropped, tuple(cut[:CUT_ROWS_NAMED]), unlearnt)


def nothing_fits(max_length: int) -> DataError:
    """The error of a data set of which nothing can be learnt within the length."""
    return DataError(
        f"Nothing can be learnt: no row has an answer within the first {max_length} tokens whose weight is not 0.",
        hint="Raise --max-length, or shorten the prompts; `ftk data inspect` tells what becomes of the rows.",
    )


def stream(rows: Iterable[Row], tokenizer: Any, shape: Shape) -> Generator[RowExamples]:
    """Turn rows into examples, one after the other, tokenising a batch on all cores while the next is rendered.

    Args:
        rows: Conversations or raw texts.
        tokenizer: A fast tokenizer with a chat template.
        shape: How.

    Raises:
        DataError: the template refuses more rows than it may; the message names the last of them.

    """
    refused = 0
    for row in _all(rows, tokenizer, shape):
        refused += row.refused is not None
        if row.refused is not None and refused > shape.refusals:
            raise row.refused
        yield row


def _all(rows: Iterable[Row], tokenizer: Any, shape: Shape) -> Iterator[RowExamples]:
    template = Template(tokenizer)
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        backend.no_truncation()
        backend.no_padding()
    masker = Masker(template)
    remaining = iter(rows)
    with ThreadPoolExecutor(1, thread_name_prefix="ftk-tokens") as pool:
        waiting = None
        while batch := list(islice(remaining, _BATCH)):
            plans = _plans(batch, template, masker, shape)
            texts = [text for row in plans if isinstance(row, list) for plan in row for text in plan.texts]
            following = (batch, plans, pool.submit(masker.tokenise, texts))
            if waiting:
                yield from _finished(*waiting, masker, shape)
            waiting = following
        if waiting:
            yield from _finished(*waiting, masker, shape)


_Planned = list[Plan] | DataError


def _plans(batch: list[Row], template: Template, masker: Masker, shape: Shape) -> list[_Planned]:
    """What to tokenise for every row, or why its conversation is refused."""
    spoken = [with_system(row, shape.system) for row in batch if row.text is None]
    rendered = iter(template.rendered(spoken, shape.turns))
    found = [next(rendered) if row.text is None else [Rendered(row.text, [], False)] for row in batch]
    return [texts if isinstance(texts, DataError) else [masker.plan(text) for text in texts] for texts in found]


def _finished(
    rows: list[Row], plans: list[_Planned], tokens: Future[list[list[int]]], masker: Masker, shape: Shape
) -> Iterator[RowExamples]:
    """The examples of a batch."""
    made = masker.marked((plan for row in plans if isinstance(row, list) for plan in row), tokens.result())
    for row, planned in zip(rows, plans, strict=True):
        if isinstance(planned, DataError):
            yield RowExamples(row.origin, [], 0, refused=planned)
            continue
        marked = [part for parts in islice(made, len(planned)) for part in parts]
        yield _raw(row, marked, shape, masker.begin) if row.text is not None else _fitted(row, marked, shape)


def _fitted(row: Row, marked: list[Marked], shape: Shape) -> RowExamples:
    """The examples of a conversation that fit, and the beginnings of those that do not."""
    if not marked:
        return RowExamples(row.origin, [], 0, unlearnt=True)
    length = shape.max_length
    long = sum(len(part.tokens) > length for part in marked)
    if long and shape.long_rows == "drop":
        return RowExamples(row.origin, [], 0)
    if long:
        marked = [part.until(length) if len(part.tokens) > length else part for part in marked]
    return RowExamples(row.origin, [part for part in marked if part.targets], long)


def _raw(row: Row, marked: list[Marked], shape: Shape, begin: list[int]) -> RowExamples:
    """A raw text in windows of the longest length, so that none of it is lost.

    The last token of a window is the first of the next one, where it is only read: so every token but the
    text's first is predicted from something, and once (and the first too, where the model has a token to begin with).
    """
    tokens = begin + [token for part in marked for token in part.tokens]
    step = max(1, shape.max_length - 1)
    windows = [tokens[start : start + step + 1] for start in range(0, len(tokens) - 1, step)]
    return RowExamples(row.origin, [Marked(part, [(1, len(part))]) for part in windows], 0)


def end_of_turn(tokenizer: Any) -> list[int]:
    """The tokens at which a generation ends: end of text, and what the template writes after an answer."""
    ids = [int(tokenizer.eos_token_id)]
    closing = Template(tokenizer).closing
    token = int(tokenizer.convert_tokens_to_ids(closing[0])) if closing else ids[0]
    return [*ids, token] if token not in ids else ids
