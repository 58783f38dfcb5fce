"""The app as a whole: from the start through a real training to the comparison; memory; how smooth it is."""

from __future__ import annotations

import gc
import json
import os
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.pilot import Pilot
from textual.widgets._footer import FooterKey

from ftk import files
from ftk.config import build
from ftk.evaluation import comparisons
from ftk.events import Finished
from ftk.runs import RunFolder
from ftk_tui.session import Session
from ftk_tui.wizard import Wizard
from tests import tiny
from tests.core.training.helpers import DEFAULTS
from tests.pseudo_terminal import PseudoTerminal, until

from . import fake_pair, snapshots
from .harness import NoSampler, drive, loop_gaps, quantile, said
from .harness import until as until_shown

SWITCHES = int(os.environ.get("FTK_SOAK_SWITCHES", "250"))  # what leaked once, a quarter of a megabyte each, shows
Folder = Callable[..., Path]


def rows(home: Path) -> Path:
    data = home / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
    return data


def words(terminal: PseudoTerminal) -> str:
    """What was written, without escapes."""
    return re.sub(r"\x1b\[[0-9;?<>=$]*[a-zA-Z]|\x1b[()][0-9A-B]|\x1b[=>78]", "", terminal.output)


@pytest.mark.slow
def test_from_the_start_through_a_training_to_the_comparison(home: Path, model_folder: Folder) -> None:
    run = RunFolder(files.runs_dir() / "mine")
    settings = ["--model", str(model_folder()), "--data", str(rows(home)), "--max-steps", "12", "--name", "mine"]
    settings += ["--device", "cpu", "--eval-fraction", "0.25", "--compare", "none", "--tui"]
    environment = {"COLORTERM": "truecolor", "TERM": "xterm-256color"}
    command = (sys.executable, "-m", "ftk_tui")
    with PseudoTerminal(settings, environment, command=command) as terminal:
        before = terminal.modes
        until(lambda: "4 Compare" in words(terminal))
        for key, screen in (("2", "Dataset"), ("3", "Enter plans and starts")):
            terminal.press(key)
            until(lambda screen=screen: screen in words(terminal))
        terminal.press("\r")
        until(lambda: run.journal_file.exists() and any(isinstance(event, Finished) for event in run.events()))
        until(lambda: "is done" in words(terminal))
        terminal.press("\r")
        until(lambda: "Enter asks both" in words(terminal))
        terminal.press("\r")
        until(lambda: comparisons.folder(run).is_dir() and list(comparisons.folder(run).glob("*.jsonl")))
        until(lambda: "the model in memory is asked" in words(terminal))  # nothing was loaded a second time
        terminal.press("q")
        assert terminal.wait() == 0
        assert terminal.modes == before
    (path,) = comparisons.folder(run).glob("*.jsonl")
    made = comparisons.read(path)
    assert made.labels == ["base", "mine"]
    assert all(answer["tokens"] for answer in made.answers[0]["answers"].values())


async def switched(pilot: Pilot[int], times: int) -> None:
    """Go to and fro between two screens, each of which is drawn; then let go of what can be let go of."""
    for number in range(times):
        pilot.app.go(("train", "compare")[number % 2])  # type: ignore[attr-defined]
        await pilot.pause()
    await until_shown(pilot, lambda: pilot.app.current_mode == "compare" and "[1/8]" in said(pilot.app))
    gc.collect()


def on_two_screens(test: Callable[[Pilot[int]], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the app with a run to compare."""
    fake_pair.run()
    fake_pair.use(monkeypatch)
    wizard = Wizard()
    wizard.run = "mine"
    drive(test, wizard=wizard)


def test_keys_that_are_no_longer_shown_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(pilot: Pilot[int]) -> None:
        await switched(pilot, 20)
        assert sum(type(thing) is FooterKey for thing in gc.get_objects()) < 100

    on_two_screens(test, monkeypatch)


@pytest.mark.slow
def test_switches_between_screens_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    async def test(pilot: Pilot[int]) -> None:
        for times in (60, SWITCHES):  # after the first ones everything is there that is kept for good
            await switched(pilot, times)
            sizes.append(psutil.Process().memory_info().rss)

    on_two_screens(test, monkeypatch)
    assert sizes[1] - sizes[0] < 20_000_000, sizes


@pytest.mark.slow
def test_the_event_loop_stays_smooth_while_a_training_goes_on(home: Path, model_folder: Folder) -> None:
    """Compared with the same loop at rest in the same run, with a wide margin: machines differ, and so do moments."""
    settings = {**DEFAULTS, "max_steps": 200, "model": str(model_folder()), "data": str(rows(home)), "name": "mine"}
    found: dict[str, list[float]] = {}
    session = Session(sample=lambda listener, device: NoSampler())

    async def test(pilot: Pilot[int]) -> None:
        from ftk import autoconfig

        made = autoconfig.plan(build(settings))
        import ftk.training.loop  # noqa: F401 - the import has gaps of its own, see benchmarks/app.py

        await pilot.press("3")
        found["idle"] = await loop_gaps(2.0)
        session.start(made)
        await until_shown(pilot, lambda: session.series.steps)
        found["training"] = await loop_gaps(2.0)
        assert session.active or session.state == "finished"
        session.stop(save=False)
        await until_shown(pilot, lambda: not session.active)

    drive(test, session=session, wizard=Wizard(build(settings)))
    idle, training = (quantile(found[name], 0.9) for name in ("idle", "training"))
    assert training < 10 * idle + 0.1, f"90 % of the gaps were under {training:.3f} s, and {idle:.3f} s at rest"


def test_the_pictures_are_drawn_from_the_app_and_those_that_pages_show_are_there(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    script = runpy.run_path(str(root / "docs" / "make_pictures.py"))
    script["main"](tmp_path)
    shown = {"model": "★", "dataset": "sample:chat", "train": "step 64 of 100", "compare": "Pine Points"}
    for name, words in shown.items():
        assert words in snapshots.text((tmp_path / f"{name}.svg").read_text(encoding="utf-8")), name
    for page in (root / "README.md", *(root / "docs").glob("*.md")):
        for name in re.findall(r"[\w/]*pictures/(\w+)\.svg", page.read_text()):
            assert (root / "docs" / "pictures" / f"{name}.svg").is_file(), f"{page.name}: {name}"
    assert {path.stem for path in (root / "docs" / "pictures").glob("*.svg")} >= set(script["NAMES"])
