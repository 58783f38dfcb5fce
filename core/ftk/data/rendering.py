"""From conversations to the model's text, with the places of what is learnt in it found by construction.

For every assistant turn the conversation is rendered twice: up to the turn, with the generation prompt, and with
it. The difference is what the model must learn to write. Where a template rewrites earlier turns, so that the
shorter text is no beginning of the longer one, the conversation becomes one text for each assistant turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import DataError
from .rows import Message, Row
from .templates import render, render_many

Span = tuple[int, int]

_QUESTION, _ANSWER = "Question 7141", "Answer 2718"  # found again in any template, and no part of one


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text and the character spans of it that are learnt; the text ends where the last span does.

    `closed` tells whether what is learnt ends with a token that ends a turn; if not, the end of text must be added.
    """

    text: str
    spans: list[Span]
    closed: bool


class Template:
    """What is the same in every conversation that a tokenizer's chat template writes.

    Attributes:
        tokenizer: The tokenizer.
        closing: The added tokens at which an answer ends, mostly one; none if the template writes none.
        opening: How a prompt ends, from its last added token on; empty if no added token stands between question
            and answer. Tokenizers part texts at added tokens before all else, so what stands before `opening`
            never changes how the answer is tokenised.

    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._added = {str(token): token for token in tokenizer.added_tokens_decoder.values()}
        self.closing: tuple[str, ...] = ()
        self.opening = ""
        self._end: str | None = None
        self._rest = ""
        question: tuple[Message, ...] = ({"role": "user", "content": _QUESTION},)
        try:
            asked = render(tokenizer, question, prompt=True)
            answered = render(tokenizer, (*question, {"role": "assistant", "content": _ANSWER}))
        except DataError:
            return  # a template for conversations of another kind: every row is looked at by itself
        self._learn_end(answered)
        self._learn_opening(asked)

    def _learn_end(self, answered: str) -> None:
        """Part what follows an answer into the end of turn and the rest, which the model never has to write."""
        _, found, tail = answered.rpartition(_ANSWER)
        if not found:
            return
        self._end = tail.rstrip()
        place = min((tail.find(token) for token in self._added if token in tail), default=len(tail))
        while token := max((known for known in self._added if tail.startswith(known, place)), key=len, default=""):
            self.closing += (token,)
            place += len(token)
            self._end = tail[:place]
        self._rest = tail[len(self._end) :]

    def _learn_opening(self, asked: str) -> None:
        _, found, suffix = asked.rpartition(_QUESTION)
        places = [(suffix.rfind(token), len(token), token) for token in self._added if token in suffix]
        if found and places:
            place, _, token = max(places)
            if not self._added[token].lstrip and not self._added[token].single_word:
                self.opening = suffix[place:]

    def end_of(self, answered: str) -> tuple[int, bool]:
        """Where the end of turn of a text that ends with an answer lies, and whether it is a token of its own."""
        if self._end is not None and answered.endswith(self._end + self._rest):
            return len(answered) - len(self._rest), bool(self.closing)
        stop = len(answered.rstrip())
        return stop, any(answered.endswith(token, 0, stop) for token in self._added)

    def rendered(self, rows: Sequence[Row], turns: Literal["all", "last"] = "all") -> list[list[Rendered] | DataError]:
        """The texts that conversations become.

        Args:
            rows: Conversations.
            turns: The assistant turns that are learnt.

        Returns:
            The texts of each conversation, none where every assistant turn has the weight 0; or, in their place, the
            fault of one that the template refuses or leaves a tool call out of.

        """
        learnt = [_learnt(row, turns) for row in rows]
        wanted = [
            (part, prompt, row.tools)
            for row, indices in zip(rows, learnt, strict=True)
            for part, prompt in _views(row.messages, indices)
        ]
        texts = iter(render_many(self.tokenizer, wanted))
        made: list[list[Rendered] | DataError] = []
        for row, indices in zip(rows, learnt, strict=True):
            views = [next(texts) for _ in _views(row.messages, indices)]
            try:
                made.append(self._row(row, indices, views))
            except DataError as error:
                made.append(DataError(f"{row.origin}: {error.message}", hint=error.hint))
        return made

    def _row(self, row: Row, learnt: list[int], views: list[str | DataError]) -> list[Rendered]:
        if not learnt:
            return []
        texts = iter(map(_checked, views))
        full = next(texts)
        turns = [(next(texts), next(texts) if index + 1 < len(row.messages) else full) for index in learnt]
        found = self._spans(full, turns)
        if found is None:
            made = [self._last_turn(row.messages[: index + 1], row.tools) for index in learnt]
        elif all(closed for _, closed in found[:-1]):
            spans = [span for span, _ in found]
            made = [Rendered(full[: spans[-1][1]], spans, found[-1][1])]
        else:  # a later turn's prompt would hold an end of text that it never has when the model is asked
            made = [Rendered(full[: span[1]], [span], closed) for span, closed in found]
        pieces = [text.text[start:stop] for text in made for start, stop in text.spans]
        for index, piece in zip(learnt, pieces, strict=True):
            _check_calls(row.messages[index], index, piece)
        return made

    def _spans(self, full: str, turns: list[tuple[str, str]]) -> list[tuple[Span, bool]] | None:
        """The spans of the learnt turns in the whole conversation, None if the template rewrites turns."""
        spans = []
        for before, after in turns:
            stop, closed = self.end_of(after)
            if stop < len(before) or not (after.startswith(before) and full.startswith(after[:stop])):
                return None
            spans.append(((len(before), stop), closed))
        return spans

    def _last_turn(self, messages: tuple[Message, ...], tools: tuple[Any, ...]) -> Rendered:
        """The prompt exactly as the model will be asked, and after it what the template makes of the answer.

        Some templates write the prompt differently once it is answered (Mistral's shows the system turn only in
        a last user turn). The answer's text is then taken from a shorter conversation.
        """
        before = render(self.tokenizer, messages[:-1], prompt=True, tools=tools)
        piece = self._answer(messages, tools)
        if piece is None:
            piece = self._thought(messages, before, tools)
        if piece is None:
            raise DataError(
                "The chat template writes a prompt that is no beginning of the whole conversation.",
                hint="Choose another format: --template chatml, alpaca or plain",
            )
        stop, closed = self.end_of(before + piece)
        stop = max(stop, len(before))
        return Rendered((before + piece)[:stop], [(len(before), stop)], closed)

    def _answer(self, messages: tuple[Message, ...], tools: tuple[Any, ...]) -> str | None:
        for turns in (messages, tuple(turn for turn in messages if turn["role"] != "system"), messages[-2:]):
            try:
                start = render(self.tokenizer, turns[:-1], prompt=True, tools=tools)
                whole = render(self.tokenizer, turns, tools=tools)
            except DataError:
                continue  # the shorter conversation is none that the template knows
            if whole.startswith(start):
                return whole[len(start) :]
        return None

    def _thought(self, messages: tuple[Message, ...], before: str, tools: tuple[Any, ...]) -> str | None:
        """The answer to a prompt that ends within ``<think>``, which the template leaves out once it is answered.

        DeepSeek's writes no reasoning of any answered turn. The model still has to write it, or at least its end.
        """
        opened = before.rfind("<think>")
        if opened < 0 or before[opened:].strip() != "<think>":
            return None
        whole = render(self.tokenizer, messages, tools=tools)
        if not whole.startswith(before[:opened]):
            return None
        said, found, _ = str(messages[-1]["content"]).rpartition("</think>")
        thought = said.strip().removeprefix("<think>") if found else str(messages[-1].get("reasoning_content") or "")
        answer = whole[opened:].rpartition("</think>")[2].lstrip("\n")
        return thought.strip("\n") + "\n</think>\n\n" + answer


def _learnt(row: Row, turns: Literal["all", "last"]) -> list[int]:
    """The assistant turns that are learnt; none where all have the weight 0."""
    found = [
        index for index, turn in enumerate(row.messages) if turn["role"] == "assistant" and turn.get("weight") != 0
    ]
    return found if turns == "all" else found[-1:]


def _views(messages: tuple[Message, ...], learnt: list[int]) -> list[tuple[tuple[Message, ...], bool]]:
    """What must be rendered of a conversation: the whole, and every learnt turn's prompt and end.

    Nothing of one of which nothing is learnt: it is left out, whatever its template says to it.
    """
    if not learnt:
        return []
    views: list[tuple[tuple[Message, ...], bool]] = [(messages, False)]
    for index in learnt:
        views.append((messages[:index], True))
        if index + 1 < len(messages):
            views.append((messages[: index + 1], False))
    return views


def _checked(view: str | DataError) -> str:
    if isinstance(view, DataError):
        raise view
    return view


def _check_calls(message: Message, index: int, piece: str) -> None:
    for call in message.get("tool_calls", ()):
        if call["function"]["name"] not in piece:
            raise DataError(
                f"message {index + 1}: the model's chat template leaves out the tool call.",
                hint="Choose a model that was made for tools, or write the call as text.",
            )
