"""The terminal while the app has it: what others print goes to a file, and its end is noticed.

The app alone writes to the terminal, through a descriptor of its own; 1 and 2, which libraries and the programs that
they start write to, are a file meanwhile. A hang-up wakes a thread that points all descriptors of the terminal away
from it before it tells the app, because a closed terminal is always ready to be read: whoever waits for keys there
spins (measured: a whole core).
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import tempfile
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ftk import files

from .terminal import Line, let_go

if TYPE_CHECKING:
    from textual.driver import Driver

    from .own_driver import OwnDriver

_LARGEST = 2_000_000  # bytes of the file for output, from which on it begins anew
_TOLD_S = 1.0  # seconds after which the thread has noticed a hang-up
_TEXTUALS = (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)
"""Signals whose handlers Textual sets and leaves: SIGCONT, which follows a hang-up, would fail without its loop."""
LEFT = "\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?2004l\x1b[?7h\x1b[?1049l\x1b[?25h\x1b[?1004l"
"""What leaves a terminal as it was: no mouse, no pasting mode, lines wrap, the normal screen, the cursor, no focus."""


class OwnTerminal:
    """Takes the terminal for the app while the block runs, and leaves it as it was.

    Args:
        on_gone: Called once, in a thread of its own, when the terminal is no more; may be set later.

    """

    def __init__(self, on_gone: Callable[[], None] | None = None) -> None:
        self._on_gone = on_gone
        self._gone = threading.Event()
        self._lock = threading.Lock()
        self._before: list[int] = []
        self.shows: OwnDriver | None = None
        """The driver of the app, once there is one."""
        self.log = Path(os.devnull)
        """Where the output of others goes now."""

    @property
    def gone(self) -> bool:
        """Whether the terminal is no more."""
        return self._gone.is_set()

    def gone_soon(self) -> bool:
        """Whether the terminal is no more, where a failing read foretells that the thread is about to notice it."""
        return self._gone.wait(_TOLD_S)

    @property
    def on_gone(self) -> Callable[[], None] | None:
        """What is called when the terminal is no more; at once, if it is set when that has happened."""
        return self._on_gone

    @on_gone.setter
    def on_gone(self, called: Callable[[], None] | None) -> None:
        with self._lock:
            self._on_gone = called
            late = self.gone
        if late and called:
            called()

    def __enter__(self) -> Self:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        self.descriptor = os.dup(2)
        self.modes: list[Any] | None = None
        with contextlib.suppress(termios.error):
            self.modes = termios.tcgetattr(self.descriptor)
        self._before = [os.dup(1), os.dup(2)]
        self.file = io.TextIOWrapper(
            io.BufferedWriter(Line(self.descriptor, lambda descriptor: None)),  # the thread below tells, nobody else
            encoding=getattr(sys.__stderr__, "encoding", None) or "utf-8",
            errors="replace",  # by one character, unlike an escape: what follows stays in its column
        )
        self.log_to(_log_file())
        self._handlers = {number: signal.getsignal(number) for number in _TEXTUALS}
        self._handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # one notices: two got into each other's way
        self._awake, self._wake = os.pipe()
        self._watch = threading.Thread(target=self._look, name="ftk-hang-up", daemon=True)
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._wake, b".")
        self._watch.join()
        for descriptor in (self._awake, self._wake):
            os.close(descriptor)
        for stream in (sys.__stdout__, sys.__stderr__):  # what others printed belongs into their file
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()  # type: ignore[union-attr]
        self._hear_hang_ups()
        for descriptor, copy in enumerate(self._before, 1):
            if not self.gone:
                os.dup2(copy, descriptor)
            os.close(copy)
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        with contextlib.suppress(OSError):
            self.file.close()
            os.close(self.descriptor)

    def _hear_hang_ups(self) -> None:
        """Have the signal do again what it did before, unless the terminal is no more.

        Then nothing but the end of the run may end what goes on without a terminal. One that came after the thread's
        last look was ignored, so here is another look.
        """
        if self.gone:
            return
        signal.signal(signal.SIGHUP, self._handler)
        poll = select.poll()
        poll.register(self.descriptor, 0)
        if poll.poll(0):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            self._hang_up()

    def log_to(self, path: Path) -> None:
        """Send the output of others to another file, from now on; if that cannot be written, all stays as it is."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            log = os.open(path, flags, 0o600)
        except OSError:
            return
        for stream in (sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()  # type: ignore[union-attr]
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        self.log = path

    def give_up(self) -> None:
        """Leave the terminal as it was without the app's help, as far as that needs no waiting: the process ends."""
        if self.gone:
            return
        with contextlib.suppress(termios.error):
            if self.modes:
                termios.tcsetattr(self.descriptor, termios.TCSANOW, self.modes)
        with contextlib.suppress(OSError):
            os.set_blocking(self.descriptor, False)
            os.write(self.descriptor, LEFT.encode())

    def take_mouse(self, wanted: bool) -> None:
        """Have mouse events sent to the app, or leave the mouse to the terminal."""
        if self.shows is not None:
            self.shows.take_mouse(wanted)

    def _look(self) -> None:
        """Wait for the hang-up, or for the end of the block."""
        poll = select.poll()
        poll.register(self.descriptor, 0)  # errors and hang-ups are always told
        poll.register(self._awake, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self.descriptor:
                    self._hang_up()
                return

    def _hang_up(self) -> None:
        with self._lock:
            self._gone.set()
            called = self._on_gone
        let_go([0, self.descriptor])
        if called:
            called()

    def driver(self) -> type[Driver]:
        """The driver for the app: it writes to our descriptor, and outlives the terminal."""
        from .own_driver import OwnDriver

        return type("TerminalDriver", (OwnDriver,), {"terminal": self})


def _log_file() -> Path:
    """The file for output of others while no run goes on; begins anew when it has become large."""
    for folder in (files.cache_dir() / "logs", Path(tempfile.gettempdir())):
        path = folder / "app.log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size > _LARGEST:
                path.unlink()
            with path.open("a"):
                return path
        except OSError:
            continue
    return Path(os.devnull)
