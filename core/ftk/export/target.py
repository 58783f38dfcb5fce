"""The folder that an export makes: complete and checked, or not there at all; nothing of others is ever replaced."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import files
from .._version import __version__
from ..errors import ExportError, UsageError
from .source import Trained

MARK = "ftk_export.json"
"""The file by which a folder is known as one that an export made: what it is, of what, and how it was checked."""
_ROOM_LEFT = 64 << 20


@dataclass(frozen=True)
class Exported:
    """What an export made: its folder, and what was seen of it, in words."""

    path: Path
    kind: str
    checks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def files(self) -> list[tuple[str, int]]:
        """The files with their sizes in bytes."""
        return contents(self.path)


def contents(folder: Path) -> list[tuple[str, int]]:
    """The files below a folder, with their sizes in bytes."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [(str(path.relative_to(folder)), path.stat().st_size) for path in found]


def default(trained: Trained, kind: str) -> Path:
    """Where an export goes that nobody gave a place: below ``exports`` in the working folder."""
    return Path("exports").absolute() / f"{trained.name}-{kind}"


def check(target: Path, *, force: bool) -> None:
    """See that an export may take a name, before anything is computed for it.

    Args:
        target: The folder.
        force: Whether an earlier export of that name may be replaced.

    Raises:
        UsageError: something is there that may not be replaced.

    """
    if not os.path.lexists(target):
        return
    if not force:
        raise UsageError(
            f"{target} exists and was not changed.", hint="Choose another --out, or --force to replace it."
        )
    if target.is_symlink() or not (target / MARK).is_file():
        raise UsageError(
            f"{target} was not made by `ftk export` and was not changed.", hint="--force replaces exports only."
        )


@contextmanager
def made(target: Path, *, force: bool = False) -> Iterator[Path]:
    """A new folder that takes its name only when the block ends without an error.

    Args:
        target: The folder to come to be.
        force: Whether an earlier export of that name is replaced, in its last moment.

    Raises:
        UsageError: something is there that may not be replaced.
        ExportError: the disk is full.

    """
    check(target, force=force)
    new = target.with_name(f".{target.name[:100]}.new-{secrets.token_hex(4)}") if os.path.lexists(target) else target
    try:
        with files.staged_dir(new) as staging:
            yield staging
        if new != target:
            _replace(target, new)
    except OSError as error:
        raise _explained(target, error) from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":  # which hides the disk's own words
            raise
        raise _explained(target, error) from error


def _replace(target: Path, new: Path) -> None:
    old = target.with_name(f".{target.name[:100]}.old-{secrets.token_hex(4)}")
    try:
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    files.sync_dir(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _explained(target: Path, error: Exception) -> ExportError:
    number = getattr(error, "errno", None)
    words = (getattr(error, "strerror", None) or " ".join(str(error).split()))[:160]
    full = number in (errno.ENOSPC, errno.EDQUOT) or "space" in words.lower() or "requested and" in words  # numpy's
    hint = "Free some room, or choose another disk: --out FOLDER." if full else "Choose another place: --out FOLDER."
    return ExportError(f"{target} could not be written: {words}. Nothing was left behind.", hint=hint)


def need_room(folder: Path, size: int) -> None:
    """See that a disk has room.

    Args:
        folder: Where will be written; it need not exist.
        size: Bytes.

    Raises:
        ExportError: it has not.

    """
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(there).free
        if free < size + _ROOM_LEFT:
            raise ExportError(
                f"{folder} needs about {_mebibytes(size)}, and {_mebibytes(free)} are free there.",
                hint="Free some room, or choose another disk: --out FOLDER.",
            )


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def mark(staging: Path, trained: Trained, kind: str, checks: list[str], **more: Any) -> None:
    """Write beside an export what it is and how it was checked; no path of this machine is in it."""
    values = {
        "made_by": f"ftk {__version__}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "kind": kind,
        "run": trained.run.name,
        "step": trained.step,
        "base": {"model": trained.hub, "revision": trained.revision},
        "checks": checks,
        **{key: asdict(value) if hasattr(value, "__dataclass_fields__") else value for key, value in more.items()},
    }
    (staging / MARK).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
