"""Parquet and Arrow files, through pyarrow, a portion of rows at a time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import DataError
from .base import BROKEN, Input, Record, Records, is_compressed, open_bytes

_ROWS = 1000
_FAULTS = (*BROKEN, ValueError, TypeError, OverflowError, KeyError, NotImplementedError, MemoryError)
"""What pyarrow raises besides its own errors for files that are damaged."""


def read_parquet(source: Input) -> Records:
    """Read a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with _unpacked(source) as path, parquet.ParquetFile(path, memory_map=isinstance(path, str)) as file:
            yield from _records(source, file.schema_arrow, file.iter_batches(_ROWS))
    except (pa.ArrowException, *_FAULTS) as error:
        raise _fault(source, "Parquet", error) from None


def read_arrow(source: Input) -> Records:
    """Read an Arrow IPC file or stream (what `datasets` saves)."""
    import pyarrow as pa

    try:
        with _unpacked(source) as path, pa.memory_map(path) if isinstance(path, str) else pa.PythonFile(path) as file:
            if file.read(6) == b"ARROW1":
                reader = pa.ipc.open_file(file)
                batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
                yield from _records(source, reader.schema, batches)
            else:
                file.seek(0)
                stream = pa.ipc.open_stream(file)
                yield from _records(source, stream.schema, iter(stream))
    except (pa.ArrowException, *_FAULTS) as error:
        raise _fault(source, "Arrow", error) from None


@contextmanager
def _unpacked(source: Input) -> Iterator[Any]:
    """The path of a file, or its content decompressed on disk: these formats are not read from front to back."""
    if not is_compressed(source.path):
        yield str(source.path)
        return
    with tempfile.TemporaryFile() as unpacked, open_bytes(source.path) as packed:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
        unpacked.seek(0)
        yield unpacked


def _records(source: Input, schema: Any, batches: Iterator[Any]) -> Records:
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise DataError(
            f"{source.name}: the column {twice[0]!r} is there twice.", hint="Give every column its own name."
        )
    number = 0
    for batch in batches:
        batch.validate(full=True)  # a damaged file may point outside of itself
        for start in range(0, batch.num_rows, _ROWS):
            for value in batch.slice(start, _ROWS).to_pylist():
                number += 1
                yield Record(number, value)


def _fault(source: Input, kind: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:160].rstrip(".")
    return DataError(f"{source.name} could not be read as {kind}: {reason}.", hint="Is the file complete?")
