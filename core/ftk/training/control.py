"""How a run is told from outside to stop or pause, from any thread or signal handler."""

from __future__ import annotations

import threading
import time


class Control:
    """A switch between the one who watches a run and the loop that looks at it at every micro-batch."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._save = threading.Event()
        self.reason = ""
        self.saves = True
        self._deadline: tuple[float, str] | None = None
        self.margin_s = self.saving_s = 0.0

    def stop(self, reason: str = "stopped on request", *, save: bool = True) -> None:
        """Ask the run to stop; wakes it if it is paused.

        Args:
            reason: What the last event will say.
            save: Whether a checkpoint is written first. Without, the run ends sooner, and what it did since its
                last checkpoint is computed again when it is resumed.

        """
        self.reason = self.reason or reason
        self.saves = self.saves and save
        self._stop.set()
        self._go.set()

    def save(self) -> None:
        """Ask for a checkpoint after the step that is being computed, also in a pause."""
        self._save.set()

    def take_save(self) -> bool:
        """Whether a checkpoint was asked for since the last call."""
        asked = self._save.is_set()
        self._save.clear()
        return asked

    def pause(self) -> None:
        """Ask the run to hold before its next micro-batch."""
        self._go.clear()

    def proceed(self) -> None:
        """Let a paused run go on."""
        self._go.set()

    def limit(self, seconds: float, reason: str) -> None:
        """Ask for a stop so that the run has ended `seconds` from now.

        What it takes to finish what is being computed, `margin_s`, is kept by the loop; what a checkpoint takes,
        `saving_s`, by whoever saves.
        """
        self._deadline = (time.monotonic() + seconds, reason)

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for, or its time has come."""
        if self._stop.is_set():
            return True
        if self._deadline and time.monotonic() > self._deadline[0] - self.margin_s - self.saving_s:
            self.stop(self._deadline[1])
        return self._stop.is_set()

    @property
    def paused(self) -> bool:
        """Whether the run holds, or will at its next micro-batch."""
        return not self._go.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until the run may go on, for `seconds` at most; returns whether it may."""
        return self._go.wait(seconds)


class StopRequested(Exception):  # noqa: N818 - not an error
    """Raised inside the engine to leave at a safe place after `Control.stop`."""
