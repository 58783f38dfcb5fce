"""Signs of life: who writes a run touches `owner.json` now and then, so that other hosts see when nobody does any more.

Whether a process of another host lives nobody can ask. So its owner gives a sign every `EVERY_S` seconds, in a thread
of its own, whatever the run is busy with: loading, a pause, an evaluation. When none came for `SILENT_S`, the host is
taken for gone. Both times are those of the file system (a network volume's server stamps what is touched), so clocks
that differ between the hosts do no harm.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

EVERY_S = 20.0
SILENT_S = 180.0
"""Longer than a network volume may hide a sign (a minute by default), or a machine be too busy to give one."""
_SAME_CLOCK_S = 60.0
_clocks: dict[int, tuple[float, float]] = {}  # by device: its time less ours, and until when that is believed


def silence(path: Path) -> float | None:
    """Seconds since a file was touched, by the clock of its file system; None where that cannot be told."""
    try:
        state = path.stat()
        known, until = _clocks.get(state.st_dev, (0.0, 0.0))
        if time.monotonic() > until:
            known, until = _time_of(path) - time.monotonic(), time.monotonic() + _SAME_CLOCK_S
            _clocks[state.st_dev] = (known, until)
    except OSError:  # not there, or a folder that we may not write: who cannot write cannot take a run over either
        return None
    return time.monotonic() + known - state.st_mtime


def _time_of(path: Path) -> float:
    """What time it is for the file system that a file lies on."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0), 0o600))
        return fresh.stat().st_mtime
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


class Signs:
    """Gives a sign at intervals until it is told to end.

    Args:
        give: Gives one; returns whether to go on. An error of the system is passed over: the next one may work.

    """

    def __init__(self, give: Callable[[], bool]) -> None:
        self._give, self._done = give, threading.Event()
        threading.Thread(target=self._work, name="ftk-signs", daemon=True).start()

    def end(self) -> None:
        """Give no more."""
        self._done.set()

    def _work(self) -> None:
        while not self._done.wait(EVERY_S):
            with contextlib.suppress(OSError):
                if not self._give():
                    return
