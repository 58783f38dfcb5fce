"""CSV and its relatives: the delimiter and the quotation mark are found out, every cell stays text."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError
from .base import Encoding, Record, Records, open_text

_SAMPLE = 1 << 16
_DELIMITERS = (",", ";", "\t", "|", "\x1f", "^")
_NAMES = {"\t": "tab", "\x1f": "unit separator"}


@dataclass(frozen=True)
class Dialect:
    """How the cells of a table are written."""

    delimiter: str
    quote: str
    escape: str | None = None

    @property
    def said(self) -> str:
        """The same in words, empty for the usual form."""
        parts = [] if self.delimiter == "," else [f"cells separated by {_NAMES.get(self.delimiter, self.delimiter)}"]
        parts += [] if self.quote == '"' else [f"quoted with {self.quote}"]
        return ", ".join(parts)


def dialect(path: Path, encoding: Encoding) -> Dialect:
    """Find out delimiter and quotation mark: those by which the first rows have the same number of cells, and most."""
    with open_text(path, encoding) as file:
        text = file.read(_SAMPLE)
        whole = not file.read(1)
    candidates = [
        Dialect(delimiter, quote, escape)
        for quote in ('"', "'")
        for escape in (None, "\\")
        for delimiter in _DELIMITERS
        if delimiter in text and (quote == '"' or _opens_cells(text, quote, delimiter))
    ]
    scored = [(_score(text, candidate, whole), -index) for index, candidate in enumerate(candidates)]
    if not scored or max(scored)[0] <= 0:
        return Dialect(max(_DELIMITERS, key=text.split("\n", 1)[0].count), '"')
    return candidates[-max(scored)[1]]


def _opens_cells(text: str, quote: str, delimiter: str) -> bool:
    """Whether a quotation mark stands at the beginning of cells: an apostrophe inside words does not count."""
    return text.count(f"{delimiter}{quote}") + text.count(f"\n{quote}") > text.count(f'{delimiter}"')


def _score(text: str, candidate: Dialect, whole: bool) -> float:
    """The number of cells in a row, times how far the rows agree on it; 0 for a single column."""
    try:
        rows = [row for row in _reader(io.StringIO(text, newline=""), candidate) if row]
    except csv.Error:
        return 0
    rows = rows if whole or len(rows) < 2 else rows[:-1]
    if not rows or len(rows[0]) < 2 or not all(cell.strip() for cell in rows[0]):
        return 0
    width = len(rows[0])
    agreeing = sum(len(row) == width for row in rows) / len(rows)
    return agreeing * agreeing * (1 + min(width, 20) / 100) if agreeing > 0.5 else 0


def _reader(file: io.TextIOBase | io.StringIO, form: Dialect) -> csv._reader:  # type: ignore[name-defined]
    csv.field_size_limit(sys.maxsize)
    return csv.reader(
        file,
        delimiter=form.delimiter,
        quotechar=form.quote,
        escapechar=form.escape,
        doublequote=form.escape is None,
        strict=True,
    )


def read(path: Path, encoding: Encoding, form: Dialect) -> Records:
    """Read a table with a header; a row with the wrong number of cells becomes a fault.

    Raises:
        DataError: a quotation mark is left open; what follows cannot be told apart.

    """
    with open_text(path, encoding) as file:
        reader = _reader(file, form)  # type: ignore[arg-type]
        header: list[str] | None = None
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise _open_quote(path.name, line, str(error)) from None
            if cells is None:
                return
            if not any(cells):
                continue
            if header is None:
                header = _header(path.name, cells)
            elif len(cells) != len(header):
                yield Record(line, None, _wrong_width(path.name, line, cells, header))
            else:
                yield Record(line, dict(zip(header, cells, strict=True)))


def _header(name: str, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if twice := {cell for cell in header if header.count(cell) > 1}:
        raise DataError(
            f"{name}, line 1: the column {sorted(twice)[0]!r} is there twice.", hint="Give every column its own name."
        )
    return header


def _open_quote(name: str, line: int, reason: str) -> DataError:
    return DataError(
        f"{name}, line {line}, column 1: {reason}; the row that begins here is never ended.",
        hint="A quotation mark is left open, or stands inside a cell: double it there, or quote the whole cell.",
    )


def _wrong_width(name: str, line: int, cells: list[str], header: list[str]) -> DataError:
    near = " | ".join(cell[:20] for cell in cells[: len(header) + 1])
    return DataError(
        f"{name}, line {line}, column {min(len(cells), len(header)) + 1}: {len(cells)} cells where the header has "
        f"{len(header)}. Near: {near!r}",
        hint='Text with the delimiter or line breaks must stand in "quotes".',
    )
