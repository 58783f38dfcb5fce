"""Tokens as text while they come: only whole characters, and never a part that a later token would change."""

from __future__ import annotations

from typing import Any

_UNFINISHED = "�"  # what a decoder writes for the first bytes of a character


class TextStream:
    """Turns the tokens of one answer into parts of its text, without special tokens and surrounding white space.

    The parts joined are the text of all tokens. A token is decoded together with the few before it, because many
    tokenizers write a token in another way at the beginning of a text.

    Args:
        tokenizer: Any tokenizer.

    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._known = self._told = 0  # tokens that were decoded before; and of them, those whose text was given out
        self._text = ""  # all that was given out
        self._space = ""  # white space that may turn out to be the last
        self.closed = False
        """Whether the end was told."""

    def add(self, token: int) -> str:
        """Take a token; returns the text that can be shown now, which may be empty."""
        self._tokens.append(token)
        before = self._decode(self._tokens[self._known : self._told])
        now = self._decode(self._tokens[self._known :])
        if len(now) <= len(before) or now.endswith(_UNFINISHED):
            return ""
        self._known, self._told = self._told, len(self._tokens)
        return self._given(now[len(before) :])

    def _given(self, part: str) -> str:
        """A part without white space at the beginning of the answer, and keeping back that at its end so far."""
        part = self._space + part if self._text else part.lstrip()
        kept = part.rstrip()
        self._space = part[len(kept) :]
        self._text += kept
        return kept

    def close(self) -> str:
        """The answer has ended; returns what is left of its text."""
        self.closed = True
        whole = self._decode(self._tokens).strip()
        return whole[len(self._text) :] if whole.startswith(self._text) else ""

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))
