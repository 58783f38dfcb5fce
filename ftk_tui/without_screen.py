"""What becomes of a run whose app has been left: this process trains on to its end, and says what came of it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from ftk.events import Event

from .attach_command import called
from .displays import PlainDisplay, exit_code
from .signals import Signals
from .terminal import Screen, Terminal

if TYPE_CHECKING:
    from .session import Session


class _Silent(PlainDisplay):
    """Keeps what the summary needs, and says only what is asked to be said."""

    def __call__(self, event: Event) -> None:
        self.summary_of.take(event)


def to_the_end(session: Session, *, heard: float | None = None, gone: bool = False) -> int:
    """Stay until the run of a session has ended; returns the exit code.

    Ctrl-C and SIGTERM save and stop it, and a terminal that is closed does nothing to it, as without an app.

    Args:
        session: Has a run of this process that goes on.
        heard: When SIGTERM came, if it did, on the monotonic clock: the run is about to stop then.
        gone: Whether the terminal is gone already.

    Raises:
        FtkError: the run failed.

    """
    runner = session.runner
    assert runner is not None
    display = _Silent()
    for event in session.log:
        display(event)
    with Terminal() as terminal:
        if gone:
            terminal.gone = "The terminal went away"
        screen = Screen(display, terminal)
        screen.folder = str(session.run.path) if session.run else ""
        with Signals(runner, screen) as signals:
            with screen:
                session.hand_over(screen)
                if heard is None:
                    screen.note(_words(session))
                else:
                    signals.hear(signal.SIGTERM)
                signals.wait()
                result = runner.result()
            display.summary(result.ending)
        return exit_code(result.ending)


def _words(session: Session) -> str:
    if session.run is None:
        return "The run goes on without a screen. Ctrl-C saves and stops it."
    return (
        f"The run {session.run.name} goes on without a screen, in this process; the terminal may be closed.\n"
        f"  ftk attach {called(session.run):<24} follow it, from any terminal\n"
        "Ctrl-C saves and stops it."
    )
