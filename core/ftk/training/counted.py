"""Tell how far the answers after a run are, a few times a second."""

from __future__ import annotations

import time
from collections.abc import Callable

_EVERY_S = 0.5


class Counted:
    """Called before every token that is looked for; tells how many there were, and asks whether to stop.

    Args:
        total: Tokens that there will be at most.
        tell: Takes how many there were.
        stop: Whether to stop.

    """

    def __init__(self, total: int, tell: Callable[[int], object], stop: Callable[[], bool]) -> None:
        self._total, self._tell, self._stop = total, tell, stop
        self._done = 0
        self._told_at = time.monotonic()

    def __call__(self) -> bool:
        """Count a token; returns whether to stop."""
        if self._done < self._total:
            self._done += 1
        now = time.monotonic()
        if now - self._told_at >= _EVERY_S:
            self._told_at = now
            self._tell(self._done)
        return self._stop()
