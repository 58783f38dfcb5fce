"""Rename and delete runs: only what lies in the folder of the runs, is a run, and is nobody's at the moment."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from . import files
from .config import check_run_name
from .errors import RunError, UsageError, did_you_mean
from .plain_files import read_text
from .runs import RunFolder

_DELETED = ".deleted-"


def find(name: str, parent: Path | None = None) -> RunFolder:
    """A run by its name, also a damaged one, or one whose folder has a name that no run can have.

    The name is looked up among what is there, and never made into a path: nothing outside the folder can be meant.

    Args:
        name: The name; with a path before it, that has to be the folder of the runs.
        parent: The folder of the runs; `files.runs_dir()` by default.

    Raises:
        RunError: there is no such run there; the nearest name is given.

    """
    parent = parent or files.runs_dir()
    try:
        names = tuple(path.name for path in parent.iterdir() if not path.name.startswith(".") and path.is_dir())
    except OSError:
        names = ()
    asked = _inside(name, parent)
    if asked in names:
        return RunFolder(parent / asked)
    raise RunError(
        f"There is no run {name!r} in {parent}.{did_you_mean(name, names)}",
        hint="`ftk runs` lists the runs; $FTK_RUNS moves their folder.",
    )


def _inside(name: str, parent: Path) -> str:
    """The name of a path that lies in a folder; another name as it is."""
    if os.sep in name:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            path = Path(name)
            if path.parent.resolve() == parent.resolve():
                return path.name
    return name


def rename(run: RunFolder, name: str) -> RunFolder:
    """Give a run another name.

    Args:
        run: The run; nobody may be writing it.
        name: Its new name.

    Returns:
        The run under its new name.

    Raises:
        UsageError: the name is not acceptable, or taken.
        RunError: another process has the run, or it cannot be renamed.

    """
    try:
        target = run.path.with_name(check_run_name(name))
    except ValueError as error:
        raise UsageError(f"{name!r} cannot name a run: {error}.") from None
    _check(run, "renamed")
    with run.locked() as lock:
        try:
            target.mkdir(mode=0o700)  # so that nobody else can take the name; a folder may replace an empty one
        except FileExistsError:
            raise UsageError(f"{target} exists; nothing was changed.", hint="Choose another name.") from None
        except OSError as error:
            raise RunError(f"{target} cannot be made: {error.strerror or error}.") from None
        try:
            run.path.rename(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                target.rmdir()
            raise RunError(f"{run.path} cannot be renamed: {error.strerror or error}.") from None
        lock.folder = target
        renamed = RunFolder(target)
        with contextlib.suppress(OSError, ValueError):  # it is only a comment
            _rewrite_header(renamed, run.name)
            files.sync_dir(target.parent)
    return renamed


def _rewrite_header(run: RunFolder, old: str) -> None:
    """Let the comment above the settings say the new name; no setting is touched."""
    lines = read_text(run.config_file).split("\n")
    for number, line in enumerate(lines):
        if not line.startswith("#"):
            break
        if line.startswith(f"# {old}:"):
            lines[number] = f"# {run.name}:{line.removeprefix(f'# {old}:')}"
        elif line.startswith("# ftk --preset "):
            lines[number] = f"# ftk --preset {run.config_file}"
    files.write_atomic(run.config_file, "\n".join(lines))


def delete(run: RunFolder) -> None:
    """Remove a run and everything in it: under its name it is gone in one step, then its files go.

    Works on a full disk. Links are removed and not followed. What an earlier call could not remove goes too.

    Raises:
        RunError: another process has the run, it is none, or it cannot be removed.

    """
    check_deletable(run)
    hidden = run.path.with_name(f"{_DELETED}{secrets.token_hex(8)}")
    with run.locked(tell=False) as lock:
        try:
            run.path.rename(hidden)
        except OSError as error:
            raise RunError(f"{run.path} cannot be deleted: {error.strerror or error}.") from None
        lock.folder = hidden
    for folder in hidden.parent.glob(f"{_DELETED}*"):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
    if hidden.exists():
        raise RunError(f"The run {run.name!r} is gone, but not all of its files: {hidden} remains.")


def check_deletable(run: RunFolder) -> None:
    """See whether a run could be deleted now, before somebody is asked whether it shall be.

    Raises:
        RunError: another process has the run, or it is none.

    """
    _check(run, "deleted")
    with run.locked(tell=False):
        pass


def _check(run: RunFolder, what: str) -> None:
    if run.path.is_symlink():
        raise RunError(f"{run.path} is a link and was not {what}.", hint="Remove or rename the link by hand.")
    if not run.looks_like_run:
        raise RunError(f"{run.path} is not a run of ftk and was not {what}.")
