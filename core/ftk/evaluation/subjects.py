"""The models that are asked: the base of a run, its result, its checkpoints. Found without torch, see `in_memory`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import recipes
from ..config import RunConfig
from ..errors import RunError, UsageError
from ..runs import RunFolder

BASE = "base"
"""What the untuned model is called."""
ENSEMBLE = "ensemble"
"""What several adapters are called that answer together."""

_STEP = re.compile(r"(?:step-)?0*(\d{1,12})")


@dataclass(frozen=True)
class Subject:
    """A model that can be asked.

    Args:
        label: What it is called where answers are shown; no two that are compared have the same.
        run: The run it belongs to.
        config: The run's settings.
        folder: Where the adapter lies, or with `whole` the model; None for the base.
        whole: All of its weights were trained, so that it shares nothing with the base.
        moved: The settings name another place of the base than the run did, because somebody said so.
        members: Of an ensemble: the labels of the adapters that answer together, with what each counts; `folder` is
            that of the first.

    """

    label: str
    run: RunFolder
    config: RunConfig
    folder: Path | None = None
    whole: bool = False
    moved: bool = False
    members: tuple[tuple[str, float], ...] = ()

    @property
    def memory(self) -> tuple[str, ...]:
        """What has to be loaded for it; subjects with the same can be in memory together."""
        if self.whole:
            return ("whole", str(self.folder))
        return ("base", self.config.model, self.config.quantization, self.config.precision)

    def to_dict(self) -> dict[str, Any]:
        """What it is, for the record."""
        kind = "base" if self.folder is None else "model" if self.whole else "adapter"
        found: dict[str, Any] = {
            "label": self.label,
            "kind": kind,
            "run": self.run.name,
            "folder": str(self.folder or ""),
            "base": self.config.model,
        }
        if self.members:
            return {**found, "kind": "ensemble", "folder": "", "members": dict(self.members)}
        return found


def find(
    names: Sequence[str], *, base: bool = True, model: str | None = None, runs_dir: Path | None = None
) -> list[Subject]:
    """The models that are meant by what a person writes.

    Args:
        names: First a run by name or folder, or one of its checkpoints (``RUN@50``); then further ones, or only the
            steps of checkpoints of the first run (``50``, ``step-000050``).
        base: Put the base models before them, each once.
        model: Where the base model is now, if it moved.
        runs_dir: The folder of the runs; `files.runs_dir()` by default.

    Raises:
        UsageError: no name is given, or a model is named twice.
        RunError: there is no such run or checkpoint, or it has no result yet.

    """
    if not names:
        raise UsageError("Which run is to be asked?", hint="`ftk runs` lists the runs.")
    found: list[Subject] = []
    for name in names:
        found.append(_subject(name, found[0].run if found else None, model, runs_dir))
    folders = [subject.folder for subject in found]
    if twice := [name for name, folder in zip(names, folders, strict=True) if folders.count(folder) > 1]:
        raise UsageError(f"The same model is named twice: {twice[-1]!r}.", hint="Name two different ones.")
    return _labelled([*(_bases(found) if base else ()), *found])


def base_of(subject: Subject) -> Subject:
    """The base model of a subject."""
    return replace(subject, label=BASE, folder=None, whole=False)


def with_ensemble(subjects: Sequence[Subject], weights: Sequence[float] = ()) -> list[Subject]:
    """The subjects, and behind them one in which all of their adapters answer together.

    Args:
        subjects: From `find`, with or without a base.
        weights: How much each adapter counts; equally much by default.

    Raises:
        UsageError: these are fewer than two adapters, not of one base, or the weights do not fit.

    """
    tuned = [subject for subject in subjects if subject.folder is not None]
    if len(tuned) < 2:
        raise UsageError("An ensemble takes two runs or checkpoints, or more.", hint="ftk compare A B --ensemble")
    if any(subject.whole for subject in tuned) or len({subject.memory for subject in tuned}) > 1:
        raise UsageError(
            "An ensemble takes adapters on one base model, stored in one way.",
            hint="`ftk runs show RUN` tells base and method of a run.",
        )
    labels = [subject.label for subject in tuned]
    members = tuple(zip(labels, shares(weights, len(tuned)), strict=True))
    label = ENSEMBLE if ENSEMBLE not in labels else f"{ENSEMBLE} of {', '.join(labels)}"
    return [*subjects, replace(tuned[0], label=label, members=members)]


def shares(weights: Sequence[float], members: int) -> list[float]:
    """How much each of the members counts: the weights as parts of their sum, equal ones where none are given.

    Raises:
        UsageError: they are too few or too many, or one is not above 0.

    """
    given = list(weights) or [1.0] * members
    if len(given) != members or not all(math.isfinite(weight) and weight > 0 for weight in given):
        listed = ", ".join(f"{weight:g}" for weight in given)
        raise UsageError(
            f"An ensemble of {members} takes {members} weights above 0, and these are {listed}.",
            hint="Such as --weights 0.7,0.3; a model that shall not count is not named.",
        )
    return [weight / sum(given) for weight in given]


def groups(subjects: Iterable[Subject]) -> list[list[Subject]]:
    """The subjects that can be in memory together, in order: adapters and their base; whole models each alone."""
    found: dict[tuple[str, ...], list[Subject]] = {}
    for subject in subjects:
        found.setdefault(subject.memory, []).append(subject)
    return list(found.values())


def steps(run: RunFolder) -> list[int]:
    """The steps of a run's checkpoints, in order."""
    if not run.checkpoints.is_dir():
        return []
    names = (re.fullmatch(r"step-(\d{6,})", path.name) for path in run.checkpoints.iterdir())
    return sorted(int(match[1]) for match in names if match)


def _subject(name: str, first: RunFolder | None, model: str | None, runs_dir: Path | None) -> Subject:
    run, step = _run_and_step(name, first, runs_dir)
    config = recipes.load(str(run.config_file)).config
    whole = config.method == "full"
    part = "model" if whole else "adapter"
    folder = run.path / part if step is None else run.checkpoints / f"step-{step:06d}" / part
    if not folder.is_dir():
        raise _missing(run, step)
    label = run.name if step is None else f"{run.name}@{step}"
    return Subject(label, run, config.merged({"model": model}) if model else config, folder, whole, bool(model))


def _run_and_step(name: str, first: RunFolder | None, runs_dir: Path | None) -> tuple[RunFolder, int | None]:
    run, mark, step = name.rpartition("@")
    if mark and (match := _STEP.fullmatch(step)):
        return RunFolder.open(run, runs_dir), int(match[1])
    if first and (match := _STEP.fullmatch(name)):
        try:
            return RunFolder.open(name, runs_dir), None
        except RunError:
            return first, int(match[1])
    return RunFolder.open(name, runs_dir), None


def _missing(run: RunFolder, step: int | None) -> RunError:
    known = steps(run)
    offer = f"It has checkpoints: {', '.join(f'{run.name}@{number}' for number in known)}." if known else ""
    if step is not None:
        return RunError(f"The run {run.name!r} has no checkpoint of step {step}.", hint=offer or None)
    return RunError(
        f"The run {run.name!r} has no result: it is {run.state()}.",
        hint=f"{offer} To finish it: ftk resume {run.name}".strip(),
    )


def _bases(tuned: Iterable[Subject]) -> list[Subject]:
    found: dict[str, Subject] = {}
    for subject in tuned:
        found.setdefault(subject.config.model, base_of(subject))
    return list(found.values())


def _labelled(subjects: Sequence[Subject]) -> list[Subject]:
    """The same with labels of which none occurs twice: bases by the name of their run, others by their folder."""
    labels = [subject.label for subject in subjects]
    made = []
    for number, subject in enumerate(subjects):
        label = subject.label
        if labels.count(label) > 1 and labels.index(label) != number:
            label = (
                f"{BASE} of {subject.run.name}" if subject.folder is None else f"{label} in {subject.run.path.parent}"
            )
        made.append(replace(subject, label=label))
    return made
