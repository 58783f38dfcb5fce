"""Arrow files in memory only as far as they are being read."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

_READS = 20_000
_RELEASE = getattr(mmap, "MADV_DONTNEED", None)


class Mapped:
    """The table of an Arrow file, mapped into memory.

    Pages that were read stay resident until the system wants them back, which on a shared or limited machine looks
    like a process that grows with its data. So now and then they are given back; a page that is needed again costs a
    read from the page cache.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.table: Any = pa.ipc.open_file(pa.py_buffer(self._map)).read_all()
        self._reads = 0

    def was_read(self) -> None:
        """Count a read; after many of them all pages are given back."""
        self._reads += 1
        if self._reads >= _READS:
            self._reads = 0
            if _RELEASE is not None:
                self._map.madvise(_RELEASE)


def column(table: Any, name: str) -> Any:
    """A column of numbers as numpy's."""
    import numpy as np
    import pyarrow as pa

    found = table.column(name)
    if pa.types.is_boolean(found.type):
        found = found.cast(pa.uint8())
    chunks = [numbers(chunk) for chunk in found.chunks]
    if len(chunks) == 1:
        return chunks[0]
    return np.concatenate(chunks) if chunks else np.empty(0, found.type.to_pandas_dtype())


def numbers(array: Any) -> Any:
    """An array of numbers, none of them missing, as numpy's; pyarrow's own way imports pandas: half a second."""
    import numpy as np

    return np.from_dlpack(array)
