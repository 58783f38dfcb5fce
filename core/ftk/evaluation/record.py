"""The evaluations of a run: one JSON file each in its folder, written in one step."""

from __future__ import annotations

import json
import time
from pathlib import Path

from .. import files
from ..config import check_run_name
from ..errors import RunError, UsageError
from ..plain_files import read_text
from ..runs import RunFolder
from ..secrets import redact
from .results import Evaluated, from_dict

FORMAT = 1
_LARGEST = 64 << 20
"""Bytes of an evaluation that are read: it holds the answers."""


def folder(run: RunFolder) -> Path:
    """Where the evaluations of a run lie."""
    return run.path / "evaluations"


def free_name(run: RunFolder, wanted: str | None) -> str:
    """The name of a new evaluation: as wanted, or the date and time.

    Raises:
        UsageError: the name cannot be one, or is taken.

    """
    if wanted is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        names = [stamp, *(f"{stamp}-{number}" for number in range(2, 1000))]
        return next(name for name in names if not (folder(run) / f"{name}.json").exists())
    try:
        check_run_name(wanted)
    except ValueError as error:
        raise UsageError(f"{wanted!r} cannot name an evaluation: {error}.") from None
    if (folder(run) / f"{wanted}.json").exists():
        raise UsageError(
            f"{run.name!r} has an evaluation {wanted!r} already; nothing was changed.", hint="Choose another --name."
        )
    return wanted


def write(run: RunFolder, found: Evaluated) -> Path:
    """Write an evaluation; returns its file. What looks like a secret in an answer is redacted.

    Raises:
        RunError: the disk is full or not writable.

    """
    values = {"format": FORMAT, **found.to_dict()}
    path = folder(run) / f"{found.name}.json"
    try:
        files.write_atomic(path, redact(json.dumps(values, indent=1)) + "\n")
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror or error}.", hint="Is the disk full?") from None
    return path


def read(path: Path) -> Evaluated:
    """An evaluation.

    Raises:
        RunError: the file cannot be read, is none, or of a later version.

    """
    try:
        values = json.loads(read_text(path, _LARGEST))
        if not isinstance(values, dict) or type(values.get("format")) is not int:
            raise ValueError("no evaluation of ftk")
        if values["format"] > FORMAT:
            raise RunError(f"{path} was written by a later version of ftk.", hint="pip install -U llm-finetune-kit")
        return from_dict(values)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise RunError(f"{path}: {reason}") from None


def newest(run: RunFolder) -> tuple[Evaluated | None, list[str]]:
    """The evaluation of a run that was made last, and what is wrong with those that cannot be read."""
    found, wrong = [], []
    for path in sorted(folder(run).glob("*.json")):
        try:
            found.append(read(path))
        except RunError as error:
            wrong.append(error.message)
    return max(found, key=lambda one: str(one.about.get("created", "")), default=None), wrong
