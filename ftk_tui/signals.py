"""What a run without a screen does on Ctrl-C and SIGTERM: save, and leave in time with a telling exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from ftk import run_lock
from ftk.errors import EXIT_FAILED, EXIT_RESUMABLE
from ftk.runner import Runner
from ftk.runs import RunFolder

from .displays import exit_code
from .terminal import Screen

GRACE_S = 20.0
"""Seconds after SIGTERM until the process leaves a run that does not end: the shortest notices are 30 s."""
SAVING_S = 100.0
"""The same while a checkpoint is being written: what it holds would be lost, and many notices are 120 s."""
SAME_S = 0.5
"""A launcher passes on what the whole group of processes has heard: two signals this near to each other are one."""


def in_haste(run: RunFolder | None) -> int:
    """The exit code of who leaves a run at once: whether what it saved before can be gone on with."""
    return EXIT_RESUMABLE if run and run.saved else EXIT_FAILED


class Signals:
    """First Ctrl-C or SIGTERM: save and stop. Second: leave at once; what is on disk stays.

    The exit code says whether there is a checkpoint to go on from.

    Args:
        runner: The run.
        screen: Is told, and left in order.

    """

    def __init__(self, runner: Runner, screen: Screen) -> None:
        self._runner, self._screen = runner, screen
        self._before: dict[int, Any] = {}
        self._heard: float | None = None
        self._terminated: float | None = None

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hear(self, number: int) -> None:
        """Do what a signal of that number does, because it came before this block; the run may have ended by it."""
        if self._runner.join(0):
            self._screen.note(f"{signal.Signals(number).name}: saving and stopping.")
        else:
            self._handle(number, None)

    def wait(self) -> None:
        """Wait until the run has ended, or leave the process if it does not after SIGTERM."""
        while not self._runner.join(0.5):  # a wait without limit would not hear signals on every platform
            if self._terminated is not None:
                waited = time.monotonic() - self._terminated
                if waited > (SAVING_S if self._saving() else GRACE_S):
                    self._leave(EXIT_RESUMABLE)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._runner.state == "done":  # only the terminal is waited for
            self._leave(exit_code(self._runner.result().ending))
        now = time.monotonic()
        if number == signal.SIGTERM and self._terminated is None:
            self._terminated = now
        if self._heard is None:
            self._heard = now
            name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            self._screen.note(f"{name}: saving and stopping. Once more leaves at once.")
            self._runner.stop(name)
        elif now - self._heard > SAME_S:
            folder = self._screen.folder
            self._leave(in_haste(RunFolder(Path(folder)) if folder else None))

    def _saving(self) -> bool:
        """Whether a checkpoint is being written."""
        folder = self._screen.folder
        return bool(folder) and any(RunFolder(Path(folder)).checkpoints.glob(".*.staging-*"))

    def _leave(self, code: int) -> NoReturn:
        """End the process without waiting for the thread that trains; what is on disk is complete at any moment."""
        self._screen.abandon()
        sys.stderr.flush()
        if self._screen.folder:
            _disown(Path(self._screen.folder))
        os._exit(code)


def _disown(folder: Path) -> None:
    """Take back the file that names us as the owner: to other hosts, who cannot ask, it would be true for ever."""
    owner = run_lock.read_owner(folder)
    if owner and owner.here and owner.pid == os.getpid():
        for name in (run_lock.OWNER, run_lock.MARKER):
            with contextlib.suppress(OSError):
                (folder / name).unlink(missing_ok=True)
