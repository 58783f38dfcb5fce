"""Text broken into lines of a width, by words, with the style of every part kept."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len

from .painted import Part, Row

_WORDS = re.compile(r"\n|[^\S\n]+|\S+")
_BLANKS = re.compile(r"(\s+)")


def wrap(parts: Sequence[Part], width: int) -> list[Row]:
    """Break a text into lines.

    Args:
        parts: The text, with names of styles; blanks get none, so that they look alike in all of them.
        width: Cells of a line.

    """
    plain = "".join(text for text, _ in parts)
    return [_row(parts, begin, end) for begin, end in spans(plain, max(1, width))]


def spans(plain: str, width: int) -> list[tuple[int, int]]:
    """Where each line of a text begins and ends, in characters; blanks at the end of a line are not in it."""
    lines: list[tuple[int, int]] = []
    begin = end = used = 0
    for match in _WORDS.finditer(plain):
        word, at = match[0], match.start()
        if word == "\n":
            lines.append((begin, end))
            begin = end = match.end()
            used = 0
        elif word.isspace():
            used += cell_len(word)
            if begin == end and used < width:  # an indentation stays
                end = match.end()
            elif begin == end:
                begin = end = match.end()
                used = 0
        else:
            size = cell_len(word)
            if used + size > width and begin < end:
                lines.append((begin, end))
                begin, used = at, 0
            elif begin == end:
                begin = min(begin, at)
            if size > width:
                begin, used = _broken(plain, at, match.end(), width, lines, begin)
            else:
                used += size
            end = match.end()
    return [*lines, (begin, end)] if begin < end or not plain or plain.endswith("\n") else lines


def _broken(plain: str, at: int, end: int, width: int, lines: list[tuple[int, int]], begin: int) -> tuple[int, int]:
    """Break a word that is longer than a line; returns where its last line begins, and the cells of that."""
    used = cell_len(plain[begin:at])
    for place in range(at, end):
        size = cell_len(plain[place])
        if used + size > width and begin < place:
            lines.append((begin, place))
            begin, used = place, 0
        used += size
    return begin, used


def _row(parts: Sequence[Part], begin: int, end: int) -> Row:
    """The part of a styled text from one character to another."""
    row: Row = []
    place = 0
    for text, style in parts:
        piece = text[max(0, begin - place) : max(0, end - place)]
        place += len(text)
        if piece:
            row += [(bit, "" if bit.isspace() else style) for bit in _BLANKS.split(piece) if bit]
        if place >= end:
            break
    return row
