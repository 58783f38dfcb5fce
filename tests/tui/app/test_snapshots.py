from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.widgets import Static

from . import snapshots


class Sheet(App[None]):
    def __init__(self, words: str, style: str = "") -> None:
        super().__init__()
        self._words, self._style = words, style

    def compose(self) -> ComposeResult:
        yield Static(f"[{self._style}]{self._words}[/]" if self._style else self._words)


def look(words: str, name: str, style: str = "") -> None:
    async def inner() -> None:
        app = Sheet(words, style)
        async with app.run_test(size=(40, 4)) as pilot:
            await snapshots.settled(pilot)
            snapshots.compare(app, name)

    asyncio.run(inner())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(snapshots, "FOLDER", tmp_path / "kept")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(snapshots.UPDATE, "1")
    look("loss 1.25 <b> & more", "sheet")
    monkeypatch.delenv(snapshots.UPDATE)
    return tmp_path / "kept"


def test_the_same_screen_is_the_same_picture(folder: Path) -> None:
    look("loss 1.25 <b> & more", "sheet")
    kept = (folder / "sheet.svg").read_text()
    assert snapshots.text(kept).splitlines()[0].rstrip() == "loss 1.25 <b> & more"
    assert "http" not in kept.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")


def test_another_text_is_told_line_by_line(folder: Path) -> None:
    with pytest.raises(AssertionError, match=r"(?s)-loss 1\.25.*\+loss 1\.50"):
        look("loss 1.50 <b> & more", "sheet")


def test_another_colour_is_told_too(folder: Path) -> None:
    with pytest.raises(AssertionError, match="in its colours"):
        look("loss 1.25 <b> & more", "sheet", "red")


def test_a_picture_that_nobody_made_is_no_success(folder: Path) -> None:
    with pytest.raises(AssertionError, match="loss"):
        look("loss 1.25 <b> & more", "other")


def test_the_clock_stands_still_until_it_is_told_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = snapshots.freeze(monkeypatch)
    assert time.time() == snapshots.NOW
    assert time.strftime("%H:%M", time.localtime(time.time())) == "22:13"
    clock.forward(60)
    assert time.strftime("%H:%M", time.localtime(time.time())) == "22:14"
