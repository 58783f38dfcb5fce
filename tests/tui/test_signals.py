"""What a second signal leaves with: whether the run can be gone on with."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from ftk_tui import signals
from ftk_tui.signals import Signals


class Stuck:
    """A run that hears nothing."""

    state = "running"

    def stop(self, reason: str) -> None:
        """Hear it not."""


class Screen:
    """A screen of nobody."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def note(self, text: str) -> None:
        """Show nothing."""

    def abandon(self) -> None:
        """Leave nothing behind."""


class Left(Exception):  # noqa: N818 - not an error
    """Instead of the end of the process."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("left", "code"), [("", 1), ("step-000004", 1), ("step-000004/manifest.json", 75)])
def test_a_second_signal_leaves_with_75_where_there_is_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, left: str, code: int
) -> None:
    def leave(code: int) -> None:
        raise Left(code)

    path = tmp_path / "checkpoints" / left
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(exist_ok=True) if not path.suffix else path.write_text("{}")
    monkeypatch.setattr(signals.os, "_exit", leave)
    monkeypatch.setattr(signals, "SAME_S", -1.0)
    run: Any = Stuck()
    screen: Any = Screen(tmp_path)
    handler = Signals(run, screen)
    handler._handle(number, None)
    with pytest.raises(Left, match=f"^{code}$"):
        handler._handle(number, None)
