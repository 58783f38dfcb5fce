"""Tell what happens to the journal of a run and to whoever listens; a fault of neither ends hours of training."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from .. import runs
from ..events import Event, Leaving, Listener, Warned

_UNWRITTEN = 100_000
"""Events that are kept in memory while the journal cannot be written."""


class Teller:
    """Takes the events of a run.

    Args:
        listeners: Called with every event. An error in one of them is told as a warning, and it hears nothing more.

    """

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self._listeners = list(listeners)
        self._unwritten: deque[Event] = deque(maxlen=_UNWRITTEN)
        self.journal: runs.Journal | None = None
        """Where the events are kept; nowhere by default."""

    def __call__(self, event: Event) -> None:
        """Tell an event."""
        journal = self.journal  # another thread may take it away: one that notices that the run is another host's now
        if journal:
            self._write(journal, event)
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - a broken screen must not end hours of training
                self._drop(listener, error)

    def _write(self, journal: runs.Journal, event: Event) -> None:
        """Journal an event; where the disk is full, keep it and go on: it is written when there is room again."""
        told = bool(self._unwritten)
        self._unwritten.append(event)
        try:
            while self._unwritten:
                journal(self._unwritten[0])
                self._unwritten.popleft()
        except OSError as error:
            if not told:
                message = f"The journal cannot be written: {error.strerror or error}."
                hint = "Training goes on; free some room on the disk."
                self(Warned(code="journal", message=message, hint=hint))

    def _drop(self, listener: Listener, error: Exception) -> None:
        self._listeners.remove(listener)
        message = f"A listener failed and hears nothing more: {type(error).__name__}: {error}"
        self(error.warning if isinstance(error, Leaving) else Warned(code="listener", message=message))
