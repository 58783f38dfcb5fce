"""Look at a data set without reading all of it: what it is, its first rows, one row, the rows with a word in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice

from ..errors import DataError, UsageError
from . import gather, normalise, recognise
from .formats import sniff
from .formats.base import HELD_OUT_NAMES, Record
from .gather import Source
from .recognise import Column, Reading
from .rows import Row
from .store import SourceInfo


@dataclass(frozen=True)
class Browsed:
    """A row as it was read, or the fault that it has instead; `number` counts the rows of the data set from 1."""

    number: int
    line: int
    row: Row | None
    fault: DataError | None
    held_out: bool


@dataclass(frozen=True)
class Columns:
    """The columns of a data set's first file: what they hold, and how they are read (None: not recognised)."""

    found: Mapping[str, Column]
    reading: Reading | None


@dataclass(frozen=True)
class Preview:
    """The first rows of a data set: how every source was read, rows, faults, and a guess at the number of rows."""

    sources: tuple[SourceInfo, ...]
    rows: tuple[Row, ...]
    faults: tuple[DataError, ...]
    estimated_rows: int


class _Opened:
    """A source whose first records were looked at."""

    def __init__(self, source: Source, columns: str | None, *, beginning: bool = False) -> None:
        self._source = source
        self._opened = sniff.open_file(source.path, preview=beginning, name=source.name)
        self._records = self._opened.read()
        self.first = list(islice(self._records, recognise.SAMPLE))
        self.values = [record.value for record in self.first if isinstance(record.value, Mapping)]
        self.reading = recognise.recognise(self.values, source.name, columns) if self.values else None

    def info(self) -> SourceInfo:
        """How it is read; `rows` is a guess where there are more than were looked at."""
        source, opened = self._source, self._opened
        size = source.path.stat().st_size
        rows = float(len(self.first))
        if len(self.first) >= recognise.SAMPLE:
            rows = max(rows, sniff.estimated_rows(opened.path, opened.kind, self.values))
        said, kind = (self.reading.said, self.reading.kind) if self.reading else ("", "")
        names = list(recognise.survey(self.values))
        return SourceInfo(
            source.name, opened.kind, opened.said, opened.unit, said, kind, names, source.weight, round(rows), size
        )

    def rows(self) -> Iterator[Browsed]:
        """All rows and faults, read as they are asked for."""
        used = (record for record in chain(self.first, self._records) if not record.unused)
        for number, record in enumerate(used, 1):
            held_out = self._source.held_out or str(record.part).lower() in HELD_OUT_NAMES
            try:
                yield Browsed(number, record.number, self._row(record), None, held_out)
            except DataError as fault:
                yield Browsed(number, record.number, None, fault, held_out)

    def _row(self, record: Record) -> Row:
        origin = f"{self._source.name}, {self._opened.unit} {record.number}"
        if record.fault:
            raise record.fault
        if self.reading is None:
            raise normalise.not_a_record(record.value, origin)
        return normalise.to_row(record.value, self.reading, origin)[0]


def _used(spec: str) -> list[Source]:
    return [source for source in gather.gather(spec) if not source.unused]


def browse(spec: str, columns: str | None = None) -> Iterator[Browsed]:
    """The rows of a data set in the order of its files, each read when it is asked for.

    Args:
        spec: The setting `data`; weights do not count here.
        columns: The setting `columns`.

    Raises:
        DataError: a file cannot be read or recognised.

    """
    number = 0
    for source in _used(spec):
        for item in _Opened(source, columns).rows():
            number += 1
            yield Browsed(number, item.line, item.row, item.fault, item.held_out)


def find(spec: str, *, row: int | None = None, line: int | None = None, columns: str | None = None) -> Row:
    """One row of a data set.

    Args:
        spec: The setting `data`.
        row: Its number, from 1, faulty rows counted.
        line: The line (of text files) at which it begins, instead.
        columns: The setting `columns`.

    Raises:
        DataError: there is no such row, or it is faulty.

    """
    wanted, last = row if row is not None else line, 0
    for item in browse(spec, columns):
        last = item.number if row is not None else item.line
        if last == wanted:
            if item.row is None:
                raise item.fault or DataError(f"{spec}: row {item.number} cannot be read.")
            return item.row
    what = f"no row {row}" if row is not None else f"no row that begins at line {line}"
    raise DataError(f"{spec}: there is {what}.", hint=f"The last one is {last}.")


def columns_of(spec: str, columns: str | None = None) -> Columns:
    """Look at the columns of a data set's first file, whether they are recognised or not.

    Args:
        spec: The setting `data`.
        columns: The setting `columns`.

    Raises:
        DataError: it cannot be read.

    """
    source = _used(spec)[0]
    records = islice(sniff.open_file(source.path, preview=True, name=source.name).read(), recognise.SAMPLE)
    values = [record.value for record in records if isinstance(record.value, Mapping)]
    try:
        reading = recognise.recognise(values, source.name, columns)
    except (DataError, UsageError):
        reading = None
    return Columns(recognise.survey(values), reading)


def preview(spec: str, *, columns: str | None = None, count: int = 50) -> Preview:
    """Look at the beginning of a data set, however large it is.

    Args:
        spec: The setting `data`.
        columns: The setting `columns`.
        count: Rows to show from each source.

    Raises:
        DataError: it cannot be read or recognised.

    """
    sources, rows, faults = [], [], []
    for source in _used(spec):
        opened = _Opened(source, columns, beginning=True)
        sources.append(opened.info())
        for item in islice(opened.rows(), count):
            rows += [item.row] if item.row else []
            faults += [item.fault] if item.fault else []
    if not rows:
        raise faults[0] if faults else DataError(f"{spec}: there are no rows.")
    return Preview(tuple(sources), tuple(rows), tuple(faults), sum(source.rows for source in sources))
