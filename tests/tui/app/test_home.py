"""The list of runs: what it shows, and what its keys do with a run of every state."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftk import files, resume
from ftk.errors import RunError, UsageError
from ftk.events import Warned
from ftk.resume import Resumption
from ftk.run_list import RunSummary
from ftk.runs import RunFolder
from ftk_tui.widgets.run_table import RunTable
from tests import run_folders

from .harness import LARGE, SIZES, SMALL, FakeEngine, drive, footer, plan, said, text, until

STARTED, FINISHED = run_folders.started(), run_folders.finished()


@pytest.fixture
def runs() -> Path:
    """The folder of the runs, with one of each kind."""
    parent = files.runs_dir()
    before = run_folders.evaluation(0, 3.0)
    steps = [run_folders.step(number) for number in range(1, 43)]
    run_folders.make(parent, "done", STARTED, before, *steps, run_folders.evaluation(100, 1.5), FINISHED)
    run_folders.make(parent, "stopped", STARTED, before, *steps, run_folders.STOPPED)
    run_folders.make(parent, "failed", STARTED, before, *steps, run_folders.FAILED)
    run_folders.make(parent, "cut", STARTED, before, *steps, data="[bold]odd[/x] \x1b[31m.jsonl")
    (parent / "broken").mkdir()
    (parent / "broken" / "run.json").write_text("{")
    return parent


@pytest.fixture
def running(runs: Path) -> Iterator[FakeEngine]:
    """One more, which goes on in what the app takes for another process."""
    engine = FakeEngine()
    engine.session().start(plan(name="going-on"))
    engine.runner.steps(7)
    yield engine
    engine.close()


async def listed(pilot: Pilot[int]) -> Any:
    """Wait for the runs; returns the app."""
    app: Any = pilot.app
    await until(pilot, lambda: app.screen.query(RunTable) and app.screen.query_one(RunTable).row_count > 1)
    return app


async def mark(pilot: Pilot[int], name: str) -> None:
    """Move the cursor to a run, by keys."""
    table = pilot.app.screen.query_one(RunTable)
    await pilot.press("home", *["up"] * table.row_count)
    for _ in range(table.row_count):
        if table.marked == name:
            break
        await pilot.press("down")
    await until(pilot, lambda: table.marked == name)


@pytest.mark.parametrize("size", SIZES)
def test_runs_are_listed_with_state_losses_and_age(size: tuple[int, int], running: FakeEngine) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        lines = text(app).splitlines()
        rows = {line.split()[0]: line for line in lines if line.strip()}
        assert "▶ running" in rows["going-on"]
        assert "7/100" in rows["going-on"]
        assert "✓ finished" in rows["done"]
        assert "3.000 → 1.500" in rows["done"]
        assert "■ stopped" in rows["stopped"]
        assert "42/100" in rows["stopped"]
        assert "✗ failed" in rows["failed"]
        assert "! interrupted" in rows["cut"]
        assert "✗ damaged" in rows["broken"]
        assert ("[bold]odd[/x] \\x1b[31m" in rows["cut"]) == (size == LARGE)
        assert all(len(line) <= size[0] for line in lines)

    drive(test, size=size)


def test_the_cursor_begins_where_somebody_is_waited_for(running: FakeEngine) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        assert app.screen.query_one(RunTable).marked == "going-on"
        assert "follows it" in said(app)
        assert {"f", "i"} <= set(footer(app))
        assert not {"c", "o", "d"} & set(footer(app))

    drive(test)


@pytest.mark.parametrize(
    ("name", "keys", "words"),
    [
        ("done", {"o", "i", "d"}, "asks base and tuned model"),
        ("stopped", {"c", "o", "i", "d"}, "continues it after step 42"),
        ("failed", {"c", "i", "d"}, "no memory"),
        ("cut", {"c", "i", "d"}, r"gpt2 on [bold]odd[/x] \x1b[31m.jsonl, step 42 of 100"),
        ("broken", {"i", "d"}, "shows what is known of it"),
        (None, set(), "choose a model and data"),
    ],
)
def test_every_state_has_its_keys_and_its_words(name: str, keys: set[str], words: str, runs: Path) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, name)
        await until(pilot, lambda: words in said(app))
        assert set(footer(app)) & {"c", "f", "o", "i", "d"} == keys

    drive(test)


def test_without_runs_enter_begins_one() -> None:
    async def test(pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "No runs here yet" in text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.current_mode == "model")
        await pilot.press("0", "n")
        await until(pilot, lambda: pilot.app.current_mode == "model")

    drive(test)


@pytest.mark.parametrize("key", ["enter", "f"])
def test_a_run_that_goes_on_is_followed(key: str, running: FakeEngine) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, "going-on")
        await pilot.press(key)
        await until(pilot, lambda: app.current_mode == "train")
        await until(pilot, lambda: list(app.session.series.steps) == list(range(1, 8)))
        assert not app.session.own
        assert app.wizard.run == "going-on"

    drive(test)


@pytest.mark.parametrize("key", ["enter", "o"])
def test_a_finished_run_is_compared(key: str, runs: Path) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, "done")
        await pilot.press(key)
        await until(pilot, lambda: app.current_mode == "compare")
        await until(pilot, lambda: app.session.state == "finished")
        assert app.wizard.run == "done"

    drive(test)


def test_the_run_of_this_process_is_shown_and_not_followed(runs: Path) -> None:
    engine = FakeEngine()

    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        app.session.start(plan(name="mine"))
        await until(pilot, lambda: "mine" in said(app))
        await mark(pilot, "mine")
        assert "Enter shows it." in said(app)
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "train")
        assert app.session.own
        await pilot.press("0")
        await mark(pilot, "done")
        await pilot.press("o")  # while one trains, others can be compared and not followed
        await until(pilot, lambda: app.current_mode == "compare")
        assert app.session.own
        assert app.wizard.run == "done"
        await pilot.press("0")
        await mark(pilot, "stopped")
        await pilot.press("c")
        await until(pilot, lambda: "A run of this app goes on" in said(app))
        engine.runner.finish()
        await until(pilot, lambda: app.session.state == "finished")
        assert app.session.own  # its model is still in memory

    drive(test, engine=engine)


# Continue


def prepared(remarks: list[Warned]) -> Callable[..., Resumption]:
    def prepare(name: str, *, override: bool = False) -> Resumption:
        return Resumption(RunFolder(Path(name)), plan(), tuple(remarks))

    return prepare


@pytest.mark.parametrize("size", SIZES)
def test_an_interrupted_run_is_gone_on_with_after_its_differences_were_shown(
    size: tuple[int, int], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    remarks = [Warned(code="hardware", message="cpu: [/x] then, another now.", hint="Digits may differ.")]
    monkeypatch.setattr(resume, "prepare", prepared(remarks))

    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, "cut")
        await pilot.press("c")
        await until(pilot, lambda: "Continue cut?" in said(app))
        assert "! cpu: [/x] then, another now. Digits may differ." in said(app)
        assert "after step 42 of 100" in said(app)
        await pilot.press("n")
        await until(pilot, lambda: "This machine" in text(app))
        assert not engine.runners
        await pilot.press("enter")
        await until(pilot, lambda: "Continue cut?" in said(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "train")
        assert engine.runner.run is not None
        assert engine.runner.run.path == runs / "cut"
        assert app.wizard.run == "cut"

    drive(test, engine=engine, size=size)


def test_without_differences_that_is_said(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "prepare", prepared([]))

    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, "stopped")
        await pilot.press("c")
        await until(pilot, lambda: "are what they were when it began" in said(app))

    drive(test)


def test_a_run_that_differs_is_refused_and_taken_on_request(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, asked = FakeEngine(), list[bool]()

    def prepare(name: str, *, override: bool = False) -> Resumption:
        asked.append(override)
        if not override:
            raise RunError("The rows of [b]'cut' changed.", hint="Put them back, or: ftk resume cut --override")
        return prepared([])(name)

    monkeypatch.setattr(resume, "prepare", prepare)

    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, "cut")
        await pilot.press("c")
        await until(pilot, lambda: "cut does not go on like this" in said(app))
        assert "The rows of [b]'cut' changed." in said(app)
        await pilot.press("t")
        await until(pilot, lambda: "Continue cut?" in said(app))
        assert asked == [False, True]

    drive(test, engine=engine)


def test_a_run_that_cannot_go_on_says_why_and_offers_nothing(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(name: str, *, override: bool = False) -> Resumption:
        raise UsageError("The weights were made with other settings.", hint="Start a new run with them.")

    monkeypatch.setattr(resume, "prepare", prepare)

    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, "failed")
        await pilot.press("c")
        await until(pilot, lambda: "failed does not go on like this" in said(app))
        assert "Take what is different" not in said(app)
        await pilot.press("enter")
        await until(pilot, lambda: "This machine" in text(app))

    drive(test)


def test_a_fault_while_preparing_is_told_and_ends_nothing(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(name: str, *, override: bool = False) -> Resumption:
        raise ValueError("unforeseen")

    monkeypatch.setattr(resume, "prepare", prepare)

    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, "cut")
        await pilot.press("c")
        await until(pilot, lambda: "ValueError: unforeseen" in said(app))

    drive(test)


def test_one_run_is_looked_at_at_a_time_while_the_app_goes_on(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, calls = threading.Event(), list[str]()

    def prepare(name: str, *, override: bool = False) -> Resumption:
        calls.append(name)
        go.wait(60)
        raise RunError("No.")

    monkeypatch.setattr(resume, "prepare", prepare)

    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, "cut")
        await pilot.press("c")
        await until(pilot, lambda: "Looking at the settings" in said(app))
        await pilot.press("c", "1")
        await until(pilot, lambda: app.current_mode == "model")
        await pilot.press("0")
        assert len(calls) == 1
        go.set()
        await until(pilot, lambda: "cut does not go on like this" in said(app))

    drive(test)


# Details and deleting


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["done", "broken", "failed"])
def test_everything_about_a_run_is_shown(name: str, size: tuple[int, int], runs: Path) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, name)
        await pilot.press("i")
        state = {"done": "finished", "broken": "damaged"}.get(name, name)
        await until(pilot, lambda: f"State {state}" in said(app))
        if name == "failed":
            assert "no memory" in said(app)
        if name == "done":
            assert "learning_rate = 0.001" in said(app)
        assert "Close" in text(app)
        await pilot.press("escape")
        await until(pilot, lambda: "This machine" in text(app))

    drive(test, size=size)


def test_a_run_is_deleted_after_a_question(runs: Path) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, "stopped")
        for keep in ("enter", "n", "escape"):
            await pilot.press("d")
            await until(pilot, lambda: "Delete this run?" in said(app))
            assert "stopped: stopped, step 42 of 100" in said(app)
            await pilot.press(keep)
            await until(pilot, lambda: "This machine" in text(app))
        assert (runs / "stopped").exists()
        await pilot.press("delete")
        await until(pilot, lambda: "Delete this run?" in said(app))
        await pilot.press("y")
        await until(pilot, lambda: not (runs / "stopped").exists())
        await until(pilot, lambda: app.screen.query_one(RunTable).row_count == 5)
        assert "Deleted stopped." in said(app)

    drive(test)


def test_what_is_no_run_is_not_deleted(runs: Path) -> None:
    """A run that somebody took since it was listed."""

    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, "cut")
        with RunFolder(runs / "cut").locked():
            await pilot.press("d")
            await until(pilot, lambda: "That did not work" in said(app))
        assert (runs / "cut").exists()

    drive(test)


# News


def test_what_other_processes_do_appears_and_the_cursor_stays(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftk_tui.screens.home._LOOK_EVERY_S", 0.05)
    engine = FakeEngine()

    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        await mark(pilot, "stopped")
        engine.session().start(plan(name="new-one"))
        engine.runner.steps(3)
        await until(pilot, lambda: "▶ running" in text(app))
        assert app.screen.query_one(RunTable).marked == "stopped"
        engine.runner.steps(3)
        await until(pilot, lambda: "6/100" in text(app))
        engine.runner.finish()
        await until(pilot, lambda: text(app).count("✓ finished") == 2)
        assert app.screen.query_one(RunTable).marked == "stopped"

    drive(test)
    engine.close()


def test_only_what_changed_is_drawn_again(runs: Path) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        table = app.screen.query_one(RunTable)
        updates: list[object] = []
        table.update_cell = lambda *cell: updates.append(cell[:2])
        table.clear = lambda **_: updates.append("all")
        app.screen._look()
        await until(pilot, lambda: not app.screen._looking)
        assert updates == []

    drive(test)


def test_a_thousand_runs_are_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [
        RunSummary(name=f"run-{number}", path=Path(f"run-{number}"), state="finished", updated=1e9 - number)
        for number in range(1000)
    ]
    monkeypatch.setattr("ftk_tui.screens.home._all_runs", lambda: many)

    async def test(pilot: Pilot[int]) -> None:
        app = await listed(pilot)
        assert app.screen.query_one(RunTable).row_count == 501
        assert "500 older ones: `ftk runs`" in said(app)
        await pilot.press("end")
        await until(pilot, lambda: app.screen.query_one(RunTable).marked == "run-499")

    drive(test, size=SMALL)


def test_a_folder_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses() -> list[RunSummary]:
        raise RunError("The disk is [gone].")

    monkeypatch.setattr("ftk_tui.screens.home._all_runs", refuses)

    async def test(pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "The disk is [gone]." in said(pilot.app))

    drive(test)
