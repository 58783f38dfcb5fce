"""The only place where a thread of the engine meets the app.

The engine's thread puts events down and goes on; it never waits for a screen, and never calls one. The app comes and
takes them a few times a second. A terminal that stalls, or a screen that is gone, therefore costs the run nothing.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from threading import Lock

from ftk.events import Event, Leaving, Listener, Phase, Step

_MOST = 200_000
"""Events that are kept for an app that does not come for them; the journal has them all."""


class Bridge:
    """A listener of a run; keeps events until the app takes them."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=_MOST)
        self._lock = Lock()
        self._heir: Listener | None = None

    def __call__(self, event: Event) -> None:
        """Put an event down; called in the thread that trains."""
        with self._lock:
            if self._heir:
                self._heir(event)
                return
            last = self._events[-1] if self._events else None
            if isinstance(event, Phase) and isinstance(last, Phase) and event.name == last.name:
                self._events[-1] = event  # of a phase's progress only the last is of interest
            else:
                self._events.append(event)

    def begin_with(self, events: Sequence[Event]) -> None:
        """Put down what was told before there was a listener."""
        with self._lock:
            self._events.extend(events)

    def take(self, most: int | None = None) -> list[Event]:
        """What was put down since the last call, in order.

        Args:
            most: Leave what is beyond so many for the next call; everything is taken by default.

        """
        with self._lock:
            if most is None or len(self._events) <= most:
                taken = list(self._events)
                self._events.clear()
            else:
                taken = [self._events.popleft() for _ in range(most)]
        return taken

    @property
    def waiting(self) -> int:
        """How many events wait to be taken."""
        return len(self._events)

    def hand_over(self, heir: Listener) -> None:
        """Keep nothing more: what waits, and all that comes, goes to another listener, in order."""
        with self._lock:
            with contextlib.suppress(Leaving):  # it says so again, and is heard then, at the next event
                for event in self._events:
                    heir(event)
            self._events.clear()
            self._heir = heir


def latest_step(events: Sequence[Event]) -> Step | None:
    """The last step among some events."""
    return next((event for event in reversed(events) if isinstance(event, Step)), None)
