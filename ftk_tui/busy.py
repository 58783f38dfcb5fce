"""What a long command is busy with: a line on a terminal that goes when it is done, events for programs."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from ftk.events import Phase

from .text import shown

_EVERY_S = 1.0

Tell = Callable[[str, str, float | None, float | None], None]
"""Called with what is done, to what, and how much of how much (bytes)."""


@contextlib.contextmanager
def busy(*, as_json: bool = False) -> Iterator[Tell]:
    """Show what goes on while the block runs.

    Args:
        as_json: Print an event of the kind ``phase`` for every new thing, and once a second while it goes on; otherwise
            a line is shown on standard error if that is a terminal.

    """
    if as_json:
        yield _Events()
    elif sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb"):
        from rich.console import Console
        from rich.text import Text

        with Console(stderr=True).status("") as status:
            yield lambda name, detail, done, total: status.update(Text(_line(name, detail, done, total)))
    else:
        yield lambda name, detail, done, total: None


def _line(name: str, detail: str, done: float | None, total: float | None) -> str:
    part = f" {100 * done / total:.0f} %" if done and total else ""
    return shown(f"{name} {detail}{part}".replace("\n", " "))


class _Events:
    def __init__(self) -> None:
        self._last: tuple[str, str] = ("", "")
        self._next = 0.0

    def __call__(self, name: str, detail: str, done: float | None, total: float | None) -> None:
        if (name, detail) == self._last and time.monotonic() < self._next:
            return
        self._last, self._next = (name, detail), time.monotonic() + _EVERY_S
        unit = "bytes" if total is not None else ""
        print(Phase(name=name, detail=detail, done=done, total=total, unit=unit).to_json(), flush=True)
