"""The figures of a run: where it is, how it learns, how fast it is, and when it will be done."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..text import clock, remaining
from .painted import Painted, Row

if TYPE_CHECKING:
    from ftk.events import Evaluation, Finished, Step

_WIDTH = 26
"""Cells of a figure with its name: three stand beside each other on 80 columns."""
_NAME = 10


@dataclass(frozen=True)
class Readings:
    """What the figures are worked out from; None where nothing was told yet."""

    step: Step | None = None
    held_out: Evaluation | None = None
    best: Evaluation | None = None
    ending: Finished | None = None
    active: bool = False
    price: float | None = None
    currency: str = ""


Figure = tuple[str, str]
"""A name and a value."""


def figures(readings: Readings, now: float) -> list[Figure]:
    """Name and value of everything that is known.

    Args:
        readings: What the run told.
        now: Seconds since 1970.

    """
    step = readings.step
    if step is None:
        return []
    found = [
        ("step", f"{step.step:,} of {step.total_steps:,}"),
        ("epoch", f"{step.epoch:.2f}"),
        ("tokens", _short(step.tokens)),
        ("loss", f"{step.loss:.4f}"),
        ("rate", _power(step.learning_rate)),
        ("gradient", f"{step.grad_norm:.3f}"),
        ("tokens/s", f"{step.tokens_per_s:,.0f}"),
        ("training", clock(step.elapsed_s)),
    ]
    if readings.active:
        found.append(("left", remaining(step.eta_s, step.eta_low_s, step.eta_high_s)))
        found.append(("done at", _at(now + step.eta_s, now)))
    elif readings.ending:
        found.append(("in all", clock(readings.ending.seconds)))
    if held := readings.held_out:
        found.append(("held out", f"{held.loss:.4f} at {held.step:,}"))
    if (best := readings.best) and best is not readings.held_out:
        found.append(("best", f"{best.loss:.4f} at {best.step:,}"))
    if readings.price is not None:
        spent, whole = (readings.price * seconds / 3600 for seconds in (step.elapsed_s, step.elapsed_s + step.eta_s))
        found.append(("cost", f"{spent:.2f} of {whole:.2f} {readings.currency}".rstrip()))
    return found


def _power(number: float) -> str:
    """``1.16e-4``."""
    mantissa, _, power = f"{number:.2e}".partition("e")
    return f"{mantissa}e{int(power)}" if power else mantissa


def _short(number: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if number >= size:
            return f"{number / min(size, 1e3 if unit == ' k' else size):,.1f}{unit}"
    return f"{number:,.0f}"


def _at(moment: float, now: float) -> str:
    """A time of day, with the day of the week where it is another day."""
    then, today = time.localtime(moment), time.localtime(now)
    return time.strftime("%H:%M" if then[:3] == today[:3] else "%a %H:%M", then)


class Figures(Painted):
    """Shows figures in as many columns as there is room for."""

    DEFAULT_CSS = """
    Figures {
        height: 4;
        .figures--name { color: $text-muted; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"figures--name"}

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._readings = Readings()

    def show(self, readings: Readings) -> None:
        """Show what a run told."""
        self._readings = readings
        self.draw()

    def rows(self, width: int, height: int) -> list[Row]:
        """The figures side by side."""
        return arranged(figures(self._readings, time.time()), width, height)


def arranged(found: list[Figure], width: int, height: int) -> list[Row]:
    """Figures side by side, filled row by row; those that there is no room for are left out, the last ones first."""
    beside = max(1, min(width // _WIDTH, 4))
    each = width // beside
    rows: list[Row] = []
    for begin in range(0, len(found), beside):
        row: Row = []
        for name, value in found[begin : begin + beside]:
            row += [(f" {name.ljust(_NAME)}"[: _NAME + 1], "figures--name"), (_fit(value, each - _NAME - 1), "")]
        rows.append(row)
    return rows[:height]


def _fit(value: str, width: int) -> str:
    return value[: max(0, width - 1)].ljust(max(0, width))
