"""Reads the journal of a run of another process as it grows, in a thread of its own."""

from __future__ import annotations

import threading

from ftk.events import Listener
from ftk.runs import RunFolder

from .attach_command import Tail

LOOK_EVERY_S = 0.25
_ASK_EVERY = 4
"""So many looks without news until it is asked whether the run's process still lives."""


class Follower:
    """Tells a listener every event of a run from its beginning on, and whether its process is gone.

    In a thread, because the journal of a long run takes seconds to read, and because a network volume may stand still.

    Args:
        run: The run.
        listener: Called with every event, in the follower's thread.

    """

    def __init__(self, run: RunFolder, listener: Listener) -> None:
        self._run, self._listener = run, listener
        self.state = "running"
        """What the run was doing when it was last asked; see `RunFolder.state`."""
        self.caught_up = False
        """Whether everything was told that was in the journal at the beginning."""
        self._ended = threading.Event()
        threading.Thread(target=self._work, name="ftk-follow", daemon=True).start()

    def stop(self) -> None:
        """Tell nothing more; does not wait for the thread."""
        self._ended.set()

    def _work(self) -> None:
        tail, quiet = Tail(self._run.journal_file), _ASK_EVERY
        while not self._ended.is_set():
            news = False
            for event in tail.new():
                if self._ended.is_set():
                    return
                self._listener(event)
                news = True
            quiet = 0 if news else quiet + 1
            if quiet >= _ASK_EVERY or not self.caught_up:
                self.state, quiet = self._run.state(), 0
                self.caught_up = True
            self._ended.wait(LOOK_EVERY_S)
