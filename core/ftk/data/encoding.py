"""From conversations to tokens, with the mask of supervised ones found by construction.

For every assistant turn the conversation is rendered twice: up to the turn (with the generation prompt),
and with it. The difference is what the model must learn to write, its end of turn included. Where a template
rewrites earlier turns, so that the shorter text is no beginning of the longer one, the conversation becomes
one example for each assistant turn, with the loss on the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from ..errors import DataError
from .rows import Message, Row, with_system
from .templates import render

CUT_ROWS_NAMED = 5
_BATCH = 256  # rows that are tokenised at once: enough for all cores, little in memory

Span = tuple[int, int]
Rendered = tuple[str, list[Span]]
"""A text, and the character spans of it that are learnt."""


@dataclass(frozen=True)
class Shape:
    """How rows become examples.

    `max_length` is in tokens; `turns` are the assistant turns that are learnt; a longer row is cut at its end, or
    dropped whole; `system` is put before conversations that have no system turn.
    """

    max_length: int
    turns: Literal["all", "last"] = "all"
    long_rows: Literal["cut", "drop"] = "cut"
    system: str | None = None


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
    of `dropped` gave no example at all. A row is counted on one side only, and once, however often it occurs.
    """

    examples: Sequence[Example]
    cut: int
    dropped: tuple[str, ...]
    cut_rows: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """All tokens."""
        return sum(map(len, self.examples))

    @property
    def supervised(self) -> int:
        """The tokens that the loss counts."""
        return sum(example.targets for example in self.examples)


@dataclass(frozen=True)
class RowExamples:
    """What became of one row: its examples, and how many of them were cut."""

    origin: str
    examples: list[Example]
    cut: int


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
    dropped = tuple(row.origin for row in found if not row.examples)
    return Encoded(examples, len(cut), dropped, tuple(cut[:CUT_ROWS_NAMED]))


def nothing_fits(max_length: int) -> DataError:
    """The error of a data set of which nothing can be learnt within the length."""
    return DataError(
        f"No row has a response within the first {max_length} tokens.",
        hint="Raise --max-length, or shorten the prompts.",
    )


def stream(rows: Iterable[Row], tokenizer: Any, shape: Shape) -> Iterator[RowExamples]:
    """Turn rows into examples, one after the other, tokenising a batch on all cores while the next is rendered.

    Args:
        rows: Conversations or raw texts.
        tokenizer: A fast tokenizer with a chat template.
        shape: How.

    Raises:
        DataError: the template refuses a row; the message names it.

    """
    maker = _Maker(tokenizer, shape)
    remaining = iter(rows)
    with ThreadPoolExecutor(1, thread_name_prefix="ftk-tokens") as pool:
        waiting = None
        while batch := list(islice(remaining, _BATCH)):
            rendered = [maker.render(row) for row in batch]
            following = (batch, rendered, pool.submit(maker.encode, rendered))
            if waiting:
                yield from maker.finish(*waiting)
            waiting = following
        if waiting:
            yield from maker.finish(*waiting)


class _Maker:
    """Renders, tokenises and marks rows with one tokenizer."""

    def __init__(self, tokenizer: Any, shape: Shape) -> None:
        self._tokenizer, self._shape = tokenizer, shape
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
        self._eos = tokenizer.eos_token_id
        self._ends_itself: bool | None = None

    def render(self, row: Row) -> list[Rendered]:
        """The texts of a row with what is learnt in them."""
        if row.text is not None:
            return [(row.text, [(0, len(row.text))])]
        try:
            return rendered(with_system(row, self._shape.system), self._tokenizer, self._shape.turns)
        except DataError as error:
            raise DataError(f"{row.origin}: {error.message}", hint=error.hint) from None

    def encode(self, batch: list[list[Rendered]]) -> list[Any] | None:
        """The tokens of all texts of a batch, without the interpreter's lock; None if it is no fast tokenizer."""
        if self._backend is None:
            return None
        return list(
            self._backend.encode_batch([text for texts in batch for text, _ in texts], add_special_tokens=False)
        )

    def finish(self, rows: list[Row], batch: list[list[Rendered]], future: Any) -> Iterator[RowExamples]:
        """The examples of a batch."""
        encodings = iter(future.result() or [None] * sum(map(len, batch)))
        for row, texts in zip(rows, batch, strict=True):
            made = [
                self._example(row, text, spans, encoding)
                for (text, spans), encoding in zip(texts, islice(encodings, len(texts)), strict=True)
            ]
            yield self._fitted(row, made)

    def _fitted(self, row: Row, made: list[Example]) -> RowExamples:
        length = self._shape.max_length
        if row.text is not None:
            return RowExamples(row.origin, [part for example in made for part in _windows(example, length)], 0)
        long = sum(len(example) > length for example in made)
        if self._shape.long_rows == "drop":
            made = [example for example in made if len(example) <= length]
            long = 0
        kept = [Example(e.tokens[:length], e.supervised[:length], e.origin) if len(e) > length else e for e in made]
        return RowExamples(row.origin, [example for example in kept if example.targets], long)

    def _example(self, row: Row, text: str, spans: list[Span], encoding: Any) -> Example:
        if row.text is None:
            spans = [(start, start + len(text[start:end].rstrip())) for start, end in spans]
        marked = _marked(encoding, spans) if encoding is not None else None
        tokens, supervised = marked or _carefully(text, spans, self._tokenizer)
        if not self._written_end(row, text, spans):
            tokens, supervised = [*tokens, self._eos], [*supervised, True]
        return Example(tuple(tokens), tuple(supervised), row.origin)

    def _written_end(self, row: Row, text: str, spans: list[Span]) -> bool:
        """Whether what is learnt ends with a token that ends a turn; a template that writes none gets end of text."""
        if row.text is not None:
            return False
        if self._ends_itself is None:
            start, end = spans[-1] if spans else (0, len(text))
            special = set(self._tokenizer.all_special_ids) | set(self._tokenizer.added_tokens_decoder)
            ids = self._tokenizer(text[start:end], add_special_tokens=False)["input_ids"]
            self._ends_itself = bool(ids) and ids[-1] in special
        return self._ends_itself


def rendered(row: Row, tokenizer: Any, turns: Literal["all", "last"] = "all") -> list[Rendered]:
    """The texts that a conversation becomes, each with the character spans that are learnt.

    Raises:
        DataError: the template refuses it, or leaves out a tool call.

    """
    messages, tools = row.messages, row.tools
    learnt = [index for index, turn in enumerate(messages) if turn["role"] == "assistant" and turn.get("weight") != 0]
    if turns == "last":
        learnt = learnt[-1:]
    if not learnt:
        raise DataError("no assistant turn is learnt: all have the weight 0.")
    full, spans = _spans(messages, learnt, tokenizer, tools)
    if spans is not None:
        texts = [(full, spans)]
        pieces = [full[start:end] for start, end in spans]
    else:
        parts = [_last_turn(messages[: index + 1], tokenizer, tools) for index in learnt]
        texts = [(text, [span]) for text, span in parts]
        pieces = [text[start:end] for text, (start, end) in parts]
    for index, piece in zip(learnt, pieces, strict=True):
        for call in messages[index].get("tool_calls", ()):
            if call["function"]["name"] not in piece:
                raise DataError(
                    f"message {index + 1}: the model's chat template leaves out the tool call.",
                    hint="Choose a model that was made for tools, or write the call as text.",
                )
    return texts


def _spans(
    messages: tuple[Message, ...], learnt: list[int], tokenizer: Any, tools: tuple[Any, ...]
) -> tuple[str, list[Span] | None]:
    """The rendered conversation and the character spans of the learnt turns, None if it rewrites turns."""
    full = render(tokenizer, messages, tools=tools)
    spans = []
    for index in learnt:
        before = render(tokenizer, messages[:index], prompt=True, tools=tools)
        last = index == len(messages) - 1
        after = full if last else render(tokenizer, messages[: index + 1], tools=tools)
        if not (after.startswith(before) and full.startswith(after)):
            return full, None
        spans.append((len(before), len(after)))
    return full, spans


def _last_turn(messages: tuple[Message, ...], tokenizer: Any, tools: tuple[Any, ...]) -> tuple[str, Span]:
    """The prompt exactly as the model will be asked, and after it what the template makes of the answer.

    Some templates write the prompt differently once it is answered (Mistral's shows the system turn only in
    a last user turn). The answer's text is then taken from a shorter conversation.
    """
    before = render(tokenizer, messages[:-1], prompt=True, tools=tools)
    shorter = (messages, tuple(turn for turn in messages if turn["role"] != "system"), messages[-2:])
    for turns in shorter:
        start, whole = render(tokenizer, turns[:-1], prompt=True, tools=tools), render(tokenizer, turns, tools=tools)
        if whole.startswith(start):
            return before + whole[len(start) :], (len(before), len(before) + len(whole) - len(start))
    raise DataError(
        "The chat template writes a prompt that is no beginning of the whole conversation.",
        hint="Choose another format: --template chatml, alpaca or plain",
    )


Marked = tuple[list[int], list[bool]]


def _marked(encoding: Any, spans: list[Span]) -> Marked | None:
    """Tokens and mask where every span begins and ends with a token, None where that cannot be told.

    What follows the end of the last span (a line break, mostly) is cut off: the model never has to write it.
    """
    tokens = encoding.ids
    supervised = [False] * len(tokens)
    last = -1
    for start, end in spans:
        first, final = encoding.char_to_token(start), encoding.char_to_token(end - 1)
        if first is None or final is None or (start and encoding.char_to_token(start - 1) is None):
            return None
        if encoding.token_to_chars(first)[0] != start or encoding.token_to_chars(final)[1] != end:
            return None
        while first and encoding.token_to_chars(first - 1) == encoding.token_to_chars(first):
            first -= 1  # the bytes of one character, shared out over several tokens
        while final + 1 < len(tokens) and encoding.token_to_chars(final + 1) == encoding.token_to_chars(final):
            final += 1
        supervised[first : final + 1] = [True] * (final + 1 - first)
        last = final
    return tokens[: last + 1], supervised[: last + 1]


def _carefully(text: str, spans: list[Span], tokenizer: Any) -> Marked:
    """The same without trust in the tokenizer's offsets.

    A token that lies across the edge of a span would mix prompt and response, and the model will never see
    it when it answers: then the pieces are tokenised one by one, as they will be then.
    """
    if tokenizer.is_fast:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens, offsets = encoded["input_ids"], encoded["offset_mapping"]
        supervised = [False] * len(tokens)
        whole = True
        for first, last in spans:
            inside = [index for index, (start, end) in enumerate(offsets) if first <= start < end <= last]
            whole = whole and bool(inside) and tokenizer.decode(tokens[: inside[0]]) == text[:first]
            whole = whole and tokenizer.decode(tokens[: inside[-1] + 1]) == text[:last]
            if not whole:
                break
            supervised[inside[0] : inside[-1] + 1] = [True] * (inside[-1] + 1 - inside[0])
        if whole:
            return _trimmed(tokens, supervised)
    return _in_pieces(text, spans, tokenizer)


def _in_pieces(text: str, spans: list[Span], tokenizer: Any) -> Marked:
    tokens: list[int] = []
    supervised: list[bool] = []
    position = 0
    for start, end in [*spans, (len(text), len(text))]:
        for piece, learnt in ((text[position:start], False), (text[start:end], True)):
            ids = tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else []
            tokens += ids
            supervised += [learnt] * len(ids)
        position = end
    return _trimmed(tokens, supervised)


def _trimmed(tokens: list[int], supervised: list[bool]) -> Marked:
    """Without the tokens after the last supervised one: nothing depends on them."""
    last = max((index for index, learnt in enumerate(supervised) if learnt), default=len(tokens) - 1)
    return tokens[: last + 1], supervised[: last + 1]


def _windows(example: Example, length: int) -> Iterator[Example]:
    """A raw text in windows of `length` tokens, so that none of it is lost."""
    for start in range(0, len(example), length):
        part = slice(start, start + length)
        window = Example(example.tokens[part], example.supervised[part], example.origin)
        if window.targets:
            yield window


def end_of_turn(tokenizer: Any) -> list[int]:
    """The tokens at which a generation ends: end of text, and what the template writes after an answer."""
    ids = [int(tokenizer.eos_token_id)]
    question = ({"role": "user", "content": "a"},)
    answered = render(tokenizer, (*question, {"role": "assistant", "content": "b"}))
    tail = answered[len(render(tokenizer, question, prompt=True)) :]
    special = set(tokenizer.all_special_ids)
    for token in tokenizer(tail, add_special_tokens=False)["input_ids"]:
        if token in special or token in tokenizer.added_tokens_decoder:
            return [*ids, token] if token not in ids else ids
    return ids
