"""Room on disk where ftk writes: the caches and the runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import files, hub_api


@dataclass(frozen=True)
class Room:
    """A folder that ftk writes into, or will; `free` and `total` are bytes of its disk, None where it does not tell.

    `obstacle` says in words why nothing can be written there; empty if something can.
    """

    what: str
    path: Path
    free: int | None
    total: int | None
    obstacle: str = ""


def rooms() -> tuple[Room, ...]:
    """The folders that ftk fills: its own cache, the Hub's, the runs, and that for temporary files."""
    import tempfile

    places: list[tuple[str, Callable[[], Path]]] = [
        ("cache", files.cache_dir),
        ("Hub models", lambda: Path(hub_api.cache())),
        ("runs", files.runs_dir),
        ("temporary files", lambda: Path(tempfile.gettempdir())),
    ]
    found = []
    for what, place in places:
        try:
            found.append(room(what, place()))
        except (OSError, RuntimeError) as error:  # no home folder, a working folder that is gone, no place for /tmp
            found.append(Room(what, Path("?"), None, None, str(error)))
    return tuple(found)


def room(what: str, path: Path) -> Room:
    """The room of a folder, which need not exist yet: then that of the nearest one above it that does."""
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    obstacle = ""
    if not there.is_dir():
        obstacle = f"{there} is a file and no folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        obstacle = f"nothing may be written into {there}"
    elif _no_names_left(there):
        obstacle = "the disk has no room for further files, of whatever size (inodes)"
    usage = shutil.disk_usage(there)
    return Room(what, path, usage.free, usage.total, obstacle)


def _no_names_left(path: Path) -> bool:
    about = os.statvfs(path)
    return about.f_files > 0 and about.f_favail == 0  # some file systems count none at all
