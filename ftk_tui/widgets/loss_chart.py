"""The course of a run as a chart that is zoomed and moved: loss, learning rate, gradient norm, speed, memory."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.message import Message

from ..series import Series
from . import plotting, ticks
from .curves import CURVES, Curve
from .decimate import Decimated
from .painted import Painted, Row
from .plotting import AXIS, HELD_OUT, Course
from .view import View

_EMPTY = Series()
_PAN = 0.25
_LEAST_HEIGHT = 4
"""Lines below which there is no room for a chart: only its name and numbers are shown then."""


class LossChart(Painted, can_focus=True):
    """Shows every point of a run, however long: a column holds the lowest, the highest and the mean of its steps.

    A redraw of 100 000 points takes some milliseconds; of one with only new points, less. See `benchmarks/charts.py`.

    Args:
        curves: What can be shown; the first one is.
        id: The widget's id.
        classes: The widget's classes.

    """

    DEFAULT_CSS = """
    LossChart {
        height: 1fr;
        min-height: 3;
        .chart--raw { color: $text-muted; }
        .chart--axis { color: $text-muted; }
        .chart--line { color: $text-primary; text-style: bold; }
        .chart--point { color: $text-warning; text-style: bold; }
        .chart--name { color: $foreground; text-style: bold; }
    }
    LossChart:focus .chart--name { text-style: bold reverse; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "chart--raw", "chart--axis", "chart--line", "chart--point", "chart--name",
    }  # fmt: skip

    class Changed(Message):
        """Another part or curve is shown: other keys may work now."""

    def __init__(self, curves: Sequence[Curve] = CURVES, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.curves = tuple(curves)
        self.curve = self.curves[0]
        self.view = View()
        self.log_scale = False
        self._series, self._total = _EMPTY, 0
        self._kept: dict[str, Decimated] = {}
        self._drawn: tuple[object, ...] = ()
        self._gutter = plotting.GUTTER

    # What is shown

    def show(self, series: Series, total: int) -> None:
        """Show the numbers of a run, as far as it is.

        Args:
            series: The numbers; looked at again only if its version is another than the last time.
            total: The steps of the whole run.

        """
        if series is not self._series:
            self._kept.clear()
        self._series, self._total = series, total
        self.draw()

    def draw(self) -> None:
        """Draw what changed since the last time; nothing is looked at where nothing did."""
        size = self.content_size
        state = (
            id(self._series), self._series.version, self._total, size, self.curve.name, self.log_scale,
            self.view.span, self.view.right,
        )  # fmt: skip
        if state != self._drawn and size and self.is_on_screen:
            self._drawn = state
            super().draw()

    def rows(self, width: int, height: int) -> list[Row]:
        """The chart in cells: its name and numbers, the curve, the steps."""
        if height < _LEAST_HEIGHT:
            return [self._title(width)]
        lines = height - 2
        while True:
            course = self._course(2 * max(1, width - self._gutter))
            axis = plotting.scale(course, lines, log=self.log_scale, robust=self.curve.robust, zero=self.curve.zero)
            if axis is None:
                return [self._title(width), [], [(" " * self._gutter + "The curve begins with the first step.", AXIS)]]
            if self._gutter >= (needed := plotting.gutter_for(axis, lines)):
                break
            self._gutter = needed  # and so fewer columns
        return [self._title(width), *plotting.draw(course, axis, width, height - 1, self._gutter)]

    def _course(self, count: int) -> Course:
        """What is to be drawn in so many columns of dots, in the unit of the curve."""
        curve, series, window = self.curve, self._series, self.window
        arrays = series.steps, curve.values(series), curve.line(series)
        kept = self._kept.get(curve.name)
        if kept is None or not kept.of(*arrays):
            kept = self._kept[curve.name] = Decimated(*arrays)
        columns = kept.columns(*window, count, generation=series.rewound)
        if curve.scale != 1.0:
            columns = columns.times(curve.scale)
        return Course(columns, self._held_out() if curve.held_out else [], window)

    def _held_out(self) -> list[tuple[float, float]]:
        left, right = self.window
        steps, losses = self._series.held_out_steps, self._series.held_out_losses
        begin, end = bisect_left(steps, left), bisect_left(steps, math.nextafter(right, math.inf))
        return list(zip(steps[begin:end], losses[begin:end], strict=False))

    @property
    def window(self) -> tuple[float, float]:
        """The first and the last step that are shown."""
        return self.view.window(self._newest, self._total)

    @property
    def _newest(self) -> float:
        return self._series.steps[-1] if self._series.steps else 0.0

    # Its first line

    def _title(self, width: int) -> Row:
        """Name and newest numbers, with the marks that they are drawn by, as far as there is room for them."""
        parts: Row = [(f" {self.curve.name}{', log' if self.log_scale else ''} ", "chart--name")]
        left, right = self.window
        aside = "" if self.view.whole else f" steps {left:.0f} to {right:.0f} "
        room = width - len(parts[0][0])
        for mark, name, text in self._legend():
            if (room := room - len(mark) - len(text)) < 0:
                break
            parts += [(mark, name), (text, "")]
        if room > len(aside):
            parts += [(" " * (room - len(aside)), ""), (aside, AXIS)]
        return parts

    def _legend(self) -> list[tuple[str, str, str]]:
        """Mark, style of the mark, and newest number of what is drawn, the most wanted first."""
        curve, series = self.curve, self._series
        values, line = curve.values(series), curve.line(series)
        if not values:
            return []
        unit = f" {curve.unit}" if curve.unit else ""
        if line is values:
            return [(" ⠒⠒", "chart--line", f" {self._number(values[-1])}{unit} ")]
        found = [(" ⠒⠒", "chart--line", f" smoothed {self._number(line[-1])} ")]
        if curve.held_out and series.held_out_losses:
            number = self._number(series.held_out_losses[-1])
            found.append((f" {HELD_OUT}", "chart--point", f" held out {number} "))
        return [*found, (" ⠂⠂", "chart--raw", f" raw {self._number(values[-1])} ")]

    def _number(self, value: float) -> str:
        value *= self.curve.scale
        if not math.isfinite(value):
            return str(value)
        return ticks.number(value, gap=max(abs(value), 1e-9) / 1000, most=abs(value))

    # What can be done with it

    def may(self, what: str) -> bool:
        """Whether something can be done now: ``zoom_in``, ``zoom_out``, ``left``, ``right``, ``whole``, …"""
        if what in ("left", "right"):
            return self.view.may_pan(-1 if what == "left" else 1, self._newest, self._total)
        if what in ("zoom_out", "whole"):
            return not self.view.whole
        return what != "next_curve" or len(self.curves) > 1

    def zoom_in(self) -> None:
        """Show half as many steps."""
        self._zoom(0.5)

    def zoom_out(self) -> None:
        """Show twice as many steps."""
        self._zoom(2.0)

    def left(self) -> None:
        """Show what comes a quarter of the window before."""
        self._pan(-_PAN)

    def right(self) -> None:
        """Show what comes a quarter of the window later."""
        self._pan(_PAN)

    def whole(self) -> None:
        """Show the whole run."""
        self.view.show_all()
        self._changed()

    def log_or_linear(self) -> None:
        """Change between the linear and the logarithmic scale."""
        self.log_scale = not self.log_scale
        self._changed()

    def next_curve(self) -> None:
        """Show the next curve."""
        self.curve = self.curves[(self.curves.index(self.curve) + 1) % len(self.curves)]
        self._gutter = plotting.GUTTER
        self._changed()

    def _pan(self, part: float) -> None:
        self.view.pan(part, self._newest, self._total)
        self._changed()

    def _zoom(self, factor: float, at: float | None = None) -> None:
        self.view.zoom(factor, self._newest, self._total, at=at)
        self._changed()

    def _changed(self) -> None:
        self.draw()
        self.post_message(self.Changed())

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Come nearer to where the pointer is."""
        self._scrolled(event, 0.5)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Go away from where the pointer is."""
        self._scrolled(event, 2.0)

    def _scrolled(self, event: events.MouseEvent, factor: float) -> None:
        event.stop()
        room = self.content_size.width - self._gutter
        self._zoom(factor, at=min(max((event.x - self._gutter) / max(1, room), 0.0), 1.0))
