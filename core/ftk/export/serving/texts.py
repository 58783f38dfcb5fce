"""Tokens of an answer as text while they come, up to the first text at which it is to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...evaluation.text_stream import TextStream

_UNFINISHED = "�"  # what a decoder writes for the first bytes of a character


class _Raw:
    """Text with all its white space, as it is wanted where a text is gone on with.

    A token is decoded together with the few before it, because many tokenizers write a token in another way at the
    beginning of a text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._known = self._told = 0

    def add(self, token: int) -> str:
        self._tokens.append(token)
        return self._new(final=False)

    def close(self) -> str:
        return self._new(final=True)

    def _new(self, *, final: bool) -> str:
        before = self._decode(self._tokens[self._known : self._told])
        now = self._decode(self._tokens[self._known :])
        if len(now) <= len(before) or (now.endswith(_UNFINISHED) and not final):
            return ""
        self._known, self._told = self._told, len(self._tokens)
        return now[len(before) :]

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))


class Stream:
    """An answer as text.

    Args:
        tokenizer: Any tokenizer.
        stops: Texts at which the answer ends; they are not part of it.
        trim: Leave out white space around the answer.

    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = (), *, trim: bool = True) -> None:
        self._text: TextStream | _Raw = TextStream(tokenizer) if trim else _Raw(tokenizer)
        self._stops = tuple(stops)
        self._kept = ""  # could be the beginning of a text to stop at
        self.stopped = False
        """Whether such a text came."""

    def add(self, token: int) -> str:
        """Take a token; returns the text that can be given out now."""
        return "" if self.stopped else self._cut(self._text.add(token), final=False)

    def close(self) -> str:
        """The answer has ended; returns what is left of its text."""
        return "" if self.stopped else self._cut(self._text.close(), final=True)

    def _cut(self, text: str, *, final: bool) -> str:
        if not self._stops:
            return text
        known = self._kept + text
        places = [place for stop in self._stops if (place := known.find(stop)) >= 0]
        if places:
            self.stopped, self._kept = True, ""
            return known[: min(places)]
        keep = 0 if final else max(_overlap(known, stop) for stop in self._stops)
        self._kept = known[len(known) - keep :]
        return known[: len(known) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text could be the beginning of another."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
