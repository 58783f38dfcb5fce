"""Rows on disk: one Arrow file with every conversation, memory-mapped, so that a million rows cost no memory.

A file is read, recognised and checked once; whatever comes later (split, checks, statistics, tokens, a pager)
takes rows from here by their number. What was made of a file is found again by the hash of its content.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError
from . import rows as rows_module
from .mapped import Mapped, column
from .rows import Row

FORMAT = 6
"""Part of every cache key: raised when what is written changes."""
_BATCH = 1000
FAULTS_KEPT = 200


@dataclass
class SourceInfo:
    """What was found in one file: its format, how its columns were read, and how many rows it gave."""

    name: str
    kind: str
    said: str
    unit: str
    reading: str
    reading_kind: str
    columns: list[str]
    weight: float = 1.0
    rows: int = 0
    bytes: int = 0


@dataclass
class StoreInfo:
    """What a store holds besides its rows: sources, faults (the first ones in words), notes by their code.

    `unused` names the held-out parts that were not read, because there is a better one.
    """

    sources: list[SourceInfo] = field(default_factory=list)
    faults: int = 0
    fault_messages: list[list[str]] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    noted: dict[str, list[str]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    fingerprint: str = ""

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(asdict(self), indent=1)  # in ASCII: the names of columns may hold halves of characters

    @staticmethod
    def from_json(text: str) -> StoreInfo:
        """What `to_json` wrote."""
        values = json.loads(text)
        return StoreInfo(**{**values, "sources": [SourceInfo(**source) for source in values["sources"]]})

    def fault(self, error: DataError) -> None:
        """Count a row that could not be read."""
        self.faults += 1
        if len(self.fault_messages) < FAULTS_KEPT:
            self.fault_messages.append([error.message, error.hint or ""])

    def leave_unused(self, name: str) -> None:
        """Remember a held-out part that is not read."""
        if name not in self.unused:
            self.unused.append(name)

    def note(self, code: str, origin: str) -> None:
        """Count a row to which something was done."""
        self.notes[code] = self.notes.get(code, 0) + 1
        first = self.noted.setdefault(code, [])
        if len(first) < 3:
            first.append(origin)

    def first_fault(self) -> DataError:
        """The first row that could not be read, as the error that it is."""
        message, hint = self.fault_messages[0]
        return DataError(message, hint=hint or None)


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("payload", pa.large_string()),
            ("source", pa.int32()),
            ("number", pa.int64()),
            ("held_out", pa.bool_()),
            ("digest", pa.uint64()),
        ]
    )


class Writer:
    """Writes rows to a file or a buffer, a thousand at a time.

    Args:
        sink: A path, or an Arrow output stream.

    """

    def __init__(self, sink: Any) -> None:
        import pyarrow as pa

        self._pa, self._schema = pa, _schema()
        self._file = pa.ipc.new_file(sink, self._schema)
        self._columns: list[list[Any]] = [[] for _ in self._schema.names]
        self._total = hashlib.sha256()
        self.rows = 0

    def add(self, row: Row, source: int, number: int, held_out: bool) -> None:
        """Append a row."""
        payload = row.payload()
        self._total.update(payload.encode() + b"\n")
        for values, value in zip(
            self._columns, (payload, source, number, held_out, rows_module.digest(payload)), strict=True
        ):
            values.append(value)
        self.rows += 1
        if len(self._columns[0]) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        arrays = [
            self._pa.array(values, type=item.type) for values, item in zip(self._columns, self._schema, strict=True)
        ]
        self._file.write_batch(self._pa.record_batch(arrays, schema=self._schema))
        self._columns = [[] for _ in self._schema.names]

    def close(self) -> str:
        """Write what is left; returns the fingerprint of the content."""
        if self._columns[0]:
            self._flush()
        self._file.close()
        return self._total.hexdigest()


class Store:
    """The rows of a data set, by number.

    Args:
        table: An Arrow table of the schema that `Writer` writes.
        info: What was found on the way.
        mapped: The file that the table is mapped from, if it is not in memory.

    """

    def __init__(self, table: Any, info: StoreInfo, mapped: Mapped | None = None) -> None:
        self.info = info
        self._mapped = mapped
        self._payloads = table.column("payload")
        self._sources = column(table, "source")
        self._numbers = column(table, "number")
        self.held_out = column(table, "held_out").astype(bool)
        self.digests = column(table, "digest")

    @classmethod
    def open(cls, folder: Path) -> Store:
        """The store in a folder of the cache."""
        info = StoreInfo.from_json((folder / "info.json").read_text(encoding="utf-8"))
        mapped = Mapped(folder / "rows.arrow")
        return cls(mapped.table, info, mapped)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def sources(self) -> Any:
        """The number of the source of every row, an array."""
        return self._sources

    def payload(self, index: int) -> str:
        """The content of a row as one line of JSON."""
        if self._mapped:
            self._mapped.was_read()
        return str(self._payloads[index].as_py())

    def origin(self, index: int) -> str:
        """``file, line N`` of a row."""
        source = self.info.sources[int(self._sources[index])]
        return f"{source.name}, {source.unit} {int(self._numbers[index])}"

    def find(self, origin: str) -> int | None:
        """The number of the row with that origin, if there is one."""
        place, _, number = origin.rpartition(" ")
        if not number.isdecimal() or len(number) > len(str(1 << 62)):
            return None
        for index, source in enumerate(self.info.sources):
            if place == f"{source.name}, {source.unit}":
                found = ((self._sources == index) & (self._numbers == int(number))).nonzero()[0]
                if len(found):
                    return int(found[0])
        return None

    def row(self, index: int) -> Row:
        """A row."""
        return rows_module.from_payload(self.payload(index), self.origin(index))
