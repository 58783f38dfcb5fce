"""Single keys from the terminal, without Enter; the terminal is left as it was, however the block ends."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import termios
import time
import tty
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

_INPUT = 0
_ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)
"""What arrows, function keys and Alt send: letters that nobody pressed are part of it."""


class Keys:
    """Reads keys while the block runs, if standard input is a terminal and this process is in its foreground.

    SIGTERM and SIGHUP become an orderly end of the process, so that the terminal's modes are restored then too; after
    Ctrl-Z and `fg` they are set again.

    Args:
        wanted: Whether to read any; without, `wait` only waits.

    """

    def __init__(self, *, wanted: bool = True) -> None:
        self._wanted = wanted
        self._modes: list[Any] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self._wanted and os.isatty(_INPUT):
            for number, handler in (
                (signal.SIGTERM, self._end),
                (signal.SIGHUP, self._end),
                (signal.SIGCONT, self._continue),
            ):
                self._before[number] = signal.signal(number, handler)
            self._one_by_one()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._modes and _in_foreground():
            with contextlib.suppress(termios.error):
                termios.tcsetattr(_INPUT, termios.TCSANOW, self._modes)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def on(self) -> bool:
        """Whether keys are read."""
        return self._modes is not None

    def wait(self, seconds: float) -> str:
        """Wait for keys, for `seconds` at most; returns those that were pressed, without arrows and the like."""
        if not self.on or not _in_foreground():
            time.sleep(seconds)
            return ""
        if not select.select([_INPUT], [], [], seconds)[0]:
            return ""
        try:
            pressed = os.read(_INPUT, 64).decode(errors="replace")
        except OSError:
            pressed = ""
        if not pressed:  # the terminal is gone, and would be ready to be read for ever
            self._modes = None
        return _ESCAPE.sub("", pressed)

    def _one_by_one(self) -> None:
        """Take keys as they are pressed, and show none; Ctrl-C and Ctrl-Z keep their meaning."""
        if not _in_foreground():  # setting modes from the background would stop us
            return
        with contextlib.suppress(termios.error):
            modes = termios.tcgetattr(_INPUT)
            tty.setcbreak(_INPUT, termios.TCSANOW)
            self._modes = self._modes or modes

    def _continue(self, number: int, frame: FrameType | None) -> None:
        self._one_by_one()

    def _end(self, number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(_INPUT) == os.getpgrp()
    except OSError:
        return False
