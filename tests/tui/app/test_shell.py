"""The shell of the app: ways from screen to screen, keys, help, palette, settings shown and kept, leaving."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ftk import files, recipes
from ftk.config import build
from ftk.events import CheckpointSaved
from ftk_tui.app import FtkApp
from ftk_tui.glossary import TERMS, matching
from ftk_tui.palette import commands
from ftk_tui.preferences import Preferences, counterpart, suited
from ftk_tui.screens.base import ORDER
from ftk_tui.screens.dialogs import AskFileName, AskText, Choose, Confirm
from ftk_tui.wizard import Wizard

from .harness import SIZES, SMALL, WITH_CARD, FakeEngine, drive, footer, plan, said, text, toasts, typed, until


def test_importing_the_app_loads_nothing_heavy() -> None:
    code = (
        "import sys, ftk_tui.app, ftk_tui.launch, ftk_tui.screens.home\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'numpy', 'pydantic', 'psutil', 'yaml'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("size", SIZES)
def test_numbers_clicks_and_keys_lead_from_screen_to_screen(size: tuple[int, int]) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = pilot.app
        for number, name in [*enumerate(ORDER), (0, "home")]:
            await pilot.press(str(number))
            await until(pilot, lambda name=name: app.current_mode == name)
        await pilot.click("StepBar", offset=(text(app).splitlines()[0].index("2 Dataset") + 3, 0))
        await until(pilot, lambda: app.current_mode == "dataset")
        await pilot.press("escape")
        await until(pilot, lambda: app.current_mode == "model")
        await pilot.press("escape")
        await until(pilot, lambda: app.current_mode == "home")
        await pilot.press("escape")
        await pilot.pause()
        assert app.current_mode == "home"

    drive(test, size=size)


def test_what_machine_this_is_comes_when_it_is_known() -> None:
    async def test(pilot: Pilot[int]) -> None:
        await until(pilot, lambda: "This machine: NVIDIA Test 24 (24.0 GiB)" in text(pilot.app))
        assert "NVIDIA Test 24" in text(pilot.app).splitlines()[0]

    drive(test, hardware=WITH_CARD)


def test_a_run_is_told_of_on_every_screen_and_its_end_where_train_is_not_shown() -> None:
    engine = FakeEngine()

    async def test(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        app.session.start(plan())
        engine.runner.steps(5)
        await until(pilot, lambda: "▶ training 5/100" in text(app))
        engine.runner.pause()
        await until(pilot, lambda: "‖ paused 5/100" in text(app))
        await pilot.press("4")
        await until(pilot, lambda: app.current_mode == "compare" and "‖ paused 5/100" in text(app))
        engine.runner.proceed()
        engine.runner.finish()
        await until(pilot, lambda: "✓ finished" in text(app))
        await until(pilot, lambda: "The run is finished" in text(app))

    drive(test, engine=engine)


# Help, palette, settings


@pytest.mark.parametrize("size", SIZES)
def test_help_explains_the_screen_its_keys_and_the_terms(size: tuple[int, int]) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = pilot.app
        await pilot.press("question_mark")
        await until(pilot, lambda: "Help: Home" in text(app))
        assert "Begin a new run" in text(app)
        await pilot.press("slash")
        await typed(pilot, "rank")
        await until(pilot, lambda: "How wide the matrices" in text(app))
        assert "Begin a new run" not in text(app)
        await typed(pilot, " nonsense")
        await until(pilot, lambda: "No such term" in text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "This machine" in text(app))
        await pilot.press("f1")
        await until(pilot, lambda: "Help: Home" in text(app))
        await pilot.press("q")  # leaves the help, not the app
        await until(pilot, lambda: "This machine" in text(app))

    drive(test, size=size)


def test_the_terms_a_beginner_asks_for_are_explained() -> None:
    for term in ("LoRA", "rank", "alpha", "learning rate", "epoch", "held-out", "NF4", "QLoRA", "token", "loss"):
        assert term in TERMS
    assert list(TERMS) == sorted(TERMS, key=str.casefold)
    assert next(iter(matching("RANK"))) == "rank"
    assert "alpha" in matching("rank divided")
    assert matching("") == TERMS
    assert not matching("no such thing")


def test_the_palette_offers_what_works_now_and_does_it() -> None:
    async def test(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await until(pilot, lambda: "No runs here yet" in text(app))
        names = {command.title for command in commands(app, app.screen)}
        assert {"Go to Train", "Show as command", "Save as preset", "Light or dark", "Help", "Quit", "New"} <= names
        assert {"Theme", "Screenshot"} <= names
        assert not {"Delete", "Continue", "Follow", "Next field"} & names  # there is no run to do it with
        await pilot.press("ctrl+p")
        await typed(pilot, "go to train")
        await until(pilot, lambda: "Go to Train" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "train")
        names = {command.title for command in commands(app, app.screen)}
        assert "New" not in names

    drive(test)


def test_the_settings_are_shown_as_a_command_and_saved_as_a_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    wizard = Wizard(build({"model": "gpt2", "learning_rate": 1e-3}))
    copied: list[str] = []

    async def test(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
        await pilot.press("f2")
        await until(pilot, lambda: "ftk --model gpt2 --learning-rate 0.001" in text(app))
        await pilot.press("c")
        await until(pilot, lambda: "OSC 52" in text(app))
        assert copied == ["ftk --model gpt2 --learning-rate 0.001"]
        await pilot.press("p")
        await until(pilot, lambda: "Save the settings as a preset" in text(app))
        await typed(pilot, "mine")
        await pilot.press("enter")
        await until(pilot, lambda: "ftk --preset mine" in text(app))
        assert recipes.load("mine").config.learning_rate == 1e-3
        await pilot.press("f3")
        await until(pilot, lambda: "Save the settings as a preset" in text(app))
        await typed(pilot, "mine")
        await pilot.press("enter")
        await until(pilot, lambda: "exists. Choose another name." in said(app))
        await pilot.press("escape")
        await until(pilot, lambda: "This machine" in text(app))

    drive(test, wizard=wizard)


def test_a_preset_that_cannot_be_written_is_said() -> None:
    files.config_dir().mkdir(parents=True)
    (files.config_dir() / "presets").write_text("in the way")

    async def test(pilot: Pilot[int]) -> None:
        await pilot.press("f3")
        await until(pilot, lambda: pilot.app.screen.query("#answer"))
        await typed(pilot, "mine")
        await pilot.press("enter")
        await until(pilot, lambda: any("could not be written" in toast for toast in toasts(pilot.app)))

    drive(test)


# Themes


def test_the_theme_is_switched_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        assert app.theme == "textual-dark"
        await pilot.press("f4")
        assert app.theme == "textual-light"
        await until(pilot, lambda: Preferences.restored().theme == "textual-light")

    drive(test)

    async def again(pilot: Pilot[int]) -> None:
        assert pilot.app.theme == "textual-light"

    drive(again)


def test_a_terminal_of_16_colours_gets_its_own_theme() -> None:
    themes: dict[str, object] = dict.fromkeys(("textual-dark", "ansi-dark", "ansi-light", "nord"))
    assert suited("", themes, "standard") == "ansi-dark"
    assert suited("", themes, "truecolor") == "textual-dark"
    assert suited("nord", themes, "standard") == "nord"
    assert suited("gone", themes, "256") == "textual-dark"
    assert counterpart("ansi-dark", dark=True) == "ansi-light"
    assert counterpart("textual-light", dark=False) == "textual-dark"
    assert counterpart("nord", dark=True) == "textual-light"


def test_preferences_that_are_damaged_are_none(home: Path) -> None:
    files.config_dir().mkdir()
    for damaged in ("", "{", "[]", "7", '{"theme": 7}', '{"theme": null, "mouse": false}'):
        (files.config_dir() / "app.json").write_text(damaged)
        assert Preferences.restored().theme == ""
    assert Preferences.restored().mouse is False


# Dialogs


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (["y"], "y"),
        (["n"], "n"),
        (["escape"], None),
        (["enter"], "n"),
        (["right", "enter"], "y"),
        (["tab", "enter"], "y"),
    ],
)
def test_a_question_that_loses_something_begins_on_no(
    size: tuple[int, int], keys: list[str], answer: str | None
) -> None:
    answers: list[str | None] = []

    async def test(pilot: Pilot[int]) -> None:
        dialog = Confirm("Lose [b]it[/b]?", "All of [/x] it.\x1b[31m", danger=True)
        pilot.app.push_screen(dialog, answers.append)
        await until(pilot, lambda: "Lose [b]it[/b]?" in text(pilot.app))
        assert r"All of [/x] it.\x1b[31m" in text(pilot.app)
        await pilot.press(*keys)
        await until(pilot, lambda: answers)

    drive(test, size=size)
    assert answers == [answer]


def test_a_harmless_question_begins_on_yes_and_can_be_clicked() -> None:
    answers: list[str | None] = []

    async def test(pilot: Pilot[int]) -> None:
        pilot.app.push_screen(Confirm("Go on?"), answers.append)
        await until(pilot, lambda: "Go on?" in text(pilot.app))
        await pilot.press("enter")
        pilot.app.push_screen(Choose("Which?", "", [("a", "One"), ("b", "Two")]), answers.append)
        await until(pilot, lambda: "Which?" in text(pilot.app))
        await pilot.click("#answer-b")
        await until(pilot, lambda: len(answers) == 2)

    drive(test)
    assert answers == ["y", "b"]


def test_a_line_of_text_is_checked_as_it_is_typed() -> None:
    answers: list[str | None] = []

    async def test(pilot: Pilot[int]) -> None:
        check = lambda value: "" if value.isdigit() else f"[b]{value}[/] is no number."  # noqa: E731
        pilot.app.push_screen(AskText("How many?", check=check), answers.append)
        await until(pilot, lambda: "How many?" in text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "Type something" in text(pilot.app))
        await typed(pilot, "12x")
        await until(pilot, lambda: "[b]12x[/] is no number." in text(pilot.app))
        await pilot.press("enter")
        assert not answers
        await pilot.press("backspace", "1")  # digits are text here, and lead nowhere
        assert pilot.app.screen.query_one(Input).value == "121"
        await pilot.press("enter")
        await until(pilot, lambda: answers)

    drive(test)
    assert answers == ["121"]


def test_the_name_of_a_file_is_looked_at(home: Path) -> None:
    (home / "there.yaml").write_text("")
    asked = AskFileName("Save", suffix=".yaml", folder=home / "presets")
    assert asked.problem("new") == ""
    assert asked.path("new") == home / "presets" / "new.yaml"
    assert asked.path("my.model") == home / "presets" / "my.model.yaml"
    assert asked.path("./here.yaml") == Path("./here.yaml")
    assert "exists" in asked.problem("./there")
    assert "no folder" in asked.problem("./missing/x")
    assert "cannot be a file" in asked.problem("./a\0b")
    assert asked.problem("  ")
    assert AskFileName("Save", suffix=".yaml", overwrites=True).problem("there") == ""
    (home / "folder.yaml").mkdir()
    assert "is a folder" in AskFileName("Save", suffix=".yaml", overwrites=True).problem("folder")


# Sizes


def test_a_small_terminal_gets_a_notice_until_it_is_larger() -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = pilot.app
        await until(pilot, lambda: "60 columns and 20 lines" in text(app))
        await pilot.resize_terminal(70, 22)
        await until(pilot, lambda: "70 columns and 22 lines" in text(app))
        await pilot.resize_terminal(*SMALL)
        await until(pilot, lambda: "This machine" in text(app))
        await pilot.resize_terminal(79, 24)
        await until(pilot, lambda: "ftk needs 80 and 24" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "This machine" in text(app))

    drive(test, size=(60, 20))


# Leaving


@pytest.mark.parametrize("key", ["q", "ctrl+q", "ctrl+c"])
def test_without_a_run_the_app_is_left_at_once_and_keeps_its_settings(key: str) -> None:
    async def test(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        app.wizard.choose(model="gpt2")
        await pilot.press("3")
        await until(pilot, lambda: app.current_mode == "train")
        await pilot.press(key)

    app = drive(test)
    assert app.return_value == 0
    kept = Wizard.restored()
    assert kept.settings.model == "gpt2"
    assert kept.step == "train"


def test_changing_the_screen_keeps_the_settings() -> None:
    async def test(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        app.wizard.choose(model="gpt2")
        await pilot.press("2")
        await until(pilot, lambda: Wizard.restored().settings.model == "gpt2")
        assert json.loads((files.config_dir() / "wizard.json").read_text())["step"] == "dataset"

    drive(test)


@pytest.mark.parametrize("size", SIZES)
def test_a_run_that_goes_on_is_asked_about(size: tuple[int, int]) -> None:
    engine = FakeEngine()

    async def test(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        app.session.start(plan(name="mine"))
        engine.runner.steps(3)
        for leave in ("q", "ctrl+q", "ctrl+c"):
            for stay in ("escape", "enter", "c"):
                await pilot.press(leave)
                await until(pilot, lambda: "Train on in the background" in text(app))
                await pilot.press(leave)  # asks no second time
                await pilot.press(stay)
                await until(pilot, lambda: "Train on in the background" not in text(app))
        assert engine.runner.asked == []
        assert app.is_running

    drive(test, engine=engine, size=size)


def test_a_run_is_left_to_go_on() -> None:
    engine = FakeEngine()

    async def test(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        app.session.start(plan())
        await pilot.press("q")
        await until(pilot, lambda: "Train on in the background" in text(app))
        await pilot.press("b")

    app = drive(test, engine=engine)
    assert app.left == "background"
    assert engine.runner.asked[:1] != ["stop"] or engine.runner.join(0)


def test_save_and_stop_waits_for_the_run_and_leaves() -> None:
    engine = FakeEngine()

    async def test(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        app.session.start(plan())
        engine.runner.steps(3)
        await pilot.press("q")
        await until(pilot, lambda: "Save and stop" in text(app))
        await pilot.press("s")
        await until(pilot, lambda: "■ stopping 3/100" in text(app))
        assert engine.runner.asked == ["stop"]
        assert app.is_running
        path = str(engine.runner.run.path / "checkpoints" / "step-000003")
        engine.runner.tell(CheckpointSaved(step=3, path=path, bytes=1, seconds=0.1))
        engine.runner.stopped()
        await until(pilot, lambda: app.return_value is not None)

    assert drive(test, engine=engine).return_value == 75


def test_a_run_of_another_process_is_left_without_a_question() -> None:
    async def test(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        engine = FakeEngine()
        other = engine.session()
        other.start(plan(name="other"))
        app.session.follow(engine.runner.run)
        await until(pilot, lambda: "▶" in text(app))
        await pilot.press("q")
        await pilot.pause()
        assert engine.runner.asked == []
        engine.close()

    assert drive(test).return_value == 0


def test_a_fault_ends_the_app_in_order() -> None:
    async def test(pilot: Pilot[int]) -> None:
        pilot.app.call_later(lambda: 1 / 0)
        await pilot.pause()

    app = FtkApp(Wizard(), FakeEngine().session())
    with pytest.raises(ZeroDivisionError):
        drive(test, app=app)
    assert isinstance(app.fault, ZeroDivisionError)


def test_the_footer_shows_what_works_now() -> None:
    async def test(pilot: Pilot[int]) -> None:
        app = pilot.app
        await until(pilot, lambda: "No runs here yet" in text(app))
        assert set(footer(app)) >= {"n", "question_mark", "q"}
        assert not {"c", "f", "o", "i", "d", "escape"} & set(footer(app))
        await pilot.press("3")
        await until(pilot, lambda: app.current_mode == "train" and "escape" in footer(app))

    drive(test)
