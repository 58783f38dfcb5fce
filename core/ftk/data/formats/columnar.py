"""Parquet and Arrow files, through pyarrow, a portion of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import DataError
from .base import Record, Records

_ROWS = 1000


def read_parquet(path: Path) -> Records:
    """Read a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path, memory_map=True) as file:
            yield from _records(file.iter_batches(_ROWS))
    except (pa.ArrowException, OSError) as error:
        raise _fault(path, "Parquet", error) from None


def read_arrow(path: Path) -> Records:
    """Read an Arrow IPC file or stream (what `datasets` saves)."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            if source.read(6) == b"ARROW1":
                reader = pa.ipc.open_file(source)
                yield from _records(reader.get_batch(index) for index in range(reader.num_record_batches))
            else:
                source.seek(0)
                yield from _records(iter(pa.ipc.open_stream(source)))
    except (pa.ArrowException, OSError) as error:
        raise _fault(path, "Arrow", error) from None


def _records(batches: Iterator[Any]) -> Records:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            for value in batch.slice(start, _ROWS).to_pylist():
                number += 1
                yield Record(number, value)


def _fault(path: Path, kind: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:160]
    return DataError(f"{path.name} could not be read as {kind}: {reason}.", hint="Is the file complete?")
