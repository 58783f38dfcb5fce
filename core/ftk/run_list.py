"""All runs of a folder, each in a few values that are read from the two ends of its journal; and the newest of a kind.

Nothing here raises because of what is in a folder: a damaged run is listed as one, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from . import events, files, journal, strict_yaml
from .errors import FtkError, RunError
from .events import Evaluation, Event, Failed, Finished, Started, Step, Stopped
from .plain_files import tree_bytes
from .runs import IN_MEMORY, RunFolder, State

_BEGINNING = ("started", "evaluation", "step")
_ENDINGS = tuple(kind.kind for kind in events.ENDINGS)


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run in a list.

    Args:
        name: Its name, which is that of its folder.
        path: Its folder.
        state: What it is doing, or how it ended; ``damaged`` where that cannot be told.
        reason: Why it is damaged, failed or stopped, or finished early, or which host is gone; else empty.
        model: The model as it was asked for.
        data: The data set's name.
        step: Updates done.
        total_steps: Updates planned; None before the first.
        loss: The training loss of the last report.
        loss_before: The held-out loss of the untuned model.
        loss_after: The held-out loss of the last evaluation.
        started: When it was begun, in seconds since 1970.
        updated: When it last told anything, in seconds since 1970.
        seconds: How long it trained, all resumptions together.
        bytes: What its folder takes on disk.

    """

    name: str
    path: Path
    state: State | Literal["damaged"]
    reason: str = ""
    model: str = ""
    data: str = ""
    step: int = 0
    total_steps: int | None = None
    loss: float | None = None
    loss_before: float | None = None
    loss_after: float | None = None
    started: float | None = None
    updated: float | None = None
    seconds: float | None = None
    bytes: int = 0


def all_runs(parent: Path | None = None) -> list[RunSummary]:
    """The runs of a folder, newest first: in the order of what they last told.

    Args:
        parent: The folder of the runs; `files.runs_dir()` by default. There need not be one.

    """
    return sorted(map(summary, _folders(parent)), key=lambda run: (-(run.updated or 0), run.name))


def newest_interrupted(parent: Path | None = None) -> RunFolder | None:
    """The newest run that can be gone on with by its name alone: stopped, interrupted, failed or new.

    A run on data that was given as Python objects is none: only a program can resume it.
    """
    return _newest(parent, lambda run: run.resumable and not _in_memory(run))


def newest_running(parent: Path | None = None) -> RunFolder | None:
    """The newest run that a living process is busy with; it may be paused."""
    return _newest(parent, lambda run: run.state() in ("running", "paused"))


def summary(run: RunFolder) -> RunSummary:
    """What a run is and how far it came; a damaged one has the state ``damaged`` and a reason."""
    size = tree_bytes(run.path)
    try:
        provenance = run.provenance()
        if run.journal_file.exists() and not run.journal_file.is_file():
            raise RunError(f"{run.journal_file} is no file.")
        return _read(run, provenance, size)
    except FtkError as error:
        return RunSummary(name=run.name, path=run.path, state="damaged", reason=error.message, bytes=size)
    except OSError as error:
        reason = f"{run.path}: {error.strerror or error}"
        return RunSummary(name=run.name, path=run.path, state="damaged", reason=reason, bytes=size)


def _read(run: RunFolder, provenance: dict[str, Any], size: int) -> RunSummary:
    first, before = _beginning(run.journal_file)
    end = _End.of(run.journal_file, evaluated=before is not None)
    created, state, ending, last = _created(provenance), run.state(), end.ending, end.step
    finished = ending if isinstance(ending, Finished) else None
    after = end.evaluation.loss if end.evaluation and end.evaluation.step else None
    return RunSummary(
        name=run.name,
        path=run.path,
        state=state,
        reason=_silent(run) if state == "interrupted" else "" if state in ("running", "paused") else _reason(ending),
        model=_name(provenance, "model") or (first.model if first else ""),
        data=_name(provenance, "data") or (first.data if first else ""),
        step=end.reached,
        total_steps=end.total,
        loss=_number(last.loss if last else None),
        loss_before=_number(finished.loss_before if finished else before),
        loss_after=_number(finished.loss_after if finished else after),
        started=first.time if first else created,
        updated=end.time or created,
        seconds=_number(finished.training_s if finished else last.elapsed_s if last else None),
        bytes=size,
    )


def _beginning(path: Path) -> tuple[Started | None, float | None]:
    """The first event of a run, and the held-out loss of the untuned model where it was measured."""
    first: Started | None = None
    for _, event in journal.forwards(path, _BEGINNING):
        if isinstance(event, Started):
            first = first or event
        elif isinstance(event, Evaluation):
            return first, event.loss if event.step == 0 else None
        else:
            break
    return first, None


@dataclass
class _End:
    """The newest of what a journal tells, without what a resumption made void."""

    time: float | None = None
    ending: Event | None = None
    step: Step | None = None
    evaluation: Evaluation | None = None
    total: int | None = None
    limit: float = math.inf

    @classmethod
    def of(cls, path: Path, *, evaluated: bool) -> _End:
        """Read a journal from its end until all is found.

        Args:
            path: The journal.
            evaluated: Whether there are evaluations to look for; without, a long journal would be read in vain.

        """
        end = cls(time=next((event.time for _, event in journal.backwards(path)), None))
        wanted = {*_BEGINNING, *_ENDINGS} if evaluated else {"started", "step", *_ENDINGS}
        for _, event in journal.backwards(path, wanted):
            end._take(event)
            if end.step:
                wanted -= {"step"}  # most lines by far, which need not be understood any more
            if end.evaluation or isinstance(end.ending, Finished):
                wanted -= {"evaluation"}
            if end.limit == 0 or not wanted & {"step", "evaluation"}:
                break
        return end

    def _take(self, event: Event) -> None:
        if isinstance(event, Started):
            self.limit = min(self.limit, event.resumed_from)
        elif isinstance(event, Step):
            self.total = self.total or event.total_steps
            self.step = self.step or (event if event.step <= self.limit else None)
        elif isinstance(event, Evaluation):
            self.evaluation = self.evaluation or (event if event.step <= self.limit else None)
        elif self.limit == math.inf and self.step is None and self.evaluation is None:
            self.ending = self.ending or event

    @property
    def reached(self) -> int:
        """Updates done: reports of the loss may be rarer than updates, endings and resumptions are exact."""
        if isinstance(self.ending, Finished | Stopped):
            return self.ending.step
        if self.limit < math.inf and (self.step is None or self.step.step <= self.limit):
            return int(self.limit)
        return self.step.step if self.step else 0


def _silent(run: RunFolder) -> str:
    """Which other host had an interrupted run, and since when it is silent; empty where it was this one."""
    owner = run.owner()
    return f"{owner.host} not heard of since {owner.heard_of}" if owner and owner.gone else ""


def _reason(ending: Event | None) -> str:
    if isinstance(ending, Failed):
        return ending.message
    return ending.reason if isinstance(ending, Finished | Stopped) else ""


def _name(provenance: dict[str, Any], key: str) -> str:
    part = provenance.get(key)
    name = part.get("name") if isinstance(part, dict) else None
    return name if isinstance(name, str) else ""


def _created(provenance: dict[str, Any]) -> float | None:
    try:
        created = datetime.fromisoformat(str(provenance.get("created"))).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return created if 0 <= created < journal.LATEST else None


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _folders(parent: Path | None) -> Iterator[RunFolder]:
    """The folders that are runs, or were; not those that a process is just making, and nothing else."""
    try:
        paths = sorted((parent or files.runs_dir()).iterdir())
    except OSError:
        return
    for path in paths:
        run = RunFolder(path)
        if not path.name.startswith(".") and path.is_dir() and (run.provenance_file.is_file() or _was_run(run)):
            yield run


def _was_run(run: RunFolder) -> bool:
    owner = run.owner()
    return run.looks_like_run and not (owner and owner.alive)


def _newest(parent: Path | None, wanted: Callable[[RunFolder], bool]) -> RunFolder | None:
    runs = [run for run in _folders(parent) if run.provenance_file.is_file()]
    return next((run for run in sorted(runs, key=_updated, reverse=True) if wanted(run)), None)


def _updated(run: RunFolder) -> float:
    for _, event in journal.backwards(run.journal_file):
        return event.time
    try:
        return _created(run.provenance()) or 0
    except RunError:
        return 0


def _in_memory(run: RunFolder) -> bool:
    try:
        return bool(strict_yaml.read(run.config_file).values.get("data") == IN_MEMORY)
    except FtkError:
        return False
