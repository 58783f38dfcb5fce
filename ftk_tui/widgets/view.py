"""Which part of a run a chart shows: all of it, or a window that is moved, or that follows the newest step."""

from __future__ import annotations

import math
from dataclasses import dataclass

_LEAST = 8.0
"""Steps that are always shown: with fewer there is no course to see."""


@dataclass
class View:
    """A window on the steps of a run.

    `span` is its width in steps, None for the whole run; `right` its right edge, None if it follows the newest step.
    """

    span: float | None = None
    right: float | None = None

    @property
    def whole(self) -> bool:
        """Whether the whole run is shown."""
        return self.span is None

    @property
    def following(self) -> bool:
        """Whether the newest step is always in sight."""
        return self.right is None

    def window(self, last: float, total: float) -> tuple[float, float]:
        """The first and the last step that are shown.

        Args:
            last: The newest step.
            total: The steps of the whole run, as far as that is known.

        """
        if self.span is None:
            return 0.0, _whole(last, total)
        if self.right is not None:
            return self.right - self.span, self.right
        part = self.span / 8  # the columns stand still until an eighth of them is new
        right = min(math.ceil(last / part) * part, max(last, total))
        right = max(right, self.span)
        return right - self.span, right

    def zoom(self, factor: float, last: float, total: float, *, at: float | None = None) -> None:
        """Show so many times as many steps; the whole run once that is more than there is.

        Args:
            factor: Below 1 to come nearer.
            last: The newest step.
            total: The steps of the whole run.
            at: Where in the window (0 to 1) a step keeps its place; by default the newest step while it is followed,
                and else the middle.

        """
        left, right = self.window(last, total)
        span = max((right - left) * factor, _LEAST)
        if span >= _whole(last, total):
            self.show_all()
            return
        if at is not None or self.right is not None:
            at = 0.5 if at is None else at
            self._put(left + at * (right - left) + (1 - at) * span, span, last)
        self.span = span

    def pan(self, parts: float, last: float, total: float) -> None:
        """Move the window by so many of its widths, to the right if positive; at the newest step it follows again."""
        if self.span is None:
            return
        _, right = self.window(last, total)
        self._put(right + parts * self.span, self.span, last)

    def _put(self, right: float, span: float, last: float) -> None:
        self.right = max(right, span)
        if self.right >= last:
            self.right = None

    def show_all(self) -> None:
        """Show the whole run."""
        self.span = self.right = None

    def may_pan(self, parts: float, last: float, total: float) -> bool:
        """Whether there is anything to see in that direction."""
        if self.span is None:
            return False
        return self.right is not None if parts > 0 else self.window(last, total)[0] > 0


def _whole(last: float, total: float) -> float:
    """The right edge for the whole run: half of it while that is enough, and half of that, and so on.

    So the curve is never a sliver, and yet its columns rarely move.
    """
    right = max(total, last, _LEAST)
    while right / 2 >= max(last, _LEAST):
        right /= 2
    return right
