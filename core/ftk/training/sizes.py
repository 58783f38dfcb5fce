"""Which updates meet sizes of matrices for the first time: kernels are prepared for these, and that takes time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate

_MOST_ROWS = 20_000
"""Rows that are looked ahead at, in some hundredths of a second; there is hardly a new size after so many."""


class Sizes:
    """The parts of the sizes of updates that are new, from an update on.

    A process that goes on with a run meets all sizes anew.

    Args:
        sizes: The sizes of matrices that an update meets.
        rows: Rows of an update.
        first: The update to begin with, from 0.
        total: Updates of the run.

    """

    def __init__(self, sizes: Callable[[int], Sequence[Hashable]], rows: int, first: int, total: int) -> None:
        met: set[Hashable] = set()
        self._first, self._fresh = first, []
        for step in range(first, min(total, first + max(1, _MOST_ROWS // max(1, rows)))):
            found = sizes(step)
            self._fresh.append(sum(size not in met for size in dict.fromkeys(found)) / max(1, len(found)))
            met.update(found)
        self._left = [*reversed([*accumulate(reversed(self._fresh))]), 0.0]

    def fresh(self, step: int) -> float:
        """The part of the sizes of update `step` that are met for the first time; 0 far ahead."""
        place = step - self._first
        return self._fresh[place] if 0 <= place < len(self._fresh) else 0.0

    def left(self, step: int) -> float:
        """The sum of these parts over the updates from `step` on."""
        return self._left[min(max(step - self._first, 0), len(self._left) - 1)]
