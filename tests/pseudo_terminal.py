"""A process on a pseudo-terminal of its own, as a person has it: keys, output, modes, and the end of the line."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

HANG = 120  # seconds after which a process is taken to hang


def until(condition: Callable[[], object], seconds: float = HANG) -> None:
    """Wait for something; fails where it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class PseudoTerminal:
    """Starts a command, `ftk` by default, on a terminal of 80 columns.

    Args:
        arguments: Those of the command.
        environment: Besides that of this process.
        reads: Whether somebody reads what is written; without, the terminal stands still when its buffer is full.
        command: What to start instead of `ftk`; its program with the whole path.

    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        reads: bool = True,
        command: Sequence[str] = (sys.executable, "-m", "ftk_tui"),
    ) -> None:
        self._output = b""
        self._closing = threading.Event()
        self._code: int | None = None
        given = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", **(environment or {})}
        self.pid, self._master = pty.fork()
        if self.pid == 0:  # the standard streams of the child are the pseudo-terminal
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in what was started in the background
            os.execve(command[0], [*command, *arguments], given)
        self._reader = threading.Thread(target=self._read, daemon=True)
        if reads:
            self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.hang_up()
        if self._code is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)

    @property
    def output(self) -> str:
        """What was written so far."""
        return self._output.decode(errors="replace")

    @property
    def modes(self) -> list[Any]:
        """How the terminal treats keys."""
        return termios.tcgetattr(self._master)

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def hang_up(self) -> None:
        """End the line, as when a connection is cut."""
        if not self._closing.is_set():
            self._closing.set()
            if self._reader.ident:
                self._reader.join()
            os.close(self._master)

    def wait(self) -> int:
        """Wait for the end of the process; returns its exit code."""

        def ended() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
            return bool(pid)

        until(ended)
        assert self._code is not None
        return self._code

    def _read(self) -> None:
        while not self._closing.is_set():
            if select.select([self._master], [], [], 0.05)[0]:
                try:
                    self._output += os.read(self._master, 65536)
                except OSError:  # the process has ended
                    return
