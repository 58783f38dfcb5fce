"""How far reading and checking a data set is: a bar on a terminal, events for programs, nothing in a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from ftk.events import Phase

_PHASES = {"read": "Reading the data", "measure": "Measuring", "tokenise": "Counting tokens", "check": "Checking"}
_EVERY_S = 1.0

Tell = Callable[[str, int, int], None]
"""Called with a phase, what is done and what there is."""


@contextlib.contextmanager
def meter(*, as_json: bool = False) -> Iterator[Tell | None]:
    """Show progress while the block runs.

    Args:
        as_json: Print an event of the kind ``phase`` once a second; otherwise a bar is shown on standard error if
            that is a terminal, and is gone when the block ends.

    """
    if as_json:
        yield _Events()
    elif sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb"):
        with _bar() as tell:
            yield tell
    else:
        yield None


class _Events:
    """Prints progress as events, nothing in the first second: what is done by then needs none."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY_S

    def __call__(self, phase: str, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY_S
            unit = "bytes" if phase == "read" else "rows"
            print(Phase(name=phase, detail=_PHASES[phase], done=done, total=total, unit=unit).to_json(), flush=True)


@contextlib.contextmanager
def _bar() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks = {}

        def tell(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(_PHASES[phase], total=total)
            progress.update(tasks[phase], completed=done, total=total)

        yield tell


def reading(tell: Tell | None) -> Callable[[int, int], None] | None:
    """The same for what only reads."""
    return (lambda done, total: tell("read", done, total)) if tell else None
