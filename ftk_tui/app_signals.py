"""What the app does on SIGTERM and on Ctrl-C from outside: save and leave in time, or ask."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from ftk.errors import EXIT_RESUMABLE

from .signals import GRACE_S, SAME_S, in_haste

if TYPE_CHECKING:
    from .app import FtkApp
    from .own_terminal import OwnTerminal

_STALLED_S = 5.0
"""Seconds that the app may take to leave a terminal; more, and the terminal stands still."""


class AppSignals:
    """SIGTERM: the run saves and stops, and the app leaves the terminal. SIGINT: the app asks, as for its own key.

    Handlers run in the main thread even while the app waits for a terminal that stands still; what follows then, which
    the app can no longer do, is done by a thread.

    Args:
        app: The app.
        terminal: Its terminal.

    """

    def __init__(self, app: FtkApp, terminal: OwnTerminal) -> None:
        self._app, self._terminal = app, terminal
        self._before: dict[int, Any] = {}
        self._left = threading.Event()
        self.heard: float | None = None
        """When SIGTERM came, on the monotonic clock; None if it did not."""

    def __enter__(self) -> Self:
        for number, handler in ((signal.SIGTERM, self._terminate), (signal.SIGINT, self._interrupt)):
            self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.heard is None:
            self.heard = now
            self._app.stop_run(signal.Signals(number).name)
            self._app.from_outside(self._app.terminated)
            threading.Thread(target=self._insist, name="ftk-leave", daemon=True).start()
        elif now - self.heard > SAME_S:
            self._terminal.give_up()
            os._exit(in_haste(self._app.session.run if self._app.runner else None))

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._app.from_outside(self._app.ask_to_quit)

    def _insist(self) -> None:
        """Leave the process where the app does not come to it: when the run has saved, or has not in time."""
        if self._left.wait(_STALLED_S):
            return
        runner = self._app.runner
        if runner is not None:
            runner.join(GRACE_S)
        if self._left.is_set():
            return
        self._terminal.give_up()
        os._exit(EXIT_RESUMABLE if runner is not None else 128 + signal.SIGTERM)
