"""What happens when the terminal, or whoever reads our output, goes away or stands still: the run goes on.

`Terminal` keeps the standard streams of the process usable, `Screen` shows a run in a thread of its own.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from ftk.events import Event, Leaving, Phase, Started, Step, Warned

if TYPE_CHECKING:
    from .displays import Display

_GONE = frozenset({errno.EIO, errno.EPIPE, errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.ECONNRESET, errno.ESTALE})
"""How a write fails where nobody will ever read it: a closed terminal, a pipe or a socket without a reader."""

_STREAMS = ("stdin", "stdout", "stderr")
_BEHIND = 1000
"""Events that may wait for a slow terminal before steps are left out, which people only see the last of anyway."""


def let_go(descriptors: Iterable[int]) -> None:
    """Point standard streams away from a terminal or a reader that is no more.

    Output goes to /dev/null. Input becomes the end of a pipe into which nobody ever writes: a closed terminal and
    /dev/null are always ready to be read, so that whoever waits for input there spins (measured: a whole core).

    Args:
        descriptors: Any of 0, 1 and 2.

    """
    for descriptor in descriptors:
        if descriptor == 0:
            other, _ = os.pipe()  # the end to write to stays open for as long as the process lives
            os.set_blocking(other, False)  # who was told to read just before must not wait for ever
        else:
            other = os.open(os.devnull, os.O_WRONLY)
        os.dup2(other, descriptor)
        os.close(other)


class Terminal:
    """The standard streams of this process, kept from failing while the block runs.

    On SIGHUP, and when a write finds that nobody is left to read, the streams are let go and the process goes on.
    Streams that are files or pipes with a reader stay, also on SIGHUP. A stream that was closed from the start becomes
    /dev/null, so that no file of the run can get its number, and with it what libraries print.
    """

    def __init__(self) -> None:
        self.gone = ""
        """Why nobody sees standard output any more, in words; empty as long as somebody does."""
        self._terminals: list[int] = []
        self._restore: list[Callable[[], Any]] = []

    def __enter__(self) -> Self:
        for descriptor, name in enumerate(_STREAMS):
            _fill(descriptor, name)
        self._terminals = [descriptor for descriptor in range(3) if os.isatty(descriptor)]
        self._watch(1)
        self._watch(2)
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP"):
            before = signal.signal(signal.SIGHUP, self._hung_up)
            self._restore.append(lambda: signal.signal(signal.SIGHUP, before))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._restore:
            self._restore.pop()()

    def _watch(self, descriptor: int) -> None:
        """Replace a standard stream by one whose writes end in `_lost` instead of an error."""
        name = _STREAMS[descriptor]
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or _number(stream) != descriptor:
            return  # somebody else, such as a test, has put his own there
        line = Line(descriptor, self._lost)
        watched = io.TextIOWrapper(
            io.BufferedWriter(line),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        with contextlib.suppress(OSError):
            stream.flush()
        setattr(sys, name, watched)

        def back() -> None:
            with contextlib.suppress(OSError):
                watched.flush()
            setattr(sys, name, stream)

        self._restore.append(back)

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        self._lost(*self._terminals)

    def _lost(self, *descriptors: int) -> None:
        """Take leave of streams; doing it twice does no harm, because signals come when they like."""
        hung_up = any(descriptor in self._terminals for descriptor in descriptors)
        lost = {*descriptors, *self._terminals} if hung_up else set(descriptors)
        let_go(lost)
        if 1 in lost and not self.gone:
            self.gone = "The terminal went away" if hung_up else "Nobody reads the output any more"


class Line(io.FileIO):
    """A standard stream for writing that takes everything, also when nobody is left to read it."""

    def __init__(self, descriptor: int, lost: Callable[[int], None]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._lost = lost

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self._lost(self.fileno())
            return memoryview(data).nbytes


def _fill(descriptor: int, name: str) -> None:
    """Open /dev/null where a standard stream was closed before the process began."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
    if getattr(sys, name) is None:
        setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115


def _number(stream: io.TextIOWrapper) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


class Screen:
    """Hears the events of a run and shows them in a thread of its own.

    A terminal that stands still (a dead link, ctrl+s) then holds the thread that writes to it, and nothing else. When
    nobody sees the display any more, the screen leaves the run and the journal says so, once.

    Args:
        display: Shows the events; is entered and closed with this.
        terminal: Says whether anybody is there.

    """

    def __init__(self, display: Display, terminal: Terminal) -> None:
        self.folder = ""
        """The run's folder, from its first event on."""
        self._display = display
        self._terminal = terminal
        self._error: Exception | None = None
        self._waiting: queue.SimpleQueue[Event | str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._show, name="ftk-screen", daemon=True)

    def __enter__(self) -> Self:
        self._display.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.put(None)
        while self._thread.is_alive():
            self._thread.join(0.5)  # a wait without limit would not hear signals on every platform
        self._display.close()

    def __call__(self, event: Event) -> None:
        """Take an event, in the thread that trains; never waits.

        Raises:
            Leaving: nobody sees the display any more.

        """
        if isinstance(event, Started):
            self.folder = event.folder
        if self._terminal.gone:
            name = os.path.basename(self.folder)  # noqa: PTH119 - Path("").name would do, but the folder is text
            message = f"{self._terminal.gone}; the run goes on without it."
            raise Leaving(Warned(code="terminal", message=message, hint=f"`ftk attach {name}` shows it again."))
        if self._error:
            raise self._error
        behind = self._waiting.qsize() > _BEHIND
        if not (behind and isinstance(event, Step | Phase) and self._display.may_skip):
            self._waiting.put(event)

    def note(self, text: str) -> None:
        """Say something that is no event; may be called by a handler of signals."""
        self._waiting.put(text)

    def abandon(self) -> None:
        """Leave the terminal as it was, if that can be done at once: the process ends."""
        closing = threading.Thread(target=self._display.close, daemon=True)
        closing.start()
        closing.join(1.0)

    def _show(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error or self._terminal.gone:
                continue
            try:
                if isinstance(item, Event):
                    self._display(item)
                else:
                    self._display.note(item)
            except Exception as error:  # noqa: BLE001 - told at the next event, in the thread that trains
                self._error = error
