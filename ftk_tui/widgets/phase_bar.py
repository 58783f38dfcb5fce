"""What the engine is busy with, in one line: a word, a bar where it can be counted, and how far it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..event_words import PHASES
from ..text import counted, shown
from .painted import Painted, Row

if TYPE_CHECKING:
    from ftk.events import Phase, Step

NAMES = PHASES | {"read": "Reading the data", "plan": "Planning", "look": "Looking at the run"}
"""The phases of a run, and what comes before it."""
DONE, LEFT = "━", "─"
_BAR = 30
_NAME = 23


@dataclass(frozen=True)
class Progress:
    """What is going on: `done` of `total`, both None where it cannot be counted, and the same in words."""

    name: str
    detail: str = ""
    done: float | None = None
    total: float | None = None

    @property
    def part(self) -> float | None:
        """How far it is, from 0 to 1."""
        if not self.total or self.done is None or not math.isfinite(self.done / self.total):
            return None
        return min(max(self.done / self.total, 0.0), 1.0)


def progress_of(phase: Phase | None, step: Step | None) -> Progress:
    """What the last events of a run say of what it is busy with."""
    if phase is None:
        return Progress("Starting")
    name = NAMES.get(phase.name, phase.name)
    if phase.name == "train" and step is not None:
        return Progress(name, f"step {step.step:,} of {step.total_steps:,}", step.step, step.total_steps)
    return Progress(name, "  ".join(filter(None, (_amount(phase), phase.detail))), phase.done, phase.total)


def _amount(phase: Phase) -> str:
    """How much of how much, in its unit."""
    if phase.total is None:
        return ""
    if phase.unit == "bytes":
        total = f"{phase.total / 1e6:,.0f} MB"
        return total if phase.done is None else f"{phase.done / 1e6:,.0f} of {total}"
    total = counted(int(phase.total), phase.unit.removesuffix("s")) if phase.unit else f"{phase.total:,.0f}"
    return total if phase.done is None else f"{phase.done:,.0f} of {total}"


class PhaseBar(Painted):
    """Shows a progress; the bar stands still where nothing can be counted, and is never animated."""

    DEFAULT_CSS = """
    PhaseBar {
        height: 1;
        .phase--name { text-style: bold; }
        .phase--done { color: $text-primary; }
        .phase--left { color: $text-muted; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"phase--name", "phase--done", "phase--left"}

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._progress: Progress | None = None

    def show(self, progress: Progress | None) -> None:
        """Show what is going on; None for nothing."""
        self._progress = progress
        self.draw()

    def rows(self, width: int, height: int) -> list[Row]:
        """The one line."""
        return [line(self._progress, width)] if self._progress else []


def line(progress: Progress, width: int) -> Row:
    """A progress in one line of a width."""
    name, detail = shown(progress.name).replace("\n", " "), shown(progress.detail).replace("\n", " ")
    row: Row = [(f" {name.ljust(_NAME)} ", "phase--name")]
    if (part := progress.part) is not None:
        room = min(_BAR, width - _NAME - 30)
        if room >= 5:
            done = max(int(part * room), int(part > 0))
            row += [(DONE * done, "phase--done"), (LEFT * (room - done), "phase--left"), (" ", "")]
        row.append((f"{100 * part:3.0f} % ", ""))
    return [*row, (f" {detail}", "phase--left")]
