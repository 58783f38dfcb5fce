"""The cache of read and of tokenised data sets: folders under the hash of what they were made from."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import files
from ..errors import DataError

LIMIT_BYTES = 20 << 30
"""Beyond this the data sets that were not used for longest are removed."""


def folder(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder of that key, built at the first call.

    Args:
        kind: ``rows`` or ``tokens``.
        key: A hash over everything that it is made from.
        build: Fills an empty folder; an error, or a kill, leaves nothing behind.

    Raises:
        DataError: the cache cannot be written; the message says where it lies.

    """
    target = files.cache_dir() / "data" / f"{kind}-{key}"
    if not (target / "info.json").is_file():
        with told():
            _make(target, build)
        _prune(target)
    with contextlib.suppress(OSError):  # somebody else's cache may be read as well
        os.utime(target)
    return target


def _make(target: Path, build: Callable[[Path], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with files.staged_dir(target) as staging:
            build(staging)
    except OSError:
        if not (target / "info.json").is_file():  # another process was faster and made the same
            raise


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn a cache that cannot be written (full, read-only, no folder) into words."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataError(
            f"The cache in {files.cache_dir()} could not be written: {reason}.",
            hint="Make room there, or choose another folder: export FTK_CACHE=/path/with/room",
        ) from None


def _prune(keep: Path) -> None:
    """Remove the least recently used folders while all of them together are too large."""
    used = sorted(
        ((entry.stat().st_mtime, entry) for entry in keep.parent.iterdir() if not entry.name.startswith(".")),
        reverse=True,
    )
    total = 0
    for _, entry in used:
        total += sum(file.stat().st_size for file in entry.glob("*"))
        if total > LIMIT_BYTES and entry != keep:
            shutil.rmtree(entry, ignore_errors=True)
