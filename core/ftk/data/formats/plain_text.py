"""Plain text and Markdown, for continued training: cut into pieces at paragraphs."""

from __future__ import annotations

from .base import Encoding, Input, Record, Records, open_text

_PIECE = 1 << 14  # characters: several windows of tokens, and pieces enough to set some aside


def read(source: Input, encoding: Encoding) -> Records:
    """Read a text file; one record for every 16 Ki characters, cut at an empty line where there is one."""
    lines: list[str] = []
    size, begin = 0, 1
    with open_text(source, encoding) as file:
        for number, line in enumerate(file, 1):
            lines.append(line)
            size += len(line)
            if size >= _PIECE and (not line.strip() or size >= 2 * _PIECE):
                yield from _record(begin, lines)
                lines, size, begin = [], 0, number + 1
    yield from _record(begin, lines)


def _record(begin: int, lines: list[str]) -> Records:
    text = "".join(lines).replace("\r\n", "\n").strip("\n")
    if text.strip():
        yield Record(begin, {"text": text})
