"""What happens in threads for the Compare screen: finding a run and its prompts, asking, measuring, keeping."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftk.errors import FtkError, RunError

from .starting import CancelledError
from .text import shown

if TYPE_CHECKING:
    from ftk.evaluation.asked import Compared
    from ftk.evaluation.comparisons import Record
    from ftk.evaluation.differences import Part
    from ftk.evaluation.pair import HeldOutLoss, Pair
    from ftk.evaluation.prompts import Chosen
    from ftk.evaluation.subjects import Subject
    from ftk.run_list import RunSummary

    from .sitting import Entry, Sitting

HELD_OUT = 10
"""Held-out rows that are offered at first, and by which their number grows."""
_MEASURED = 200
"""Held-out rows that are measured at most."""


@dataclass
class Opened:
    """A run that can be compared: what was asked so far, and what is known of it."""

    name: str
    """The run, or ``RUN@STEP`` for a checkpoint of it."""
    sitting: Sitting
    summary: RunSummary
    problem: str = ""
    """Why there are no held-out prompts."""

    @property
    def subjects(self) -> Sequence[Subject]:
        """The models: the base, and the tuned one."""
        return self.sitting.subjects

    @property
    def tuned(self) -> Subject:
        """The tuned model."""
        return self.subjects[-1]


@dataclass
class Work:
    """Something that goes on in a thread; the screen looks at it a few times a second, and may stop it."""

    kind: str
    entry: Entry | None = None
    stopped: threading.Event = field(default_factory=threading.Event)
    progress: tuple[str, str, float | None, float | None] | None = None
    texts: dict[str, str] = field(default_factory=dict)
    done: deque[tuple[Entry, Compared, tuple[list[Part], list[Part]]]] = field(default_factory=deque)
    remarks: deque[str] = field(default_factory=deque)
    pair: Pair | None = None
    """The models that are asked, once they are known."""

    def phase(self, phase: str, detail: str, done: float | None = None, total: float | None = None) -> None:
        """Called with what is loaded or measured.

        Raises:
            CancelledError: nobody wants it any more.

        """
        if self.stopped.is_set():
            raise CancelledError("Stopped.")
        self.progress = (phase, detail, done, total)

    def begin(self, entry: Entry) -> None:
        """The next prompt is answered."""
        self.entry, self.texts = entry, {}

    def grow(self, label: str, text: str) -> None:
        """An answer goes on; the texts are replaced and not changed, because another thread reads them."""
        self.progress = None
        self.texts = {**self.texts, label: self.texts.get(label, "") + text}


def open_run(name: str) -> Opened:
    """Find a run, what it was asked before, and held-out prompts for it.

    Raises:
        FtkError: there is no such run, or nothing that it trained.

    """
    from ftk import run_list

    from .sitting import Sitting, newest

    name, models = _found(name)
    if len(models) != 2:
        raise RunError(f"{name} and its base are not two models.")
    sitting = newest(models) or Sitting(models)
    opened = Opened(name, sitting, run_list.summary(models[-1].run))
    try:
        add(opened, held_out(opened))
    except FtkError as error:
        opened.problem = error.message
    return opened


def add(opened: Opened, chosen: Chosen) -> int | None:
    """Put prompts behind those that are there; returns the place of the first of them."""
    sitting = opened.sitting
    sitting.notes = [*dict.fromkeys([*sitting.notes, *chosen.notes])]
    return sitting.add(chosen.prompts, chosen.source)


def _found(name: str) -> tuple[str, list[Subject]]:
    """A run and its base; of one without a result its newest checkpoint."""
    from ftk.evaluation import subjects

    try:
        return name, subjects.find([name])
    except RunError:
        from ftk.runs import RunFolder

        steps = [] if "@" in name else subjects.steps(RunFolder.open(name))
        if not steps:
            raise
        return f"{name}@{steps[-1]}", subjects.find([f"{name}@{steps[-1]}"])


def held_out(opened: Opened, count: int = HELD_OUT) -> Chosen:
    """So many held-out rows of the run, as prompts; never one that it was trained on.

    Raises:
        FtkError: there are none, or nobody can tell which they are.

    """
    from ftk.evaluation import prompts

    return prompts.held_out(opened.tuned.run, opened.tuned.config, count)


def from_file(opened: Opened, name: str) -> Chosen:
    """The prompts of a file.

    Raises:
        DataError: it cannot be read, or holds none.

    """
    from ftk.evaluation import prompts

    return prompts.from_file(name, opened.tuned.config.system_prompt)


def typed(opened: Opened, text: str) -> Chosen:
    """A prompt as it was typed."""
    from ftk.evaluation import prompts

    return prompts.typed([text], opened.tuned.config.system_prompt)


def make_pair(subjects: Sequence[Subject], result: Any) -> Pair:
    """Both models, to be asked; nothing is loaded yet but the libraries."""
    from ftk.evaluation.pair import Pair

    return Pair(subjects, result=result)


def ask(work: Work, result: Any, sitting: Sitting, entries: Sequence[Entry]) -> bool:
    """Have prompts answered, one after the other; returns whether that was all of them.

    Args:
        work: What goes on; its models are made where it has none yet.
        result: A run of this process, whose model may be one of them.
        sitting: Whose prompts they are.
        entries: The prompts.

    Raises:
        FtkError: a model cannot be loaded, or gives no answer.

    """
    from .compare_watching import Writing

    pair = work.pair = work.pair or make_pair(sitting.subjects, result)
    for entry in entries:
        if work.stopped.is_set():
            return False
        work.begin(entry)
        found = pair.ask(entry.prompt, entry.number, sitting.sampling, Writing(work), work.stopped.is_set)
        if found is None:
            return False
        work.done.append((entry, found, differences([answer.text for answer in found.answers.values()])))
    return not work.stopped.is_set()


def differences(texts: Sequence[str]) -> tuple[list[Part], list[Part]]:
    """Two answers, safe to print, in stretches that they share or do not."""
    from ftk.evaluation.differences import compare

    one, other = map(shown, texts)
    return compare(one, other)


def measure(work: Work, result: Any, opened: Opened) -> dict[str, HeldOutLoss]:
    """The held-out loss of both models; see `ask`.

    Raises:
        FtkError: the rows are gone or others, or a model cannot be loaded.

    """
    from ftk.evaluation.chosen import rows_of_run

    tuned = opened.tuned
    work.phase("read", tuned.config.data)
    rows = rows_of_run(tuned.config, tuned.run.provenance(), most=_MEASURED)
    pair = work.pair = work.pair or make_pair(opened.subjects, result)
    return pair.losses(rows, work.phase)


_keeping = threading.Lock()


def keep(sitting: Sitting, made: Record) -> Path:
    """Write a sitting as it was when its record was made into the folder of its run, whole or not at all.

    Raises:
        RunError: it cannot be written.

    """
    from ftk.evaluation import comparisons

    with _keeping:  # one after the other: the first one makes the file that the next one replaces
        sitting.path = comparisons.keep(sitting.subjects[-1].run, made, sitting.path)
    return sitting.path


def export(made: Record, target: Path, *, force: bool) -> Path:
    """Write a record as a page.

    Raises:
        UsageError: the ending says no format, or the file cannot be written.

    """
    from ftk.evaluation import render

    title = f"{' and '.join(made.labels)}: {len(made.answers)} prompts"
    return render.write(made, target, title=title, force=force)


@dataclass(frozen=True)
class Choice:
    """A model that can be chosen: a run with its result, or a checkpoint of it."""

    name: str
    words: str


def choices() -> list[Choice]:
    """Everything that can be compared with its base, newest run first."""
    from ftk import run_list
    from ftk.evaluation import subjects
    from ftk.runs import RunFolder

    found = []
    for run in run_list.all_runs():
        folder = RunFolder(run.path)
        losses = ""
        if run.loss_before is not None and run.loss_after is not None:
            losses = f", held-out loss {run.loss_before:.3f} → {run.loss_after:.3f}"
        with contextlib.suppress(FtkError, OSError):
            if folder.trained.is_dir():
                found.append(Choice(run.name, f"{run.state}, {run.model} on {run.data}{losses}"))
            for step in reversed(subjects.steps(folder)):
                found.append(Choice(f"{run.name}@{step}", f"checkpoint of {run.state} {run.name}"))
    return found
