"""A row as the model sees it: its tokens, and which of them are learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from . import encoding, templates
from .encoding import Example, Shape
from .rows import Row


@dataclass(frozen=True)
class Piece:
    """A stretch of text that is learnt, or that is not."""

    text: str
    learnt: bool


@dataclass(frozen=True)
class Token:
    """A token: its id, its text (``�`` where it is a part of a character), whether it is learnt."""

    id: int
    text: str
    learnt: bool


@dataclass(frozen=True)
class View:
    """An example: its text in pieces, and its tokens."""

    pieces: tuple[Piece, ...]
    tokens: tuple[Token, ...]

    @property
    def learnt(self) -> int:
        """The number of learnt tokens."""
        return sum(token.learnt for token in self.tokens)


@dataclass(frozen=True)
class Views:
    """What becomes of one row: `examples` (several where a template rewrites earlier turns), and how many were cut.

    `template` is ``model`` for the model's own, or a fallback's name.
    """

    examples: tuple[View, ...]
    cut: int
    template: str


def views(row: Row, tokenizer: Any, shape: Shape, template: Any = "auto") -> Views:
    """Show a row as training would use it.

    Args:
        row: A conversation or a raw text.
        tokenizer: The model's; gets a chat template if it has none.
        shape: How rows become examples.
        template: ``auto``, ``chatml``, ``alpaca`` or ``plain``.

    Raises:
        DataError: the template refuses the row.

    """
    name = templates.choose(tokenizer, template)
    (made,) = encoding.stream([row], tokenizer, shape)
    return Views(tuple(_view(example, tokenizer) for example in made.examples), made.cut, name)


def _view(example: Example, tokenizer: Any) -> View:
    pieces = []
    pairs = zip(example.tokens, example.supervised, strict=True)
    for learnt, group in groupby(pairs, key=lambda pair: bool(pair[1])):
        pieces.append(Piece(_text([token for token, _ in group], tokenizer), learnt))
    tokens = tuple(
        Token(int(token), _text([token], tokenizer), bool(learnt))
        for token, learnt in zip(example.tokens, example.supervised, strict=True)
    )
    return View(tuple(pieces), tokens)


def _text(tokens: Sequence[int], tokenizer: Any) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))
