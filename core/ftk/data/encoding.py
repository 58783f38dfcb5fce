"""From conversations to tokens, with the mask of supervised ones found by construction.

For every assistant turn the conversation is rendered twice: up to the turn (with the generation prompt),
and with it. The difference is what the model must learn to write, its end of turn included. Where a template
rewrites earlier turns, so that the shorter text is no beginning of the longer one, the conversation becomes
one example for each assistant turn, with the loss on the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError
from .rows import Message, Row
from .templates import render


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
    """The examples of a data set, with what happened to its rows on the way."""

    examples: tuple[Example, ...]
    cut: int
    dropped: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """All tokens."""
        return sum(map(len, self.examples))

    @property
    def supervised(self) -> int:
        """The tokens that the loss counts."""
        return sum(example.targets for example in self.examples)


def encode(
    rows: Sequence[Row],
    tokenizer: Any,
    max_length: int,
    progress: Callable[[int, int], None] | None = None,
) -> Encoded:
    """Turn rows into examples.

    Args:
        rows: Conversations.
        tokenizer: A fast tokenizer with a chat template.
        max_length: Longest example in tokens; the rest is cut off at the end and counted.
        progress: Called now and then with rows done and rows in all.

    Raises:
        DataError: the template refuses a row, or no row keeps a supervised token.

    """
    examples: list[Example] = []
    dropped: list[str] = []
    cut = 0
    for number, row in enumerate(rows, 1):
        for example in _examples(row, tokenizer):
            if len(example) > max_length:
                cut += 1
                example = Example(example.tokens[:max_length], example.supervised[:max_length], example.origin)
            if example.targets:
                examples.append(example)
            else:
                dropped.append(example.origin)
        if progress and (number % 100 == 0 or number == len(rows)):
            progress(number, len(rows))
    if rows and not examples:
        raise DataError(
            f"No row has a response within the first {max_length} tokens.",
            hint="Raise --max-length, or shorten the prompts.",
        )
    return Encoded(tuple(examples), cut, tuple(dropped))


def _examples(row: Row, tokenizer: Any) -> list[Example]:
    try:
        full, spans = _spans(row.messages, tokenizer)
        if spans is not None:
            return [_tokenise(full, spans, tokenizer, row.origin)]
        ends = [index + 1 for index, turn in enumerate(row.messages) if turn["role"] == "assistant"]
        parts = [_last_turn(row.messages[:end], tokenizer) for end in ends]
    except DataError as error:
        raise DataError(f"{row.origin}: {error.message}", hint=error.hint) from None
    return [_tokenise(text, [span], tokenizer, row.origin) for text, span in parts]


def _spans(messages: tuple[Message, ...], tokenizer: Any) -> tuple[str, list[tuple[int, int]] | None]:
    """The rendered conversation and the character spans of its assistant turns, None if it rewrites turns."""
    full = render(tokenizer, messages)
    spans = []
    for index, turn in enumerate(messages):
        if turn["role"] != "assistant":
            continue
        before = render(tokenizer, messages[:index], prompt=True)
        after = full if index == len(messages) - 1 else render(tokenizer, messages[: index + 1])
        if not (after.startswith(before) and full.startswith(after)):
            return full, None
        spans.append((len(before), len(after)))
    return full, spans


def _last_turn(messages: tuple[Message, ...], tokenizer: Any) -> tuple[str, tuple[int, int]]:
    """The prompt exactly as the model will be asked, and after it what the template makes of the answer.

    Some templates write the prompt differently once it is answered (Mistral's shows the system turn only in
    a last user turn). The answer's text is then taken from a shorter conversation.
    """
    before = render(tokenizer, messages[:-1], prompt=True)
    for turns in (messages, tuple(turn for turn in messages if turn["role"] != "system"), messages[-2:]):
        start, whole = render(tokenizer, turns[:-1], prompt=True), render(tokenizer, turns)
        if whole.startswith(start):
            return before + whole[len(start) :], (len(before), len(before) + len(whole) - len(start))
    raise DataError(
        "The chat template writes a prompt that is no beginning of the whole conversation.",
        hint="Choose another format: --template chatml, alpaca or plain",
    )


def _tokenise(text: str, spans: list[tuple[int, int]], tokenizer: Any, origin: str) -> Example:
    """Tokens of the text; supervised are those that lie in a span.

    What follows the end of turn inside a span (a line break, mostly) is cut off: the model never has to
    write it. A token that lies across the beginning of a span would mix prompt and response, and the model
    will never see it when it answers: then the pieces are tokenised one by one, as they will be then.
    """
    spans = [(start, start + len(text[start:end].rstrip())) for start, end in spans]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    tokens, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if any(start < edge < end for edge in (edge for span in spans for edge in span) for start, end in offsets):
        return _in_pieces(text, spans, tokenizer, origin)
    supervised = [False] * len(tokens)
    for first, last in spans:
        inside = [index for index, (start, end) in enumerate(offsets) if first <= start < end <= last]
        if inside:  # from first to last: some tokenizers give white space an empty span
            supervised[inside[0] : inside[-1] + 1] = [True] * (inside[-1] + 1 - inside[0])
    return _trimmed(tokens, supervised, origin)


def _in_pieces(text: str, spans: list[tuple[int, int]], tokenizer: Any, origin: str) -> Example:
    tokens: list[int] = []
    supervised: list[bool] = []
    position = 0
    for start, end in [*spans, (len(text), len(text))]:
        for piece, learnt in ((text[position:start], False), (text[start:end], True)):
            ids = tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else []
            tokens += ids
            supervised += [learnt] * len(ids)
        position = end
    return _trimmed(tokens, supervised, origin)


def _trimmed(tokens: list[int], supervised: list[bool], origin: str) -> Example:
    """Without the tokens after the last supervised one: nothing depends on them."""
    last = max((index for index, learnt in enumerate(supervised) if learnt), default=len(tokens) - 1)
    return Example(tuple(tokens[: last + 1]), tuple(supervised[: last + 1]), origin)


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
