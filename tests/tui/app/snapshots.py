"""Pictures of screens, compared with those in ``snapshots/``: what a person sees, and what a change does to it.

A test freezes the clock, brings the app to the state in question and asks for the comparison::

    def test_home_without_runs(monkeypatch):
        freeze(monkeypatch)

        async def look():
            app = FtkApp(Wizard())
            async with app.run_test(size=(80, 24)) as pilot:
                await settled(pilot)
                compare(app, "home-empty-80x24")

        asyncio.run(look())

``FTK_UPDATE_SNAPSHOTS=1 pytest tests/tui/app`` writes the pictures anew; look at them before they are committed.
Of the time, a screen shows what `time.time()` and, for the zone, `time.localtime()` say: `freeze` holds them.
"""

from __future__ import annotations

import difflib
import html
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

FOLDER = Path(__file__).parent / "snapshots"
UPDATE = "FTK_UPDATE_SNAPSHOTS"
NOW = 1_700_000_000.0
"""What the frozen clock shows: 14 November 2023, 22:13:20, UTC."""
SIZES = ((80, 24), (160, 50))
"""The two sizes that every screen is looked at in."""

_ID = re.compile(r"terminal-\d+")
_FONT = re.compile(r"\s*@font-face \{.*?\}\n", re.DOTALL)
_TEXT = re.compile(r'<text class="terminal-(\w+)" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', re.DOTALL)
_RECT = re.compile(r'<rect fill="(#\w+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"')
_STYLE = re.compile(r"\.terminal-(r\d+) (\{[^}]*\})")
_WIDTH = 12.2
"""Width of a character in Rich's pictures, in their unit."""


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def freeze(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Hold `time.time()` at `NOW`, in UTC, until the test ends; monotonic clocks, and so the event loop, go on."""
    clock = Clock()
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", clock)
    return clock


async def settled(pilot: Pilot[Any]) -> None:
    """Wait until all workers have ended and everything that they brought about is drawn."""
    await pilot.app.workers.wait_for_complete()
    for _ in range(3):  # a message may send another one, and a layout is drawn after it is made
        await pilot.pause()


def picture(app: App[Any]) -> str:
    """The screen as SVG, without what changes from one time to the next."""
    return _FONT.sub("", _ID.sub("terminal", app.export_screenshot(title="ftk"))).replace(" \n", "\n")


def text(svg: str) -> str:
    """The characters of a picture, line by line."""
    lines: dict[float, dict[int, str]] = {}
    for kind, x, y, content in _TEXT.findall(svg):
        if kind != "title":  # that of the window that Rich draws around it
            lines.setdefault(float(y), {})[round(float(x) / _WIDTH)] = html.unescape(content).replace("\xa0", " ")
    shown = []
    for y in sorted(lines):
        line = ""
        for place, part in sorted(lines[y].items()):
            line = line.ljust(place) + part
        shown.append(line.rstrip())
    return "\n".join(shown)


def cells(svg: str) -> dict[tuple[str, float, int], str]:
    """Background, and character with its style, of every cell: how they were put together may change, as it may be."""
    styles, found = dict(_STYLE.findall(svg)), {}
    for fill, x, y, width in _RECT.findall(svg):
        begin = round(float(x) / _WIDTH)
        for place in range(begin, begin + round(float(width) / _WIDTH)):
            found["back", float(y), place] = fill
    for kind, x, y, content in _TEXT.findall(svg):
        for place, character in enumerate(html.unescape(content), round(float(x) / _WIDTH)):
            if not character.isspace():
                found["text", float(y), place] = character + styles.get(kind, "")
    return found


def compare(app: App[Any], name: str) -> None:
    """Compare the screen with the picture of that name, or make it the picture where `FTK_UPDATE_SNAPSHOTS` is set.

    Raises:
        AssertionError: they differ, or there is no such picture; says how the texts differ, and where the new one lies.

    """
    seen, kept = picture(app), FOLDER / f"{name}.svg"
    if os.environ.get(UPDATE):
        FOLDER.mkdir(exist_ok=True)
        kept.write_text(seen, encoding="utf-8")
        return
    before = kept.read_text(encoding="utf-8") if kept.exists() else ""
    if seen == before or (before and cells(seen) == cells(before)):
        return
    new = Path(os.environ.get("TMPDIR", "/tmp")) / "ftk-snapshots" / f"{name}.svg"
    new.parent.mkdir(exist_ok=True)
    new.write_text(seen, encoding="utf-8")
    lines = text(before).splitlines(), text(seen).splitlines()
    how = list(difflib.unified_diff(*lines, str(kept), str(new), n=1, lineterm=""))
    raise AssertionError("\n".join(how or [f"{new} differs from {kept} in its colours."]))
