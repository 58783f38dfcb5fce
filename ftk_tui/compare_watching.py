"""Hears two models while they answer; a module of its own because what it hears from is imported with torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftk.evaluation.compare import Watcher

if TYPE_CHECKING:
    from .comparing import Work


class Writing(Watcher):
    """Tells a work of the Compare screen what is loaded and written.

    Args:
        work: The work; it may be stopped meanwhile.

    """

    side_by_side = True

    def __init__(self, work: Work) -> None:
        self._work = work

    def phase(self, phase: str, detail: str, done: float | None, total: float | None) -> None:
        """Something is loaded; raises where nobody wants it any more."""
        self._work.phase(phase, detail, done, total)

    def remark(self, text: str) -> None:
        """Something a person should know."""
        self._work.remarks.append(text)

    def text(self, label: str, number: int, text: str) -> None:
        """An answer goes on."""
        self._work.grow(label, text)
