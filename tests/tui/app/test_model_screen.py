"""The Model screen: the list and its search, what is typed, the panel, the settings, and how it looks.

The estimates and the automatic settings are stand-ins, so that pictures change only when the screen does; one test
looks with the engine's own.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import Static

from ftk import autoconfig, catalog, fitting
from ftk.autoconfig import Plan
from ftk.config import RunConfig, build
from ftk.errors import ModelError, UsageError
from ftk.estimate import TimeEstimate
from ftk.fitting import Fit
from ftk.memory import Breakdown, Settings
from ftk.memory.models import Described, describe
from ftk.models.sources import Source
from ftk_tui import candidates, outlook
from ftk_tui.screens.model import ModelScreen
from ftk_tui.setting_fields import fields
from ftk_tui.widgets.memory_view import rows_of
from ftk_tui.widgets.setting_table import SettingTable
from ftk_tui.widgets.settings_view import SettingsView
from ftk_tui.wizard import Wizard

from . import snapshots
from .harness import CPU, GIB, LARGE, SIZES, WITH_CARD, drive, footer, said, text, toasts, typed, until

_ESTIMATE = import_module("ftk.estimate.outlook")  # a function of the package has the same name


def resolved(config: RunConfig, hardware: Any, source: Source, dataset: Any) -> Plan:
    """In place of `autoconfig.resolve`."""
    if config.quantization == "8bit" and not hardware.gpus:
        raise UsageError("--quantization 8bit needs an NVIDIA GPU.", hint="Use nf4 or none on a CPU.")
    values: dict[str, tuple[Any, str]] = {
        "quantization": ("none", "it fits as it is"),
        "precision": ("bfloat16" if hardware.gpus else "float32", "what the hardware multiplies natively"),
        "device": ("cuda" if hardware.gpus else "cpu", "the only one"),
        "gradient_checkpointing": (False, "there is room"),
        "learning_rate": (2e-4, "a usual rate for adapters"),
        "lora_rank": (16, "the catalogue's"),
        "max_steps": (33, "3 epochs of 44 rows, 4 rows a step"),
    }
    open_ones = {key: pair for key, pair in values.items() if getattr(config, key) in ("auto", None)}
    config = config.merged({key: value for key, (value, _) in open_ones.items()})
    reasons = {key: reason for key, (_, reason) in open_ones.items()}
    return Plan(config, source, dataset, hardware, reasons, fit=fitted(config, hardware, source))


def fitted(config: RunConfig, hardware: Any, source: Source) -> Fit | None:
    """The memory of a plan, and the nearest that fits; None for a model that nobody knows."""
    space = fitting.space_of(hardware, config.device)
    if source.size is None or space is None:
        return None
    shape, made = Described(source.name, {"weights": source.size}, source.entry), Settings.of(config)
    fit = Fit(made, space.needed(shape, made), space)
    gentler = dataclasses.replace(made, gradient_checkpointing=True)
    fits = space.needed(shape, gentler).process <= space.usable
    return fit if fit.fits or not fits else dataclasses.replace(fit, nearest=gentler)


def estimated(self: Any, model: Described, made: Settings) -> Breakdown:
    """In place of the estimate: grows with the weights, the rows and their length."""
    size = model.entry.weights if model.entry else model.values["weights"]
    weights, tokens = int(size * (0.6 if made.quantization == "nf4" else 2)), made.batch_size * made.max_length
    return Breakdown(
        model=model.name, device="cpu", settings=made, basis="formula", moment="backward", weights=weights, unpacked=0,
        adapters=weights // 40, masters=0, optimizer=weights // 20, gradients=weights // 40,
        activations=tokens * 2**20 // (4 if made.gradient_checkpointing else 1), loss=tokens * 2**16, workspace=0,
        batch=0, context=GIB // 2, fragmentation=GIB // 10,
    )  # fmt: skip


def nobody_knows(plan: Plan, **_: Any) -> TimeEstimate:
    """In place of the time."""
    raise ModelError("Nobody knows.")


def minutes(plan: Plan, **_: Any) -> TimeEstimate:
    """A minute for every 20 million weights, and a tenth of that on a card."""
    seconds = (plan.source.size or 0) / 2e7 * 60 / (10 if plan.config.device == "cuda" else 1)
    return TimeEstimate(seconds, seconds / 1.5, seconds * 1.5, 33, 10_000, 100.0, "made up")


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-ins."""
    monkeypatch.setattr(autoconfig, "resolve", resolved)
    monkeypatch.setattr(fitting.Space, "needed", estimated)
    monkeypatch.setattr(_ESTIMATE, "for_plan", nobody_knows)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are known too."""
    monkeypatch.setattr(_ESTIMATE, "for_plan", minutes)


async def listed(pilot: Pilot[int]) -> Any:
    """Go to the screen, and wait until everything is known; returns it."""
    await pilot.press("1")
    await until(pilot, lambda: isinstance(pilot.app.screen, ModelScreen) and pilot.app.screen.entered)
    screen: Any = pilot.app.screen
    await until(pilot, lambda: screen._figures.models and all(found.outlook for found in screen._figures.models))
    await until(pilot, lambda: all(found.state for found in screen._figures.models))
    await until(pilot, lambda: screen.table.row_count and not screen._figures._first)
    await snapshots.settled(pilot)
    return screen


async def in_settings(pilot: Pilot[int], key: str = "quantization") -> Any:
    """Open the settings and mark one; returns the screen."""
    screen = await listed(pilot)
    await pilot.press("right")
    await until(pilot, lambda: isinstance(pilot.app.focused, SettingTable))
    await mark(pilot, key)
    return screen


async def mark(pilot: Pilot[int], key: str) -> None:
    """Move the cursor to a setting, by keys."""
    table = pilot.app.screen.query_one(SettingTable)
    place = [field.key for field in fields()].index(key)
    way = place - table.cursor_row
    await pilot.press(*["down" if way > 0 else "up"] * abs(way))
    await until(pilot, lambda: table.marked and table.marked.key == key)


def note(app: Any) -> str:
    """What is said below the field."""
    return str(app.screen.query_one("#edit-note", Static).content)


# The list


@pytest.mark.parametrize("size", SIZES)
def test_every_known_model_is_listed_with_what_it_takes(size: tuple[int, int]) -> None:
    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        assert screen.table.row_count == len(catalog.models())
        lines = text(pilot.app).splitlines()
        assert all(len(line) <= size[0] for line in lines)
        first = next(line for line in lines if "★" in line)
        for word in ("smollm2-135m", "135M", "3.0", "fits", "embedded", "Apache-2.0"):
            assert word in first
        assert ("SmolLM2" in first) == (size == LARGE)
        assert screen.table.marked == "smollm2-135m"
        assert "★ recommended: small enough for a processor" in said(pilot.app)
        assert "GiB of 6.0 free" in text(pilot.app)
        assert ("too big" in text(pilot.app)) == (size == LARGE)

    drive(test, size=size)


def test_the_first_lines_come_before_anything_is_known_of_the_machine() -> None:
    go = threading.Event()

    def detect() -> Any:
        go.wait(60)
        return CPU

    from ftk_tui.app import FtkApp

    from .harness import FakeEngine

    app = FtkApp(Wizard(), FakeEngine().session(), detect=detect)

    async def test(pilot: Pilot[int]) -> None:
        await pilot.press("1")
        await until(pilot, lambda: "smollm2-360m" in text(app))
        assert "looking …" in text(app)
        assert "fits" not in text(app)
        go.set()
        await until(pilot, lambda: "3.0 fits" in text(app))
        assert "2 CPU cores, 8.0 GiB memory, no GPU, 6.0 GiB free" in text(app)

    try:
        drive(test, app=app)
    finally:
        go.set()


def test_on_a_card_the_largest_that_leaves_room_is_recommended() -> None:
    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        assert screen.table.marked == "qwen3-8b"
        assert "the largest that fits the card" in said(pilot.app)
        assert "GiB of 23.0 free" in text(pilot.app)

    drive(test, hardware=WITH_CARD)


def test_where_times_are_known_patience_counts_and_they_are_shown(timed: None) -> None:
    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        assert screen.table.marked == "smollm2-135m"
        assert "trained in good time" in said(pilot.app)
        first = next(line for line in text(pilot.app).splitlines() if "★" in line)
        assert "7 min" in first
        assert "About 7 min (4 min to 10 min)." in said(pilot.app)

    drive(test)


def test_what_is_chosen_is_marked_when_one_comes_back() -> None:
    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        assert screen.table.marked == "gpt2"
        assert " ●gpt2" in text(pilot.app)

    drive(test, wizard=Wizard(build({"model": "gpt2"})))


def test_enter_chooses_and_goes_on_to_the_data() -> None:
    wizard = Wizard(build({"model": "smollm2", "revision": "main"}))

    async def test(pilot: Pilot[int]) -> None:
        await listed(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: pilot.app.current_mode == "dataset")
        assert wizard.chosen == {"model": "smollm2-360m"}  # a revision is that of one model
        await pilot.press("1")
        await until(pilot, lambda: " ●smollm2-360m" in text(pilot.app))

    drive(test, wizard=wizard)


def test_keys_move_in_the_list_and_every_key_of_the_footer_works() -> None:
    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        assert {"enter", "right", "slash", "escape", "space"} <= set(footer(pilot.app))
        assert "q" not in footer(pilot.app)  # a letter begins a search here
        await pilot.press("end")
        assert screen.table.marked == screen._figures.models[-1].name
        await pilot.press("home", "left")
        assert screen.table.marked == screen._figures.models[0].name
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.current_mode == "home")

    drive(test)


def test_help_and_palette_know_the_screen() -> None:
    async def test(pilot: Pilot[int]) -> None:
        from ftk_tui.palette import commands

        await listed(pilot)
        titles = {command.title for command in commands(pilot.app, pilot.app.screen)}
        assert {"Choose", "Settings", "Find", "View"} <= titles
        await pilot.press("question_mark")
        await until(pilot, lambda: "the bar shows what it takes" in said(pilot.app))

    drive(test)


# A model that does not fit


def test_a_model_that_does_not_fit_is_asked_about_and_settings_with_which_it_does_are_taken() -> None:
    wizard = Wizard()

    async def test(pilot: Pilot[int]) -> None:
        await listed(pilot)
        await typed(pilot, "smollm2-1.7b")
        await pilot.press("enter")
        await until(pilot, lambda: "This will not fit" in text(pilot.app))
        assert "SmolLM2 1.7B Instruct takes about" in said(pilot.app)
        assert "gradient_checkpointing true" in said(pilot.app)
        await pilot.press("n")
        await until(pilot, lambda: "This will not fit" not in text(pilot.app))
        assert wizard.chosen == {}
        await pilot.press("enter")
        await until(pilot, lambda: "This will not fit" in text(pilot.app))
        await pilot.press("t")
        await until(pilot, lambda: pilot.app.current_mode == "dataset")
        assert wizard.chosen == {"model": "smollm2-1.7b", "gradient_checkpointing": True}

    drive(test, wizard=wizard)


def test_a_model_for_which_there_is_no_way_can_be_chosen_for_another_machine() -> None:
    wizard = Wizard()

    async def test(pilot: Pilot[int]) -> None:
        await listed(pilot)
        await pilot.press("end", "enter")
        await until(pilot, lambda: "No setting makes it fit" in said(pilot.app))
        await pilot.press("c")
        await until(pilot, lambda: pilot.app.current_mode == "dataset")
        assert wizard.chosen == {"model": "gemma2-9b"}

    drive(test, wizard=wizard)


def test_settings_that_cannot_work_here_are_said_and_keep_one_on_the_screen() -> None:
    wizard = Wizard(build({"quantization": "8bit"}))

    async def test(pilot: Pilot[int]) -> None:
        await listed(pilot)
        assert "cannot" in text(pilot.app)
        assert "✗ --quantization 8bit needs an NVIDIA GPU. Use nf4 or none on a CPU." in said(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: wizard.chosen.get("model"))
        assert pilot.app.current_mode == "model"

    drive(test, wizard=wizard)


# The search


def test_what_is_typed_in_the_list_filters_it() -> None:
    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        await typed(pilot, "qwen")  # with the q that leaves the app elsewhere
        await until(pilot, lambda: screen.table.row_count == 8)
        assert "8 of 26" in text(pilot.app)
        await pilot.press("space", "3")
        await until(pilot, lambda: screen.table.row_count == 5)
        marked = screen.table.marked
        await pilot.press("down")
        await until(pilot, lambda: screen.table.marked != marked)
        await pilot.press("up", "pagedown", "pageup")
        await until(pilot, lambda: screen.table.marked == marked)
        await pilot.press("escape")
        await until(pilot, lambda: screen.table.row_count == 26)
        assert screen.table.has_focus
        assert screen.table.marked == marked

    drive(test)


def test_words_find_by_anything_that_is_shown() -> None:
    expected = {"gated gemma": 6, "mit": 3, "embedded": 1, "fits": 10, "too big 7b": 6, "recommended": 1, "135M": 1}

    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        await pilot.press("slash")
        for words, found in expected.items():
            screen.search.value = words
            await until(pilot, lambda found=found: screen.table.row_count == found)

    drive(test)


# What is typed: hub ids and paths


def test_a_folder_that_is_typed_is_found_chosen_and_stays_in_the_list(model_folder: Callable[..., Path]) -> None:
    folder, wizard = model_folder(), Wizard()

    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        await pilot.press("slash")
        screen.search.value = str(folder)
        await until(pilot, lambda: "Enter looks for" in said(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.current_mode == "dataset")
        assert wizard.settings.model == str(folder)
        await pilot.press("1")
        await until(pilot, lambda: screen.table.marked == str(folder))
        await until(pilot, lambda: "●…" in text(pilot.app))
        assert "On disk already." in said(pilot.app)

    drive(test, wizard=wizard)


def test_a_path_that_is_none_is_said_beside_the_search_and_nothing_is_chosen() -> None:
    wizard = Wizard()

    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        await pilot.press("slash")
        await typed(pilot, "./no[b]such")
        await pilot.press("enter")
        await until(pilot, lambda: "✗ There is no model folder or GGUF file './no[b]such'" in said(pilot.app))
        assert pilot.app.current_mode == "model"
        assert wizard.chosen == {}
        await pilot.press("escape")
        await until(pilot, lambda: "There is no model folder" not in said(pilot.app))
        assert screen.table.has_focus
        await typed(pilot, "smolllm")
        await until(pilot, lambda: "No known model matches" in said(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "✗ There is no model 'smolllm'" in said(pilot.app))
        assert "none matches what was typed" in said(pilot.app)

    drive(test, wizard=wizard)


def test_a_hub_id_is_looked_for_in_a_thread_and_an_answer_nobody_waits_for_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go, wizard = threading.Event(), Wizard()

    def checked(name: str, revision: str | None, *, trust_remote_code: bool) -> candidates.Candidate:
        go.wait(60)
        return candidates.Candidate(name, Source(name, "hub", None, name, None, weights=10**8), "download")

    monkeypatch.setattr(candidates, "checked", checked)

    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        await typed(pilot, "owner/one")
        await pilot.press("enter")
        await until(pilot, lambda: "Looking for owner/one …" in said(pilot.app))
        await pilot.press("x")  # another one is meant
        go.set()
        await snapshots.settled(pilot)
        assert wizard.chosen == {}
        assert "Enter looks for owner/onex." in said(pilot.app)
        await pilot.press("backspace", "enter")
        await until(pilot, lambda: pilot.app.current_mode == "dataset")
        assert wizard.chosen == {"model": "owner/one"}
        await pilot.press("1")
        await until(pilot, lambda: "●owner/one" in text(pilot.app))
        assert "100M" in text(pilot.app)
        assert screen.search.value == ""

    drive(test, wizard=wizard)


def test_an_id_that_the_catalogue_has_is_that_model_and_the_arrow_leads_to_the_list() -> None:
    wizard = Wizard()

    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        await typed(pilot, "openai-community/")
        await until(pilot, lambda: "Enter looks for openai-community/, ↓ goes to the list." in said(pilot.app))
        await pilot.press("down")
        await until(pilot, lambda: screen.table.has_focus)
        await pilot.press("escape")
        await typed(pilot, "openai-community/gpt2")
        await until(pilot, lambda: screen.table.row_count == 1)
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.current_mode == "dataset")
        assert wizard.settings.model == "gpt2"

    drive(test, wizard=wizard)


def test_a_chosen_model_that_is_gone_says_so() -> None:
    async def test(pilot: Pilot[int]) -> None:
        await pilot.press("1")
        await until(pilot, lambda: "✗ There is no model folder or GGUF file './gone'" in said(pilot.app))
        await until(pilot, lambda: "missing" in text(pilot.app))

    drive(test, wizard=Wizard(build({"model": "./gone"})))


# The panel


def test_the_panel_shows_memory_and_the_reasons_at_a_key() -> None:
    async def test(pilot: Pilot[int]) -> None:
        await listed(pilot)
        assert "memory 3.0 of 6.0 GiB free ✓ fits, 3.0 to spare" in said(pilot.app)
        assert "activations" in text(pilot.app)
        await pilot.press("space")
        await until(pilot, lambda: "a usual rate for adapters" in text(pilot.app))
        assert "activations" not in text(pilot.app)
        await pilot.press("tab")
        await until(pilot, lambda: getattr(pilot.app.focused, "id", "") == "reasons")
        await pilot.press("end")
        await until(pilot, lambda: "3 epochs of 44 rows" in text(pilot.app))
        await pilot.press("space")
        await until(pilot, lambda: "activations" in text(pilot.app))

    drive(test)


def test_where_there_is_room_both_are_shown() -> None:
    async def test(pilot: Pilot[int]) -> None:
        await listed(pilot)
        assert "activations" in text(pilot.app)
        assert "a usual rate for adapters" in text(pilot.app)
        assert "space" not in footer(pilot.app)

    drive(test, size=LARGE)


def test_rows_that_cannot_be_read_are_told_of_and_stand_nobody_in_the_way() -> None:
    async def test(pilot: Pilot[int]) -> None:
        await listed(pilot)
        assert "A sample stands in." in said(pilot.app)

    drive(test, size=LARGE, wizard=Wizard(build({"data": "no-such.jsonl"})))


def test_the_breakdown_fits_into_any_place() -> None:
    breakdown = estimated(None, describe("qwen3-8b"), Settings())
    for free in (GIB, 50 * GIB):
        found = outlook.Outlook(build({}), breakdown=breakdown, free=free, usable=free)
        for width, height in itertools.product((30, 37, 58, 80), (1, 3, 7, 12)):
            lines = ["".join(part for part, _ in row) for row in rows_of(found, width, height)]
            assert len(lines) <= max(3, height)
            assert all(len(line) <= width for line in lines[1:])
            assert ("▒" in lines[1]) == (breakdown.process > free)
            assert ("·" in lines[1]) == (breakdown.process < free)


# The settings


def test_every_setting_of_model_and_training_is_a_field_with_help_and_limits() -> None:
    found = {field.key: field for field in fields()}
    assert {"quantization", "lora_rank", "learning_rate", "batch_size", "max_length", "seed", "method"} <= set(found)
    assert "model" not in found
    assert found["lora_rank"].limits == "a whole number from 1 to 1024"
    assert found["learning_rate"].limits == "a number above 0 to 1"
    assert found["gradient_checkpointing"].words == ("true", "false")
    assert found["quantization"].words == ("none", "8bit", "nf4")
    assert all(field.help for field in fields())


def test_f5_opens_the_settings_from_the_search_too() -> None:
    async def test(pilot: Pilot[int]) -> None:
        screen = await listed(pilot)
        await pilot.press("slash", "f5")
        await until(pilot, lambda: screen.has_class("-settings") and screen.query_one(SettingsView).table.has_focus)
        await pilot.press("escape")
        await until(pilot, lambda: screen.has_class("-list"))
        assert not screen.has_class("-settings")

    drive(test)


def test_the_settings_show_what_each_is_and_why() -> None:
    async def test(pilot: Pilot[int]) -> None:
        await in_settings(pilot)
        assert "auto: it fits as it is" in said(pilot.app)
        assert "one of none, 8bit, nf4" in said(pilot.app)
        assert "smollm2-135m: 3.0 of 6.0 GiB free ✓ fits" in said(pilot.app)
        assert "How the frozen base is stored" in said(pilot.app)
        assert {"enter", "escape", "right"} <= set(footer(pilot.app))
        assert "delete" not in footer(pilot.app)
        await mark(pilot, "learning_rate")
        assert "right" not in footer(pilot.app)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen.table.has_focus)

    drive(test)


def test_a_value_is_typed_checked_taken_and_forgotten() -> None:
    wizard = Wizard()

    async def test(pilot: Pilot[int]) -> None:
        await in_settings(pilot, "learning_rate")
        await typed(pilot, "2")
        await until(pilot, lambda: "✗ 2 is not accepted: must be less than or equal to 1" in note(pilot.app))
        assert wizard.chosen == {}
        await pilot.press("enter")  # is not taken
        assert pilot.app.focused is pilot.app.screen.query_one(SettingsView).field
        await pilot.press("backspace")
        await typed(pilot, "1e-3")
        await until(pilot, lambda: "✓ fits" in note(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: wizard.chosen == {"learning_rate": 0.001})
        await until(pilot, lambda: "● 0.001" in text(pilot.app))
        assert isinstance(pilot.app.focused, SettingTable)
        await until(pilot, lambda: "delete" in footer(pilot.app))
        await pilot.press("delete")
        await until(pilot, lambda: wizard.chosen == {})
        await until(pilot, lambda: "0.0002" in text(pilot.app))

    drive(test, wizard=wizard)


def test_escape_leaves_a_setting_as_it_was_and_so_does_going_away_with_nonsense() -> None:
    wizard = Wizard(build({"batch_size": 2}))

    async def test(pilot: Pilot[int]) -> None:
        screen = await in_settings(pilot, "batch_size")
        await pilot.press("enter", "4")
        await until(pilot, lambda: screen.query_one(SettingsView).field.value == "24")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.focused, SettingTable))
        assert screen.query_one(SettingsView).field.value == "2"
        await pilot.press("x", "tab")
        told = "batch_size stays as it was: 'x' is not accepted"
        await until(pilot, lambda: any(told in toast for toast in toasts(pilot.app)))
        assert wizard.chosen == {"batch_size": 2}
        assert screen.query_one(SettingsView).field.value == "2"

    drive(test, wizard=wizard)


def test_going_away_takes_what_is_acceptable_and_an_empty_field_is_automatic() -> None:
    wizard = Wizard(build({"batch_size": 2}))

    async def test(pilot: Pilot[int]) -> None:
        await in_settings(pilot, "batch_size")
        await pilot.press("3", "shift+tab")
        await until(pilot, lambda: wizard.chosen == {"batch_size": 3})
        await mark(pilot, "batch_size")
        await pilot.press("enter", "backspace", "enter")
        await until(pilot, lambda: wizard.chosen == {})
        await mark(pilot, "quantization")
        await typed(pilot, "auto")
        await pilot.press("enter")
        await pilot.pause()
        assert wizard.chosen == {}

    drive(test, wizard=wizard)


def test_words_are_chosen_with_the_arrows_and_none_is_automatic() -> None:
    wizard = Wizard()

    async def test(pilot: Pilot[int]) -> None:
        await in_settings(pilot)
        for value in ("none", "8bit", "nf4"):
            await pilot.press("right")
            await until(pilot, lambda value=value: wizard.chosen == {"quantization": value})
            await snapshots.settled(pilot)
            if value == "8bit":
                await until(pilot, lambda: "✗ --quantization 8bit needs an NVIDIA GPU." in note(pilot.app))
                assert "✗ 8bit" in text(pilot.app)
        await pilot.press("right")
        await until(pilot, lambda: wizard.chosen == {})
        await pilot.press("left")
        await until(pilot, lambda: wizard.chosen == {"quantization": "nf4"})
        await mark(pilot, "schedule")
        await pilot.press("left")
        await until(pilot, lambda: wizard.settings.schedule == "constant")

    drive(test, wizard=wizard)


@pytest.mark.parametrize(
    ("key", "value", "nearest"),
    [("batch_size", "64", "batch_size 8"), ("max_length", "9000", "max_length 1090")],
)
def test_a_value_that_will_not_fit_says_so_at_once_with_the_nearest_that_would(
    key: str, value: str, nearest: str
) -> None:
    async def test(pilot: Pilot[int]) -> None:
        await in_settings(pilot, key)
        await typed(pilot, value)
        await until(pilot, lambda: f"The nearest that does: {nearest}." in note(pilot.app))
        assert note(pilot.app).startswith("✗ Does not fit:")
        await pilot.press("enter")
        await until(pilot, lambda: "✗ too big" in said(pilot.app))
        await snapshots.settled(pilot)
        assert nearest in note(pilot.app)

    drive(test)


def test_settings_stay_when_one_leaves_and_come_back_with_the_app() -> None:
    async def test(pilot: Pilot[int]) -> None:
        await in_settings(pilot, "lora_rank")
        await typed(pilot, "8")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.wizard.settings.lora_rank == 8)
        await pilot.press("escape", "2")
        await until(pilot, lambda: pilot.app.current_mode == "dataset")
        pilot.app.keep()

    drive(test)
    assert Wizard.restored().chosen == {"lora_rank": 8}


# Anything may be typed


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(typed=st.lists(st.tuples(st.text(max_size=30), st.integers(0, len(fields()) - 1)), min_size=8, max_size=8))
def test_whatever_is_typed_nothing_breaks_and_nothing_invalid_is_kept(typed: list[tuple[str, int]]) -> None:
    wizard = Wizard()

    async def test(pilot: Pilot[int]) -> None:
        screen = await in_settings(pilot)
        view = screen.query_one(SettingsView)
        for word, place in typed:
            view.table.move_cursor(row=place)
            await pilot.pause()
            screen.set_focus(view.field)
            view.field.value = word
            await pilot.press("enter")
            screen.set_focus(view.table)
            await pilot.pause()
            build(wizard.chosen)
        screen.action_search()
        for word, _ in typed:
            screen.search.value = word
            await pilot.pause()

    drive(test, wizard=wizard)


@given(text=st.text(max_size=40), field=st.sampled_from(fields()))
@settings(max_examples=200, deadline=None)
def test_a_text_is_refused_in_a_line_or_is_a_setting(text: str, field: Any) -> None:
    problem = field.problem(text, build({}))
    assert "\n" not in problem
    if not problem and text.strip():
        build({field.key: field.value(text)})


# With the engine's own figures


def test_the_engine_s_own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    look = outlook.here(build({}), CPU).look
    source = Source("smollm2", "embedded", None, None, catalog.find("smollm2"))
    found = look(build({}), source)
    assert found.verdict == "fits"
    assert found.time
    assert found.reasons["learning_rate"]
    far = look(build({"batch_size": 4096, "max_length": 2048}), source)
    assert far.verdict == "too big"
    for key in ("batch_size", "max_length", "seed", ""):
        changes = outlook.remedy(far, key)
        assert changes is None or look(far.config.merged(changes), source).verdict == "fits"
    unknown = look(build({}), Source("x/y", "hub", None, "x/y", None, weights=10**9))
    assert unknown.verdict == ""


# Pictures


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, size) for name in ("cpu", "none", "wrong", "settings") for size in SIZES] + [("card", LARGE)],
)
def test_pictures(name: str, size: tuple[int, int], timed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots.freeze(monkeypatch)

    async def test(pilot: Pilot[int]) -> None:
        await (in_settings(pilot, "batch_size") if name == "settings" else listed(pilot))
        if name == "none":
            await typed(pilot, "nothing")
            await until(pilot, lambda: "No known model" in said(pilot.app))
        elif name == "wrong":
            await typed(pilot, "./nothing")
            await pilot.press("enter")
            await until(pilot, lambda: "✗ There is no" in said(pilot.app))
        elif name == "settings":
            await typed(pilot, "64")
            await until(pilot, lambda: "The nearest" in note(pilot.app))
            await pilot.press("enter")
            await until(pilot, lambda: "● 64" in text(pilot.app))
        await snapshots.settled(pilot)
        snapshots.compare(pilot.app, f"model-{name}-{size[0]}x{size[1]}")

    drive(test, size=size, hardware=WITH_CARD if name == "card" else CPU)
