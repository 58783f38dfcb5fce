"""Where the marks of an axis stand, and what is written at them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

_LIMIT = 1e100
"""Nothing beyond is drawn: a run whose loss is so large is lost anyway, and sums of such numbers overflow."""
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def interval(span: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, 20, 50 … (or 0.5, 0.2, 0.1 …) that goes into `span` at most `most` times."""
    rough = max(span / max(1, most), 1e-300)
    power = math.floor(math.log10(rough))
    for exponent in (power, power + 1):
        for digit in (1, 2, 5):
            found = float(f"{digit}e{exponent}")
            if found * (1 + 1e-9) >= rough:
                return found
    return float(f"1e{power + 2}")


def fitted(low: float, high: float, rows: int) -> tuple[float, float, float]:
    """An axis of `rows` lines that holds two numbers and all between them, with marks at round numbers in even rows.

    Each line stands for the same difference, and a mark for two or three of them (up to five where there are many), so
    that marks stand at the lower edges of lines. Numbers that are all alike get some room above and below.

    Returns:
        The lower end, the upper end, and the difference between two marks.

    """
    low, high = min(max(low, -_LIMIT), _LIMIT), min(max(high, -_LIMIT), _LIMIT)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = 0.1 * max(abs(low), abs(high), 1e-90)
        low, high = low - room * (low != 0), high + room
    for row, step in _rows(high - low, rows):
        bottom = math.floor(low / row + 1e-6)
        if (left := bottom + rows - math.ceil(high / row - 1e-6)) >= 0:
            if low != 0:  # what is left of the lines goes to both ends
                bottom -= left // 2
            return bottom * row, (bottom + rows) * row, step
    raise AssertionError("a line may stand for any difference")


def _rows(span: float, rows: int) -> Iterator[tuple[float, float]]:
    """What a line may stand for, ascending, from about enough for `span`, each with the difference between marks."""
    between = (2, 3) if rows < 16 else (3, 4, 5)
    power = math.floor(math.log10(span / rows)) - 1
    found = [
        (step / lines, step)
        for exponent in range(power, power + 6)
        for step in (float(f"{digit}e{exponent}") for digit in (1, 2, 5))
        for lines in between
    ]
    return iter(sorted(pair for pair in found if pair[0] * rows >= span * (1 - 1e-6)))


def decades(low: float, high: float) -> tuple[float, float]:
    """The ends of a logarithmic axis for two numbers above zero and all between them."""
    low, high = max(low, 1 / _LIMIT), min(max(high, 1 / _LIMIT), _LIMIT)
    room = 0.05 * max(math.log10(high / low), 0.2)
    return low / 10**room, high * 10**room


def linear(low: float, high: float, most: int) -> list[float]:
    """Places of marks from `low` to `high`, ascending, at most `most` + 1 of them, at round numbers."""
    if not high > low:
        return [low]
    step = interval(high - low, most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [min(max(number * step, low), high) for number in range(first, last + 1)]


def logarithmic(low: float, high: float, most: int) -> list[float]:
    """The same on a logarithmic axis: powers of ten, with 2 and 5 between them where there is room for all."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 2, 5), (1,)):
        marks = [float(f"{digit}e{power}") for power in range(first, last + 1) for digit in digits]
        marks = [mark for mark in marks if low <= mark <= high]
        if len(marks) < 2:
            return linear(low, high, most)
        if len(marks) <= most + 1:
            return marks
    each = -(-len(marks) // (most + 1))
    return marks[::each]


def labels(marks: list[float], *, log: bool = False) -> list[str]:
    """What is written at marks.

    Args:
        marks: Their places, ascending.
        log: Whether they stand on a logarithmic axis: then each has the digits that it needs itself; otherwise all have
            as many as it takes to tell them apart.

    """
    gaps = [after - before for before, after in pairwise(marks)]
    if log:
        own = [10 ** math.floor(math.log10(mark) + 1e-9) for mark in marks]
        nearest = [*gaps, gaps[-1] if gaps else math.inf]
        wanted = [gap if gap <= size / 2 else size for size, gap in zip(own, nearest, strict=True)]
        return [number(mark, gap=gap, most=mark) for mark, gap in zip(marks, wanted, strict=True)]
    most = max((abs(mark) for mark in marks), default=0.0)
    return [number(mark, gap=min(gaps, default=most or 1.0), most=most) for mark in marks]


def number(value: float, *, gap: float, most: float) -> str:
    """A number as short as can be: ``1.25``, ``20k``, ``1.5e-4``.

    Args:
        value: The number.
        gap: The difference to another one that must still be seen.
        most: The greatest number that it stands beside: all of them get the same unit.

    """
    if abs(value) < 1 / _LIMIT:
        return "0"
    most = max(most, abs(value))
    gap = max(gap, most * 1e-12)
    if most >= 1e15 or most < 1e-3:
        power = math.floor(math.log10(most) + 1e-9)
        return f"{value / 10**power:.{_digits(min(gap, most) / 10**power)}f}e{power}"
    fitting = ((size, name) for size, name in _PREFIXES if most >= 10 * size or most >= size <= gap)
    factor, prefix = next(fitting, (1.0, ""))
    return f"{value / factor:.{_digits(gap / factor)}f}{prefix}"


def _digits(gap: float) -> int:
    """Digits behind the point that show a difference of `gap`."""
    return min(max(0, math.ceil(-math.log10(gap) - 1e-9)), 9)
