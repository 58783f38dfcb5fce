"""Where ftk keeps its things on disk, and how it writes a file so that nobody ever sees half of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """The folder of what can be fetched or made again: ``$FTK_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("FTK_CACHE") or platformdirs.user_cache_dir("ftk", appauthor=False))


def config_dir() -> Path:
    """The folder of the user's own presets: ``$FTK_CONFIG``, else the user's configuration folder."""
    return Path(os.environ.get("FTK_CONFIG") or platformdirs.user_config_dir("ftk", appauthor=False))


def runs_dir() -> Path:
    """The folder of the runs: ``$FTK_RUNS``, else ``runs`` where the command was started.

    The working folder and not the home folder: on rented machines the volume that outlives the machine is
    where people change to, and the home folder is lost with it.
    """
    return Path(os.environ.get("FTK_RUNS") or "runs").absolute()


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_dir(path: Path) -> None:
    """Make the names in a folder survive a power cut (POSIX asks for this after a rename)."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make a file's content survive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 text file in one step: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        sync_dir(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """A new file beside `target` that takes its name only when the block ends without an error."""
    fd, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    os.close(fd)
    staging = Path(name)
    try:
        yield staging
        sync_file(staging)
        staging.chmod(0o666 & ~_umask())
        staging.replace(target)
        sync_dir(target.parent)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def staged_dir(target: Path) -> Iterator[Path]:
    """A new folder beside `target` that takes its name only when the block ends without an error.

    Every file in it is synced before the rename. An error, or a process killed on the way, leaves `target`
    as it was; the next call removes what a killed one left behind.

    Args:
        target: The folder to come to be; must not exist yet when the block ends.

    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.staging-"
    for leftover in target.parent.glob(f"{prefix}*"):
        if not _alive(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{prefix}{os.getpid()}-"))
    try:
        yield staging
        for file in sorted(staging.rglob("*")):
            sync_dir(file) if file.is_dir() else sync_file(file)
        sync_dir(staging)
        staging.rename(target)
        sync_dir(target.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _alive(staging: Path) -> bool:
    """Whether the process that made a staging folder still runs (its number is part of the name)."""
    pid = staging.name.rsplit("staging-", 1)[1].split("-", 1)[0]
    if not pid.isdigit() or int(pid) == os.getpid():
        return pid.isdigit()
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
