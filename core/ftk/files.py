"""Where ftk keeps its things on disk, and how it writes a file so that nobody ever sees half of it.

What is being written stands beside its target under the name ``.TARGET.staging-...``, takes the target's name last, and
is removed when something goes wrong. What a killed process leaves is removed by the next that writes in that folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

_CANNOT_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems answer that know no such thing as syncing a folder; there is nothing else that could be done."""
_THIS_PROCESS = secrets.token_hex(4)  # numbers of processes are used again: in containers by nearly every start
_THIS_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_STAGING = re.compile(r"\..+\.staging-(\d+-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8})(?:\.tmp)?")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_GIVEN_UP_S = 86_400.0
"""Seconds after which what another host was writing, and does not touch any more, counts as left behind."""


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
    """Make the names in a folder survive a power cut (POSIX asks for this after a rename).

    Does what can be done: some file systems cannot, and a folder that may not be read cannot be opened for it.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        sync_open(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make a file's content survive a power cut."""
    with path.open("rb") as file:
        sync_open(file.fileno())


def sync_open(fd: int) -> None:
    """Make what was written to an open file or folder survive a power cut, where the file system can do that."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def make_dir(path: Path) -> None:
    """Make a folder, and those above it that are missing, so that their names survive a power cut."""
    missing = []
    for folder in (path, *path.parents):
        if folder.exists():
            break
        missing.append(folder)
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync_dir(folder.parent)


def write_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 text file in one step: readers see the old content or the new, never a part.

    A new file can be read by its owner only; one that is replaced keeps its permissions.
    """
    make_dir(path.parent)
    with _staged(path, 0o600) as staging, staging.open("w", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """A new file beside `target` that takes its name only when the block ends without an error.

    It gets the permissions of any new file; one that is replaced keeps its own.
    """
    with _staged(target, 0o666) as staging:
        yield staging


@contextmanager
def _staged(target: Path, mode: int) -> Iterator[Path]:
    sweep(target)
    staging, known = _staging(target, ".tmp"), _mode(target)
    os.close(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode if known is None else known | 0o600))
    try:
        yield staging
        if known is not None:
            staging.chmod(known)
        sync_file(staging)
        staging.replace(target)
        sync_dir(target.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):  # what went wrong first is what has to be told
            staging.unlink(missing_ok=True)
        _raise_as_os_error(error, target)
        raise


def _mode(path: Path) -> int | None:
    """The permissions of a file; None where there is none."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


@contextmanager
def staged_dir(target: Path, *, alone: bool = False, replace: bool = False) -> Iterator[Path]:
    """A new folder beside `target` that takes its name only when the block ends without an error.

    Every file in it is synced before the rename. An error, or a process killed on the way, leaves `target`
    as it was; the next call removes what a killed one left behind.

    Args:
        target: The folder to come to be.
        alone: Nobody else can be writing in the folder of `target` now, because the caller holds a lock: all that was
            left there is removed. Otherwise what another host (a container started anew is one) began stays for a day.
        replace: Take the place of a folder that is there, which stays until the new one is whole. Between the two there
            is a moment without any: the system knows no way to exchange folders.

    Raises:
        FileExistsError: `target` exists, at the beginning or at the end of the block, and is not to be replaced.
        OSError: the disk is full or broken; also where a library in the block said so in an error of its own.

    """
    if not replace:
        _refuse(target)
    make_dir(target.parent)
    sweep(target, alone=alone)
    staging = _staging(target)
    staging.mkdir()
    try:
        yield staging
        for file in sorted(staging.rglob("*")):
            if not file.is_symlink():
                sync_dir(file) if file.is_dir() else sync_file(file)
        sync_dir(staging)
        if replace and os.path.lexists(target):
            _exchange(staging, target)
        else:
            _refuse(target)  # an empty folder would be replaced unnoticed
            staging.rename(target)
        sync_dir(target.parent)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        _raise_as_os_error(error, target)
        raise


def _exchange(staging: Path, target: Path) -> None:
    """Put a folder in the place of another, which comes back if that fails, and is removed if not."""
    old = _staging(target)
    target.rename(old)
    try:
        staging.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _raise_as_os_error(error: BaseException, target: Path) -> None:
    """Raise an error of the system that a library wrapped: safetensors and tokenizers, written in Rust, do."""
    if isinstance(error, Exception) and not isinstance(error, OSError) and (match := _OS_ERROR.search(str(error))):
        number = int(match[1])
        raise OSError(number, os.strerror(number), str(target)) from error


def _refuse(target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def _prefix(target: Path) -> str:
    """How the names begin under which `target` is written; no longer than a name may be."""
    return f".{target.name.encode()[:150].decode(errors='ignore')}.staging-"


def _staging(target: Path, ending: str = "") -> Path:
    maker = f"{os.getpid()}-{_THIS_PROCESS}-{_THIS_HOST}"
    return target.with_name(f"{_prefix(target)}{maker}-{secrets.token_hex(4)}{ending}")


def sweep(target: Path, *, alone: bool = False) -> None:
    """Remove what killed processes left in the folder of `target`; what cannot be removed stays.

    Args:
        target: What is going to be written.
        alone: See `staged_dir`.

    """
    prefix = _prefix(target)
    with contextlib.suppress(OSError):
        for path in list(target.parent.iterdir()):
            maker = path.name.removeprefix(prefix)
            if maker == path.name and (match := _STAGING.fullmatch(path.name)):
                maker = match[1]
            if maker != path.name and _left_behind(path, maker, alone=alone):
                with contextlib.suppress(OSError):
                    path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)


def _left_behind(path: Path, maker: str, *, alone: bool) -> bool:
    """Whether the process that was writing there is gone, as far as its name tells: number, process, host."""
    pid, process, host, *_ = (*maker.split("-"), "", "")
    if not pid.isdigit() or (process == _THIS_PROCESS and int(pid) == os.getpid()):  # the latter: another thread
        return False
    if host not in ("", _THIS_HOST):
        return alone or time.time() - path.lstat().st_mtime > _GIVEN_UP_S
    return alone or int(pid) == os.getpid() or not _runs(int(pid))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
