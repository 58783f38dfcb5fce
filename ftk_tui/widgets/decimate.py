"""The course of very many numbers in as many columns as a chart has: lowest, highest and mean of each."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

_BLOCK = 64
"""Numbers of which lowest, highest and sum are kept: a column of 1 000 numbers then asks for 15 of each, and 2 ends."""


@dataclass
class Columns:
    """What each column of a chart holds: extremes of the points and mean of the line; NaN where it holds nothing."""

    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)

    def times(self, factor: float) -> Columns:
        """The same in another unit."""
        low, high, mean = ([value * factor for value in values] for values in (self.low, self.high, self.mean))
        return Columns(low, high, mean)


class Decimated:
    """A growing course of numbers, seen through columns without a look at each number.

    Columns that were asked for before are kept: where only numbers were added at the end, only the columns at the end
    are worked out again. What is not finite is left out.

    Args:
        places: Where the numbers stand, ascending.
        points: The numbers whose extremes are wanted; all three arrays are read as they grow.
        line: The numbers whose means are wanted; may be those.

    """

    def __init__(self, places: array[float], points: array[float], line: array[float]) -> None:
        self._places, self._points, self._line = places, Extremes(points), Means(line)
        self._generation = 0
        self._asked: tuple[float, float, int] | None = None
        self._columns = Columns()
        self._seen = 0

    def of(self, places: array[float], points: array[float], line: array[float]) -> bool:
        """Whether it was made of these very arrays."""
        return self._places is places and self._points.values is points and self._line.values is line

    def columns(self, left: float, right: float, count: int, *, generation: int = 0) -> Columns:
        """What `count` columns of equal width between two places hold; the last one includes the right edge.

        Args:
            left: The left edge of the first column.
            right: The right edge of the last one, greater than `left`.
            count: How many columns.
            generation: Another number than the last time says that numbers were taken away from the end.

        """
        size = len(self._places)
        if generation != self._generation or size < self._seen:
            self._generation, self._asked = generation, None
            self._points.forget()
            self._line.forget()
        first = 0
        if self._asked == (left, right, count):
            if self._seen == size:
                return self._columns
            first = int((self._places[self._seen] - left) / (right - left) * count) - 1  # rounding may take one
            first = min(max(first, 0), count - 1)
        self._asked, self._seen = (left, right, count), size
        self._points.update(size)
        self._line.update(size)
        self._fill(first, left, right, count, size)
        return self._columns

    def _fill(self, first: int, left: float, right: float, count: int, size: int) -> None:
        found, width = self._columns, (right - left) / count
        del found.low[first:], found.high[first:], found.mean[first:]
        begin = bisect_left(self._places, left + first * width, 0, size)
        for column in range(first, count):
            edge = left + (column + 1) * width if column + 1 < count else math.nextafter(right, math.inf)
            end = max(begin, bisect_left(self._places, edge, begin, size))
            low, high = self._points.between(begin, end)
            found.low.append(low)
            found.high.append(high)
            found.mean.append(self._line.between(begin, end))
            begin = end


class _Blocks:
    """Numbers of which something is kept for each block of `_BLOCK`."""

    def __init__(self, values: array[float]) -> None:
        self.values = values
        self.forget()

    def forget(self) -> None:
        """Look at all numbers again."""
        self._blocks = 0
        self._bad: set[int] = set()  # blocks that hold something that is not finite

    def update(self, size: int) -> None:
        """Look at the numbers that are new, up to number `size`."""
        for block in range(self._blocks, size // _BLOCK):
            part: Sequence[float] = self.values[block * _BLOCK : (block + 1) * _BLOCK]
            if not math.isfinite(sum(part)):
                self._bad.add(block)
                part = [value for value in part if math.isfinite(value)]
            self._keep(part)
        self._blocks = size // _BLOCK

    def _keep(self, part: Sequence[float]) -> None:
        raise NotImplementedError

    def _part(self, begin: int, end: int) -> Sequence[float]:
        """The finite numbers from `begin` to `end`, which are of one block, or of two beside each other."""
        part = self.values[begin:end]
        if end <= self._blocks * _BLOCK and not (
            self._bad and self._bad.intersection((begin // _BLOCK, (end - 1) // _BLOCK))
        ):
            return part
        return [value for value in part if math.isfinite(value)]


class Extremes(_Blocks):
    """The lowest and the highest of any run of numbers."""

    def forget(self) -> None:
        super().forget()
        self._lows, self._highs = array("d"), array("d")

    def _keep(self, part: Sequence[float]) -> None:
        self._lows.append(min(part, default=math.inf))
        self._highs.append(max(part, default=-math.inf))

    def between(self, begin: int, end: int) -> tuple[float, float]:
        """The lowest and the highest from number `begin` to `end`; NaN where there are none."""
        if begin == end:
            return math.nan, math.nan
        first, last = -(-begin // _BLOCK), min(end // _BLOCK, self._blocks)
        if first >= last:
            part = self._part(begin, end)
            return (min(part), max(part)) if part else (math.nan, math.nan)
        lows, highs = self._lows[first:last], self._highs[first:last]
        for part in (self._part(begin, first * _BLOCK), self._part(last * _BLOCK, end)):
            lows.extend(part)
            highs.extend(part)
        low, high = min(lows), max(highs)
        return (low, high) if low <= high else (math.nan, math.nan)


class Means(_Blocks):
    """The mean of any run of numbers."""

    def forget(self) -> None:
        super().forget()
        self._sums, self._sizes = array("d"), array("b")

    def _keep(self, part: Sequence[float]) -> None:
        self._sums.append(sum(part))
        self._sizes.append(len(part))

    def between(self, begin: int, end: int) -> float:
        """The mean from number `begin` to `end`; NaN where there are none."""
        first, last = -(-begin // _BLOCK), min(end // _BLOCK, self._blocks)
        if first >= last:
            part = self._part(begin, end)
            return sum(part) / len(part) if part else math.nan
        head, tail = self._part(begin, first * _BLOCK), self._part(last * _BLOCK, end)
        number = len(head) + len(tail) + sum(self._sizes[first:last])
        return (sum(head) + sum(self._sums[first:last]) + sum(tail)) / number if number else math.nan
