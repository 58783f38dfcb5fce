"""Where two texts differ, word by word."""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
_MANY = 4000
"""Words from which frequent ones are not looked at as anchors: comparing would take seconds."""


class Part(NamedTuple):
    """A stretch of a text; `differs` tells that the other text does not have it there."""

    text: str
    differs: bool


def words(text: str) -> list[str]:
    """A text in words, white space and single marks; joined they are the text."""
    return _WORDS.findall(text)


def compare(one: str, other: str) -> tuple[list[Part], list[Part]]:
    """Both texts in stretches that they share or do not; the stretches joined are the texts."""
    first, second = words(one), words(other)
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=len(first) + len(second) > _MANY)
    left: list[Part] = []
    right: list[Part] = []
    for kind, i, j, k, m in matcher.get_opcodes():
        for parts, found in ((left, first[i:j]), (right, second[k:m])):
            if found:
                parts.append(Part("".join(found), kind != "equal"))
    return _joined(left), _joined(right)


def _joined(parts: list[Part]) -> list[Part]:
    """Differences with nothing but white space between them as one: easier to read."""
    made: list[Part] = []
    for number, part in enumerate(parts):
        between = part.text.isspace() and 0 < number < len(parts) - 1 and parts[number + 1].differs
        differs = part.differs or (between and bool(made) and made[-1].differs)
        if made and made[-1].differs == differs:
            made[-1] = Part(made[-1].text + part.text, differs)
        else:
            made.append(Part(part.text, differs))
    return made


def likeness(one: str, other: str) -> float:
    """How much of two texts is the same, in words: 1 for equal ones, 0 for those without a word in common."""
    first, second = ([word for word in words(text) if not word.isspace()] for text in (one, other))
    if not first and not second:
        return 1.0
    return difflib.SequenceMatcher(None, first, second, autojunk=False).ratio()
