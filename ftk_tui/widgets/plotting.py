"""A curve of a run drawn in cells: points, line, held-out points, and the axes with their marks. Knows no widget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import ticks
from .braille import Canvas
from .decimate import Columns
from .painted import Row

RAW, LINE, BEYOND, POINT = 1, 2, 3, 4
"""The layers, the lowest first."""
STYLES = {0: "", RAW: "chart--raw", LINE: "chart--line", BEYOND: "chart--raw", POINT: "chart--point"}
HELD_OUT = "◆"
AXIS = "chart--axis"
_ROUNDING = 1e-5
"""Part of an axis that a number may lie beyond its end and is still at it."""
OUTSIDE = ("▴", "▾")
_OUTLYING = 0.02
"""Part of the columns, at either end, that a robust scale may leave out of sight."""
_MANY = 16
"""Columns from which a few can be far out of the others."""
_OUTSTANDING = 2.5
"""It does so only where everything would take so many times as much room."""
GUTTER = 7
"""Cells for the upright axis with its labels, at least: the curve does not jump when they change."""


@dataclass(frozen=True)
class Course:
    """What is to be drawn: a column of dots each, the held-out points (step, value), and the steps that are seen."""

    columns: Columns
    held_out: Sequence[tuple[float, float]]
    window: tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """The upright axis: its ends, and the difference between two marks; 0 on a logarithmic axis."""

    low: float
    high: float
    step: float

    def rows(self, dots: int) -> Callable[[float], int]:
        """Says the row of dots of a value, from the top; -1 or `dots` where it lies above or below them.

        What stands at the lower edge of a line of four dots has the lowest dot of that line.
        """
        low, high, step = self.low, self.high, self.step
        room = _ROUNDING * (high - low)
        each = dots / ((high - low) if step else math.log(high / low))

        def row(value: float) -> int:
            if low <= value <= high:
                down = (high - value if step else math.log(high / value)) * each
                return max(math.ceil(down - _ROUNDING) - 1, 0)
            if value > high:
                return 0 if value <= high + room else -1
            return dots - 1 if value >= low - room else dots

        return row

    def labels(self, rows: int) -> dict[int, str]:
        """What is written at the marks, by line."""
        if self.step:
            first, last = math.ceil(self.low / self.step - 1e-6), math.floor(self.high / self.step + 1e-6)
            marks = [number * self.step for number in range(first, last + 1)]
        else:
            marks = ticks.logarithmic(self.low, self.high, max(1, rows // 2))
        names, row = ticks.labels(marks, log=not self.step), self.rows(4 * rows)
        lines = {row(mark) // 4: name for mark, name in zip(marks, names, strict=True)}
        if self.step and marks[-1] >= self.high - _ROUNDING * (self.high - self.low):
            del lines[0]  # a mark at the very top has no line above that it could be the lower edge of
        return lines


def scale(course: Course, rows: int, *, log: bool, robust: bool, zero: bool) -> Scale | None:
    """The axis on which a course is best seen; None where there is nothing to see.

    Args:
        course: What is to be drawn.
        rows: Lines that there are for it.
        log: Whether it shall be logarithmic; numbers that are not above zero are left out.
        robust: Whether single points may lie outside.
        zero: Whether zero is on the axis, if that is not logarithmic.

    """
    columns = course.columns
    lows, highs, means = (_seen(values, log) for values in (columns.low, columns.high, columns.mean))
    held_out = _seen([value for _, value in course.held_out], log)
    found = [*lows, *highs, *means, *held_out]
    if not found:
        return None
    low, high = min(found), max(found)
    if robust and not log and lows:
        low, high = _usual(sorted(lows), sorted(highs), held_out, low, high)
    if log:
        return Scale(*ticks.decades(low, high), 0.0)
    return Scale(*ticks.fitted(min(low, 0.0) if zero else low, max(high, 0.0) if zero else high, rows))


def _seen(values: Sequence[float], log: bool) -> list[float]:
    return [value for value in values if value == value and (value > 0 or not log)]


def _usual(
    lows: list[float], highs: list[float], held_out: list[float], low: float, high: float
) -> tuple[float, float]:
    """The ends without what is far out at either of them."""
    skip = int(_OUTLYING * len(lows)) + 1 if len(lows) >= _MANY else 0
    floor, ceiling = min([lows[skip], *held_out]), max([highs[-1 - skip], *held_out])
    span = max(ceiling - floor, 1e-12)
    far = (_OUTSTANDING - 1) * span
    return floor if floor - low > far else low, ceiling if high - ceiling > far else high


def gutter_for(axis: Scale, rows: int) -> int:
    """Cells that the upright axis takes with its labels."""
    return max(GUTTER, max(map(len, axis.labels(rows).values()), default=0) + 1)


def draw(course: Course, axis: Scale, width: int, height: int, gutter: int) -> list[Row]:
    """The curve with both axes, in `height` lines of `width` cells; the last line holds the steps."""
    rows = height - 1
    names = axis.labels(rows)
    canvas = Canvas(width - gutter, rows)
    _points(canvas, course.columns, axis)
    _line(canvas, course.columns.mean, axis)
    _held_out(canvas, course, axis)
    lines: list[Row] = []
    for y, parts in enumerate(canvas.lines()):
        edge = names.get(y, "").rjust(gutter - 1) + ("┤" if y in names else "│")
        lines.append([(edge, AXIS), *((text, STYLES[layer]) for text, layer in parts)])
    return [*lines, steps_axis(course.window, width, gutter)]


def _points(canvas: Canvas, columns: Columns, axis: Scale) -> None:
    """The lowest and the highest point of every column, and a mark at the edge where they lie outside.

    Points that touch the line are part of it.
    """
    height = 4 * canvas.height
    row_of = axis.rows(height)
    for column, (low, high, mean) in enumerate(zip(columns.low, columns.high, columns.mean, strict=True)):
        if low != low:
            continue
        middle = row_of(mean) if mean == mean else -9
        for value in (low, high) if low != high else (low,):
            row = row_of(value)
            if 0 <= row < height:
                if abs(row - middle) > 1:
                    canvas.dot(column, row, RAW)
            elif value > 0 or axis.step:
                canvas.mark(column, 0 if row < 0 else height - 1, OUTSIDE[row > 0], BEYOND)


def _line(canvas: Canvas, means: Sequence[float], axis: Scale) -> None:
    """The means of the columns, each joined to the one before; a gap stays a gap only where a column is missing."""
    row_of, before, last = axis.rows(4 * canvas.height), None, 0
    for column, mean in enumerate(means):
        if mean != mean:
            continue
        row = row_of(mean)
        if before is None or column == last + 1:
            _join(canvas, column, row if before is None else before, row)
        else:  # fewer steps than columns: straight from one to the next
            for between in range(last + 1, column + 1):
                one = before + (row - before) * (between - 1 - last) / (column - last)
                other = before + (row - before) * (between - last) / (column - last)
                _join(canvas, between, round(one), round(other))
        before, last = row, column


def _join(canvas: Canvas, column: int, before: int, row: int) -> None:
    """Dots of a column from beside the one before to its own row."""
    if row > before + 1:
        canvas.run(column, before + 1, row, LINE)
    elif row < before - 1:
        canvas.run(column, row, before - 1, LINE)
    else:
        canvas.run(column, row, row, LINE)


def _held_out(canvas: Canvas, course: Course, axis: Scale) -> None:
    left, right = course.window
    row_of = axis.rows(4 * canvas.height)
    for step, value in course.held_out:
        if left <= step <= right and value == value:
            column = min(int((step - left) / (right - left) * 2 * canvas.width), 2 * canvas.width - 1)
            canvas.mark(column, row_of(value), HELD_OUT, POINT)


def steps_axis(window: tuple[float, float], width: int, gutter: int) -> Row:
    """The line below a chart: the numbers of some steps, where they stand."""
    left, right = window
    room = width - gutter
    marks = [mark for mark in ticks.linear(left, right, max(1, room // 12)) if mark == int(mark)]
    line = [" "] * width
    end = 0
    for mark, name in zip(marks, ticks.labels(marks), strict=True):
        middle = gutter + int((mark - left) / (right - left) * (room - 1))
        begin = min(max(middle - len(name) // 2, end), width - len(name))
        if begin >= end:
            line[begin : begin + len(name)] = name
            end = begin + len(name) + 1
    return [("".join(line), AXIS)]
