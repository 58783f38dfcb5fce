"""CSV and its relatives: the delimiter and the quotation mark are found out, every cell stays text."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import DataError
from .base import NO_WAY_ON, Encoding, Input, Record, Records, open_text

_SAMPLE = 1 << 16
_DELIMITERS = (",", ";", "\t", "|", "\x1f", "^")
_NAMES = {"\t": "tab", "\x1f": "unit separator", "\x01": "control A", " ": "blank"}
_NEVER = re.compile(r"[\w\s\"'\\()\[\]{}.?!-]")
"""What stands inside the names of columns, and so parts none."""


@dataclass(frozen=True)
class Dialect:
    """How the cells of a table are written; without a quotation mark every character is meant."""

    delimiter: str
    quote: str | None = '"'
    escape: str | None = None
    spaced: bool = False

    def said(self, usual: str = ",") -> str:
        """The same in words, empty for the usual form, which has that delimiter."""
        name = _NAMES.get(self.delimiter, self.delimiter)
        parts = [] if self.delimiter == usual else [f"cells separated by {name}"]
        parts += [] if self.quote == '"' else [f"quoted with {self.quote}" if self.quote else "no quotation marks"]
        parts += ["backslash as the escape"] if self.escape else []
        return ", ".join(parts)


def dialect(source: Input, encoding: Encoding) -> Dialect:
    """Find out delimiter and quotation mark: those by which the first rows have the same number of cells, and most."""
    with open_text(source, encoding) as file:
        text = file.read(_SAMPLE)
        whole = not file.read(1)
    return _best(text, whole)[0]


def looks_like_table(text: str, whole: bool) -> bool:
    """Whether a text of unknown format reads as rows of cells, or at least begins with names of columns."""
    form, score = _best(text, whole)
    names = _first_line(text).split(form.delimiter)
    return score > 0 or (len(names) > 1 and all(re.fullmatch(r"[\"']?\w+[\"']?", name) for name in names))


def _first_line(text: str) -> str:
    return next(filter(str.strip, re.split(r"[\r\n]", text)), "")


def _best(text: str, whole: bool) -> tuple[Dialect, float]:
    """The form that suits best, with its score, 0 where none suits."""
    header = _first_line(text)
    others = [char for char in dict.fromkeys(header) if char not in _DELIMITERS and not _NEVER.match(char)]
    delimiters = [char for char in (*_DELIMITERS, *others) if char in header]
    candidates = [
        Dialect(delimiter, quote, escape, _spaced(header, delimiter))
        for quote in (("'", '"') if header.startswith("'") else ('"', "'"))
        for escape in (None, "\\")
        for delimiter in delimiters
        if (quote == '"' or _opens_cells(text, quote, delimiter)) and (not escape or "\\" in text)
    ]
    scored = [(_score(text, candidate, whole), -index) for index, candidate in enumerate(candidates)]
    if scored and max(scored)[0] > 0:
        score, index = max(scored)
        return candidates[-index], score
    if "\t" in delimiters and _score(text, bare := Dialect("\t", None), whole) > 1:
        return bare, 1
    return Dialect(max(_DELIMITERS, key=header.count)), 0


def _spaced(header: str, delimiter: str) -> bool:
    """Whether a blank follows every delimiter of the header: then it is none of the cell's."""
    return not delimiter.isspace() and header.count(delimiter) == len(re.findall(re.escape(delimiter) + " ", header))


def _opens_cells(text: str, quote: str, delimiter: str) -> bool:
    """Whether a quotation mark stands at the beginning of cells: an apostrophe inside words does not count."""
    begins, usual = (len(re.findall(f"(?:^|{re.escape(delimiter)}) ?{mark}", text, re.M)) for mark in (quote, '"'))
    return begins > usual


def _score(text: str, candidate: Dialect, whole: bool) -> float:
    """The number of cells in a row, times how far the rows agree on it; 0 for a single column."""
    rows = []
    try:
        for row in _reader(io.StringIO(text, newline=""), candidate):
            rows += [row] if row else []
    except csv.Error as error:
        if whole or "unexpected end" not in str(error):
            return 0
    else:
        rows = rows if whole or len(rows) < 2 else rows[:-1]  # the sample ends in the middle of a row
    if not rows or len(rows[0]) < 2 or sum(not cell.strip() for cell in rows[0]) > 1:
        return 0
    width = len(rows[0])
    agreeing = sum(len(row) == width for row in rows) / len(rows)
    return agreeing * agreeing * (1 + min(width, 20) / 100) if agreeing > 0.5 else 0


def _reader(lines: Iterable[str], form: Dialect) -> Any:
    csv.field_size_limit(sys.maxsize)
    return csv.reader(
        _escaped(lines, form) if form.escape else lines,
        delimiter=form.delimiter,
        quotechar=form.quote,
        quoting=csv.QUOTE_MINIMAL if form.quote else csv.QUOTE_NONE,
        escapechar=form.escape,
        doublequote=True,
        skipinitialspace=form.spaced,
        strict=True,
    )


def _escaped(lines: Iterable[str], form: Dialect) -> Iterator[str]:
    r"""Lines in which a backslash is doubled where it escapes nothing: ``\frac`` is meant as it stands."""
    escapable = rf"\\(?:[\\{re.escape(form.delimiter)}{form.quote}\r\n]|(?=$))"
    pattern = re.compile(rf"{escapable}|(\\)")
    for line in lines:
        yield pattern.sub(lambda match: "\\\\" if match[1] else match[0], line)


class _Lines:
    """The lines of a file; `begun` are those since the last `begin`."""

    def __init__(self, file: Iterable[str]) -> None:
        self._file = iter(file)
        self.first = ""
        self._fresh = True

    def begin(self) -> None:
        """A row begins with the next line."""
        self._fresh = True

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            if self._fresh:
                self.first, self._fresh = line, False
            yield line


def read(source: Input, encoding: Encoding, form: Dialect) -> Records:
    """Read a table with a header; a row with the wrong number of cells becomes a fault.

    Raises:
        DataError: a quotation mark is left open; what follows cannot be told apart.

    """
    with open_text(source, encoding) as file:
        lines = _Lines(file)
        reader = _reader(lines, form)
        header: list[str] | None = None
        while True:
            line = reader.line_num + 1
            lines.begin()
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise _open_quote(source.name, line, lines.first, form, str(error)) from None
            if cells is None:
                return
            if not cells or (header is None and not any(cells)):
                continue
            if header is None:
                header = _header(source.name, line, cells)
            elif len(cells) != len(header):
                yield Record(line, None, _wrong_width(source.name, line, cells, header))
            else:
                yield Record(line, dict(zip(header, cells, strict=True)))


def _header(name: str, line: int, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if twice := sorted({cell for cell in header if header.count(cell) > 1}):
        near = " | ".join(cell[:20] for cell in header)
        raise DataError(
            f"{name}, line {line}: the column {twice[0]!r} is there twice. Near: {near[:80]!r}",
            hint="Give every column its own name.",
        )
    return header


def _open_quote(name: str, line: int, text: str, form: Dialect, reason: str) -> DataError:
    quote = re.escape(form.quote or '"')
    opened = [match.end() for match in re.finditer(rf"(?:^|{re.escape(form.delimiter)}) ?(?={quote})", text)]
    column = opened[-1] + 1 if opened else 1
    return DataError(
        f"{name}, line {line}, column {column}: {reason}; the row that begins here is never ended. "
        f"Near: {text[max(0, column - 31) : column + 29].rstrip()!r}",
        hint="A quotation mark is left open, or stands inside a cell: double it there, or quote the whole cell. "
        + NO_WAY_ON,
    )


def _wrong_width(name: str, line: int, cells: list[str], header: list[str]) -> DataError:
    near = " | ".join(cell[:20] for cell in cells[: len(header) + 1])
    return DataError(
        f"{name}, line {line}, column {min(len(cells), len(header)) + 1}: {len(cells)} cells where the header has "
        f"{len(header)}. Near: {near!r}",
        hint='Text with the delimiter or line breaks must stand in "quotes".',
    )
