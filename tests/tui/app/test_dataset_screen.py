"""The Dataset screen: choosing, seeing rows as the model does, findings, lengths, and what follows."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from textual.pilot import Pilot
from textual.widgets import Input, Select

from ftk.config import build
from ftk.data.preview import preview
from ftk.errors import DataError
from ftk_tui import choices, data_words, data_work, mapping
from ftk_tui.data_words import Piece
from ftk_tui.data_work import Shelf
from ftk_tui.palette import commands
from ftk_tui.preferences import Preferences
from ftk_tui.starting import Planning
from ftk_tui.widgets import lengths
from ftk_tui.widgets.finding_list import FindingList
from ftk_tui.widgets.row_view import RowView, broken
from ftk_tui.widgets.source_pane import ChoiceList, SourcePane
from ftk_tui.wizard import Wizard

from . import snapshots
from .harness import CPU, LARGE, SIZES, SMALL, drive, footer, plan, said, text, toasts, until

Do = Callable[[Pilot[int]], Awaitable[None]]
MIDDLE = (110, 30)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is not what most tests ask for, and depends on the machine."""
    monkeypatch.setattr(data_work, "time_of", lambda config, checked, hardware: (150.0, 116.0, 196.0))


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds nothing but what the test puts there."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def rows(work: Path) -> Path:
    """A file with good rows, copies, and one that cannot be read."""
    lines = [json.dumps({"prompt": f"What is {n}?", "response": f"It is {n * n}."}) for n in range(30)]
    path = Path("rows.jsonl")
    path.write_text("\n".join([*lines, lines[3], '{"prompt": 3']) + "\n")
    return path


def on_dataset(
    do: Do, *, size: tuple[int, int] = SMALL, model: str = "smollm2", wizard: Wizard | None = None, **chosen: Any
) -> Any:
    """Run the app, go to Dataset, and do something there."""

    async def test(pilot: Pilot[int]) -> None:
        await pilot.press("2")
        await until(pilot, lambda: pilot.app.screen.query(SourcePane))
        await do(pilot)

    return drive(test, size=size, wizard=wizard or Wizard(build({"model": model, **chosen})))


async def sees(pilot: Pilot[int], *words: str) -> None:
    """Wait for words, however they are broken into lines."""
    await until(pilot, lambda: all(word in said(pilot.app) for word in words))


async def checked(pilot: Pilot[int]) -> Any:
    """Wait until everything is known; returns the screen."""
    screen: Any = pilot.app.screen
    await until(pilot, lambda: screen.reading.checked is not None and not screen.reading.busy)
    return screen


# Pictures


async def empty(pilot: Pilot[int]) -> None:
    await checked(pilot)
    await sees(pilot, "sample:translate", "44 rows to train on, 8 held out", "about 2:30")


async def filled(pilot: Pilot[int]) -> None:
    await checked(pilot)
    await pilot.press("r", "n")
    await sees(pilot, "Row 2 of 52", "learnt; the template of", "<|im_start|>user")


async def findings(pilot: Pilot[int]) -> None:
    await checked(pilot)
    await pilot.press("f")
    await sees(pilot, "cannot be read: 1 row", "rows.jsonl, line 32", "copies of other rows")


async def histogram(pilot: Pilot[int]) -> None:
    await checked(pilot)
    await pilot.press("l")
    await sees(pilot, "tokens", "median", "95 %", "fit into")


async def error(pilot: Pilot[int]) -> None:
    await sees(pilot, "cannot be used", "nowhere.jsonl")


async def columns(pilot: Pilot[int]) -> None:
    await sees(pilot, "more than one way")
    await pilot.press("c")
    await sees(pilot, "Which column is what?", "user: red", "assistant: blue")


PICTURES: dict[str, tuple[Do, dict[str, Any]]] = {
    "empty": (empty, {}),
    "filled": (filled, {"data": "sample:chat", "model": "tiny"}),
    "findings": (findings, {"data": "rows.jsonl"}),
    "lengths": (histogram, {"data": "sample:chat", "model": "tiny"}),
    "error": (error, {"data": "nowhere.jsonl"}),
    "columns": (columns, {"data": "odd.csv"}),
}


@pytest.mark.parametrize(
    ("state", "size"),
    [
        pytest.param(state, size, id=f"{state}-{size[0]}x{size[1]}")
        for state in PICTURES
        for size in SIZES
        if (state, size) not in (("lengths", LARGE), ("columns", LARGE))
    ],
)
def test_pictures(
    state: str,
    size: tuple[int, int],
    rows: Path,
    model_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshots.freeze(monkeypatch)
    Path("odd.csv").write_text("A,B\nred,blue\nup,down\n")
    Path("data").mkdir()
    do, chosen = PICTURES[state]
    if chosen.get("model") == "tiny":
        Path("tiny").symlink_to(model_folder())

    async def look(pilot: Pilot[int]) -> None:
        await do(pilot)
        await snapshots.settled(pilot)
        snapshots.compare(pilot.app, f"dataset-{state}-{size[0]}x{size[1]}")

    on_dataset(look, size=size, **chosen)


# Choosing


def test_a_sample_is_chosen_and_enter_goes_on_to_train() -> None:
    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await sees(pilot, "sample:instruct", "Files in this folder")
        assert isinstance(app.focused, ChoiceList)
        assert footer(app)["enter"] == "Choose"
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.wizard.settings.data == "sample:instruct")
        await sees(pilot, "Row 1 of")
        await until(pilot, lambda: isinstance(app.focused, RowView))
        assert footer(app)["enter"] == "Next"
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "train")
        await pilot.press("escape")
        await until(pilot, lambda: app.current_mode == "dataset")
        await sees(pilot, "Row 1 of")

    on_dataset(do)


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=["80x24", "110x30"])
def test_a_file_is_found_by_keys_alone_and_kept_as_used_lately(size: tuple[int, int]) -> None:
    Path("deep/er").mkdir(parents=True)
    Path("deep/er/mine.jsonl").write_text('{"prompt": "Q", "response": "A"}\n{"prompt": "Q2", "response": "A2"}\n')
    Path("deep/er/notes.pdf").write_text("not data")
    kept = os.fspath(Path("deep/er/mine.jsonl").absolute())

    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        listing = app.screen.query_one(ChoiceList)

        async def offers(title: str) -> None:
            await until(pilot, lambda: any(c and c.title == title for c in listing._choices))

        await offers("deep/")
        await pilot.press("slash", *"deep", "enter")
        await offers("er/")
        await pilot.press("end", "enter")
        await offers("mine.jsonl")
        assert "notes.pdf" not in text(app)
        await pilot.press("backspace")
        await offers("er/")
        await pilot.press("slash", "e", "r", "enter")
        await offers("mine.jsonl")
        await pilot.press("end", "enter")
        await until(pilot, lambda: app.wizard.settings.data == kept)
        await sees(pilot, "Row 1 of 2", "deep/er/mine.jsonl")
        await until(pilot, lambda: Preferences.restored().data == [kept])
        await pilot.press("o")
        await sees(pilot, "Used lately")

    on_dataset(do, size=size)


def test_what_is_typed_narrows_the_list_and_takes_what_fits() -> None:
    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await pilot.press("o")
        await sees(pilot, "sample:instruct")
        await pilot.press("slash", *"transl")
        await until(pilot, lambda: "sample:instruct" not in text(app))
        assert "sample:translate" in text(app)
        await pilot.press("enter")
        await until(pilot, lambda: app.wizard.settings.data == "sample:translate")
        await pilot.press("slash", *"x", "escape")
        assert app.screen.query_one(Input).value == "sample:translate"
        await until(pilot, lambda: isinstance(app.focused, ChoiceList))
        await pilot.press("home", "up")
        await until(pilot, lambda: isinstance(app.focused, Input))
        await pilot.press("down")
        await until(pilot, lambda: isinstance(app.focused, ChoiceList))

    on_dataset(do, data="sample:chat")


def test_an_empty_field_says_what_to_type() -> None:
    async def do(pilot: Pilot[int]) -> None:
        await sees(pilot, "sample:instruct")
        await pilot.press("slash", *["backspace"] * 12, "enter")
        await sees(pilot, "Type the name of a file")

    on_dataset(do)


UNUSABLE = {
    "nowhere.jsonl": (None, "There is no data file"),
    "empty.jsonl": ("", "is empty"),
    "only.jsonl": ('{"a": \n{"b": \n', "only.jsonl, line 1"),
    "-": (None, "keyboard"),
    "pipe": (None, "is a pipe"),
    "owner/name": (None, "could not be found"),
    "a.jsonl,": (None, "empty part"),
    "folder/*.jsonl": (None, "No file matches"),
    "[red]odd[/x].jsonl": (None, "[red]odd[/x].jsonl"),
    "\ud800": (None, "data:"),
}
"""Names of data, what the file holds, and what is said."""


def test_what_cannot_be_used_is_said_beside_the_field() -> None:
    for name, (content, _) in UNUSABLE.items():
        if content is not None:
            Path(name).write_text(content)
    os.mkfifo("pipe")

    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        for name, (_, words) in UNUSABLE.items():
            app.screen.choose(name)
            await sees(pilot, words)
            if name == "\ud800":  # refused at once, and what was chosen before stays
                continue
            app.screen.action_next()
            await until(pilot, lambda: "These rows cannot be used yet" in " ".join(toasts(app)))
            app.clear_notifications()
            assert app.current_mode == "dataset"
        app.screen.choose("sample:chat")
        await sees(pilot, "Row 1 of")

    on_dataset(do)


def test_the_line_of_a_row_that_cannot_be_read_is_said() -> None:
    Path("broken.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt": \n')

    async def do(pilot: Pilot[int]) -> None:
        await checked(pilot)
        await pilot.press("f")
        await sees(pilot, "broken.jsonl, line 2")

    on_dataset(do, data="broken.jsonl")


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(folder: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(choices.os, "scandir", refuses)
    found = choices.listed(tmp_path)
    assert "Permission denied" in found.problem
    assert [choice.kind for choice in found.choices] == ["up"]


def test_data_that_is_chosen_while_other_data_is_read_replaces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    real = data_work.look

    def slow(spec: str, columns: str | None, job: Planning) -> Any:
        if spec == "sample:chat":
            go.wait(60)
        return real(spec, columns, job)

    monkeypatch.setattr(data_work, "look", slow)

    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await sees(pilot, "is being looked at")
        app.screen.action_next()
        await until(pilot, lambda: "The rows are being looked at." in " ".join(toasts(app)))
        app.screen.choose("sample:code")
        await sees(pilot, "code.jsonl, line 1")
        go.set()
        await checked(pilot)
        assert "code.jsonl" in text(app)
        assert "chat.jsonl" not in text(app)

    on_dataset(do, data="sample:chat")


# Rows


def test_rows_are_turned_by_keys_and_gone_to_by_number_and_line(rows: Path) -> None:
    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await checked(pilot)
        await until(pilot, lambda: isinstance(app.focused, RowView))
        await pilot.press("n", "right", "n")
        await sees(pilot, "Row 4 of 31", "What is 3?")
        await pilot.press("p", "left")
        await sees(pilot, "Row 2 of 31", "What is 1?")
        await pilot.press("p", "p")
        await sees(pilot, "Row 1 of 31")
        await pilot.press("g", "7", "enter")
        await sees(pilot, "Row 7 of 31", "What is 6?")
        await pilot.press("g", *"line", "space", *"12", "enter")
        await sees(pilot, "Row 12 of 31", "rows.jsonl, line 12")
        await pilot.press("g", *"99")
        await sees(pilot, "There is no such row.")
        await pilot.press("escape")
        await sees(pilot, "Row 12 of 31")

    on_dataset(do, data="rows.jsonl", skip_bad=1)


def test_a_row_is_seen_as_the_model_sees_it_with_what_is_learnt_marked(model_folder: Callable[..., Path]) -> None:
    async def do(pilot: Pilot[int]) -> None:
        screen = await checked(pilot)
        await sees(pilot, "<|im_start|>user", "How do I reset my password?", "learnt; the template of")
        view = screen.query_one(RowView)
        lines = view.shows().splitlines()
        assert any(line.startswith("  <|im_start|>user") for line in lines)
        assert any(line.startswith("▌ **Reset your password**") for line in lines)
        assert screen.reading.checked.in_tokens
        await pilot.press("l")
        await sees(pilot, "whole rows by tokens", "of the rows fit into")
        pilot.app.wizard.choose(template="alpaca")  # type: ignore[attr-defined]
        await pilot.press("r")
        await sees(pilot, "### Instruction:", "template alpaca")
        pilot.app.wizard.choose(template="auto")  # type: ignore[attr-defined]
        await sees(pilot, "<|im_start|>user")

    on_dataset(do, data="sample:chat", model=str(model_folder()))


def test_without_a_tokenizer_rows_are_shown_turn_by_turn() -> None:
    async def do(pilot: Pilot[int]) -> None:
        await checked(pilot)
        await sees(pilot, "turn by turn", "is not here")
        assert "▌ **Reset your password**" in text(pilot.app)
        await pilot.press("l")
        await sees(pilot, "In characters", "is not on this machine")

    on_dataset(do, data="sample:chat")


def test_held_out_rows_are_told_apart() -> None:
    async def do(pilot: Pilot[int]) -> None:
        await checked(pilot)
        await sees(pilot, "Row 1 of 52", "to train on")
        await pilot.press("g", "5", "2", "enter")
        await sees(pilot, "Row 52 of 52", "held out")

    on_dataset(do, data="sample:chat")


HOSTILE = {
    "markup": "[red]not[/x] [@click=app.quit]markup[/]",
    "escapes": "\x1b[31mred\x07 \x9b2J",
    "bidi": "abc\u202edef\u2066",
    "wide": "日本語" * 200 + "👩\u200d👩\u200d👧" + "e\u0301" * 50,
    "long": "x" * 300_000,
    "lines": "\n" * 5000 + "end",
    "surrogate": "a\u2028b\u0085c",
}


def test_hostile_rows_are_shown_as_they_are() -> None:
    rows = [{"prompt": hostile, "response": f"answer {hostile}"} for hostile in HOSTILE.values()]
    Path("hostile.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")

    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await checked(pilot)
        await until(pilot, lambda: isinstance(app.focused, RowView))
        for number, kind in enumerate(HOSTILE, 1):
            await sees(pilot, f"Row {number} of {len(HOSTILE)}")
            if kind == "markup":
                await sees(pilot, HOSTILE[kind])
            for key in ("end", "home", "n"):
                assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(text(app))
                await pilot.press(key)
                await pilot.pause()
        for key in ("f", "l"):
            await pilot.press(key)
            await pilot.pause()
            assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(text(app))

    on_dataset(do, data="hostile.jsonl")


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.text(max_size=300), st.sampled_from(["text", "learnt", "role", "note"])), max_size=5))
def test_any_row_is_broken_into_lines_that_fit(parts: list[tuple[str, Any]]) -> None:
    lines = broken([Piece(*part) for part in parts], 40, Console(width=40))
    assert all(line.cell_len <= 40 for line in lines)
    assert all("\x1b" not in line.plain for line in lines)


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    shown = data_words.clipped("a" * 50_000 + "end")
    assert len(shown) < 6000
    assert shown.endswith("end")
    assert "more characters" in shown
    many = data_words.limited([Piece("b" * 4000, "text")] * 100)
    assert sum(len(piece.text) for piece in many) < 40_000
    assert "more characters" in many[-1].text


# Findings


def test_a_finding_leads_to_its_row_and_says_what_ftk_does(rows: Path) -> None:
    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await checked(pilot)
        await pilot.press("f")
        await sees(pilot, "cannot be read: 1 row", "ftk refuses to train", "skip_bad 1", "e opens the settings")
        await until(pilot, lambda: isinstance(app.focused, FindingList))
        assert footer(app).get("enter") != "Show the row"
        await pilot.press("down", "down")
        await sees(pilot, "keep one of each")
        assert footer(app)["enter"] == "Show the row"
        await pilot.press("down", "enter")
        await sees(pilot, "Row 31 of 31", "rows.jsonl, line 31", "What is 3?")
        await until(pilot, lambda: isinstance(app.focused, RowView))

    on_dataset(do, data="rows.jsonl")


def test_a_run_that_would_be_refused_is_asked_about(rows: Path) -> None:
    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await checked(pilot)
        await until(pilot, lambda: isinstance(app.focused, RowView))
        await pilot.press("enter")
        await sees(pilot, "A run would be refused", "cannot be read: 1 row", "line 32")
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.focused, FindingList))
        await pilot.press("r", "enter")
        await sees(pilot, "A run would be refused")
        await pilot.press("s")
        await until(pilot, lambda: app.wizard.settings.skip_bad == 1)
        await checked(pilot)
        await until(pilot, lambda: not app.screen.reading.refusals)
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "train")

    on_dataset(do, data="rows.jsonl")


def test_one_may_go_on_all_the_same(rows: Path) -> None:
    async def do(pilot: Pilot[int]) -> None:
        await checked(pilot)
        await pilot.press("enter")
        await sees(pilot, "A run would be refused")
        await pilot.press("t")
        await until(pilot, lambda: pilot.app.current_mode == "train")

    on_dataset(do, data="rows.jsonl")


# Columns and settings


def test_columns_that_are_not_recognised_are_chosen() -> None:
    Path("odd.csv").write_text("A,B,C\nred,blue,x\nup,down,y\n")

    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await sees(pilot, "cannot be used")
        await pilot.press("r")
        await sees(pilot, "c says which column is what")
        await pilot.press("c")
        await sees(pilot, "Which column is what?", "user: red", "assistant: blue")
        app.screen.query_one("#part-response", Select).value = "C"
        await sees(pilot, "assistant: x")
        app.screen.query_one("#part-prompt", Select).value = ""
        await sees(pilot, "Choose the column for prompt")
        await pilot.click("#use")
        assert app.wizard.settings.columns is None
        app.screen.query_one("#part-prompt", Select).value = "C"
        await sees(pilot, "chosen twice")
        app.screen.query_one("#part-prompt", Select).value = "B"
        await sees(pilot, "user: blue", "assistant: x")
        button = app.screen.query_one("#use").focus()
        await until(pilot, lambda: app.focused is button and not button.has_class("-active"))  # it was just clicked
        await pilot.press("enter")
        await until(pilot, lambda: app.wizard.settings.columns == "prompt=B,response=C")
        await sees(pilot, "Row 1 of 2", "as you chose")
        await pilot.press("c")
        await sees(pilot, "user: blue")
        await pilot.press("escape")
        app.screen.choose("sample:chat")
        await until(pilot, lambda: app.wizard.settings.columns is None)

    on_dataset(do, data="odd.csv")


def test_the_ways_to_read_a_row() -> None:
    assert mapping.way_of(None).name == "auto"
    assert mapping.way_of("nonsense").name == "auto"
    assert mapping.way_of("prompt=a,response=b").name == "pair"
    assert mapping.way_of("messages=m").name == "messages"
    assert mapping.way_of("text=t").name == "text"
    assert mapping.way_of("chosen=c,prompt=p").name == "chosen"
    way = mapping.way_of("prompt=a,response=b")
    assert mapping.written(way, {"prompt": "Q", "response": "A, b", "tools": "no"}) == "prompt=Q,response=A, b"
    assert mapping.written(mapping.WAYS[0], {"prompt": "Q"}) == ""


def test_settings_are_checked_as_typed_and_change_what_follows() -> None:
    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await checked(pilot)
        await sees(pilot, "33 steps of 4 rows for 3 epochs")
        await pilot.press("e")
        await sees(pilot, "What is made of the rows", "eval_fraction")
        app.screen.query_one("#batch_size", Input).focus()
        await pilot.press("end", *["backspace"] * 3, *"x")
        await sees(pilot, "batch_size: 'x' is not accepted")
        await pilot.press("ctrl+o")
        assert app.wizard.settings.batch_size == 4
        await pilot.press("backspace", "8", "enter")
        app.screen.query_one("#max_steps", Input).focus()
        await pilot.press(*"50", "ctrl+o")
        await until(pilot, lambda: app.wizard.settings.batch_size == 8)
        await sees(pilot, "50 steps of 8 rows")
        assert app.wizard.settings.max_steps == 50

    on_dataset(do, data="sample:chat")


@pytest.mark.parametrize(
    "chosen",
    [{}, {"epochs": 2.5}, {"max_steps": 7}, {"batch_size": 3, "gradient_accumulation": 4}, {"max_rows": 9},
     {"eval_fraction": 0.0}, {"duplicates": "drop"}],
)  # fmt: skip
def test_the_steps_are_those_that_a_run_makes(chosen: dict[str, Any]) -> None:
    config = build({"data": "sample:chat", **chosen})
    made = plan(CPU, **{"max_steps": None, "data": "sample:chat", **chosen})
    found = data_work.check(config, None, Planning("check"))
    assert data_work.schedule(config, found).steps == made.total_steps
    look = data_work.look("sample:chat", None, Planning("look"))
    guess = data_work.schedule(config, look)
    assert guess.guessed
    assert data_words.schedule_said(guess, config)


# Large data


def test_large_data_is_read_to_its_end_only_when_asked(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_work, "AT_ONCE_BYTES", 100)
    go, real = threading.Event(), data_work.check

    def slow(config: Any, tokens: Any, job: Planning) -> Any:
        while not go.wait(0.01):
            job.name = "read"
            job.progress(300, 1000)
        return real(config, tokens, job)

    monkeypatch.setattr(data_work, "check", slow)

    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await sees(pilot, "Row 1 of the first 31", "about")
        await until(pilot, lambda: not app.screen.reading.busy)
        assert footer(app)["k"] == "Check all"
        await pilot.press("f")
        await sees(pilot, "cannot be read: 1 of the first rows")
        await pilot.press("l")
        await sees(pilot, "k reads and measures all rows.")
        await pilot.press("k")
        await sees(pilot, "Reading all rows 30%")
        assert footer(app)["x"] == "Cancel"
        await pilot.press("x")
        await until(pilot, lambda: footer(app).get("k"))
        await pilot.press("r", "n")
        await sees(pilot, "Row 2 of the first 31")
        go.set()
        await pilot.press("k")
        await sees(pilot, "Row 2 of 31")

    on_dataset(do, data="rows.jsonl")


def test_a_fault_while_checking_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(config: Any, tokens: Any, job: Planning) -> Any:
        raise DataError("The cache is [full].", hint="Make room.")

    monkeypatch.setattr(data_work, "check", breaks)

    async def do(pilot: Pilot[int]) -> None:
        await sees(pilot, "The cache is [full].", "Row 1 of the first")
        await pilot.press("f")
        await sees(pilot, "Make room.")

    on_dataset(do, data="sample:chat")


# The rest


def test_every_action_is_in_the_palette_and_the_help_explains() -> None:
    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await checked(pilot)
        names = {command.title for command in commands(app, app.screen)}
        wanted = {"Other data", "View", "Next row", "Go to a row", "Columns", "Settings", "Type a name", "Rows",
                  "Findings", "Lengths", "Next", "Back"}  # fmt: skip
        assert wanted <= names, wanted - names
        assert "Check all" not in names
        await pilot.press("question_mark")
        await sees(pilot, "Help: Dataset", "A row is one example")

    on_dataset(do, data="sample:chat")


def test_the_views_follow_each_other_and_are_clicked() -> None:
    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        screen = await checked(pilot)
        assert screen._view == "source"
        for view in ("rows", "findings", "lengths", "source"):
            await pilot.press("v")
            await until(pilot, lambda view=view: screen._view == view)
        place = text(app).splitlines()
        y = next(number for number, line in enumerate(place) if "Findings" in line)
        await pilot.click(offset=(place[y].index("Findings") + 2, y))
        await until(pilot, lambda: screen._view == "findings")

    on_dataset(do)


def test_another_size_keeps_the_focus_on_something_that_is_seen() -> None:
    async def do(pilot: Pilot[int]) -> None:
        await checked(pilot)
        for width, height in ((160, 50), (110, 30), (80, 24), (160, 50)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            await until(pilot, lambda: pilot.app.focused is not None and pilot.app.focused.is_on_screen)

    on_dataset(do)


def test_another_model_brings_its_own_tokens(model_folder: Callable[..., Path]) -> None:
    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        screen = await checked(pilot)
        assert not screen.reading.checked.in_tokens
        await pilot.press("1")
        app.wizard.choose(model=str(model_folder()))
        await pilot.press("2")
        await until(pilot, lambda: screen.reading.checked.in_tokens)
        await sees(pilot, "<|im_start|>user")

    on_dataset(do, data="sample:chat")


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.text(max_size=40).filter(
        lambda value: "/" not in value and "~" not in value and value.strip() not in ("", ".", "..")
    )
)
def test_nothing_that_is_typed_as_a_name_is_a_fault(typed_text: str) -> None:
    folder, wanted = choices.folder_of(typed_text, Path.cwd())
    choices.listed(folder, wanted)
    data_words.named(typed_text)
    try:
        data_work.look(typed_text, None, Planning("look"))
    except Exception as error:  # noqa: BLE001
        assert hasattr(error, "hint"), repr(error)  # an error for people, and no other


def test_strange_texts_in_the_field_end_nothing() -> None:
    async def do(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        await sees(pilot, "sample:instruct")
        for strange in ("[/x]", "\\", "~nobody/x", "a" * 400, "é\u202e", "\ud800", "*[", "{a,b}", "//", "?config="):
            field = app.screen.query_one(Input)
            field.value = strange
            await pilot.pause()
            field.post_message(Input.Submitted(field, strange))
            await pilot.pause()
            await until(pilot, lambda: app.screen.reading.stage.value != "look")
        assert app.is_running

    on_dataset(do)


def test_folders_are_listed_with_what_can_be_read() -> None:
    for name in ("b.csv", "a.jsonl", "c.bin", ".hidden.json"):
        Path("many").mkdir(exist_ok=True)
        Path("many", name).write_text("x")
    Path("many/sub").mkdir()
    found = choices.listed(Path("many").absolute())
    assert [choice.title for choice in found.choices] == ["..", "all of this folder", "sub/", "a.jsonl", "b.csv"]
    assert [choice.title for choice in choices.listed(Path("many"), "B.").choices] == ["b.csv"]
    assert [choice.title for choice in choices.listed(Path("many"), ".h").choices] == [".hidden.json"]
    assert choices.listed(Path("nowhere")).problem
    assert choices.remembered(["a", "b"], "b") == ["b", "a"]
    assert choices.remembered(["a"], "sample:chat") == ["a"]


def test_sizes_and_names_are_short() -> None:
    assert [data_words.size(n) for n in (0, 999, 1000, 21_276, 999_600, 1_400_000_000)] == [
        "0 B", "999 B", "1.0 KB", "21 KB", "1.0 MB", "1.4 GB",
    ]  # fmt: skip
    assert data_words.named(str(Path.cwd() / "x.jsonl")) == "x.jsonl"
    assert data_words.named(f"{Path.cwd()}/x.jsonl:2,sample:chat") == "x.jsonl:2,sample:chat"
    assert data_words.named(",") == ","


def test_bins_are_joined_where_there_is_little_room() -> None:
    assert lengths.merged([0, 1, 2, 3, 4], [1, 2, 3, 4], 2) == ([0, 2, 4], [3, 7])
    assert lengths.merged([0, 1, 2, 3], [1, 2, 3], 2) == ([0, 2, 3], [3, 3])
    statistics = {
        "unit": "tokens", "max_length": 20, "batch_size": 4, "padding": 0.1, "fits": 0.5, "supervised": {"sum": 5},
        "row": {"median": 1, "p95": 2, "p99": 3, "max": 40, "sum": 10,
                "histogram": {"edges": [0, 10, 20, 30, 40], "counts": [1, 2, 0, 9]}},
    }  # fmt: skip
    rows = ["".join(part for part, _ in row) for row in lengths.histogram(statistics, 40, 8)]
    assert rows[4].startswith("30+›█")
    assert "20 tokens are exceeded" in rows[-1]
    assert all(len(row) <= 40 for row in rows)
    assert len(list(lengths.histogram(statistics, 20, 3))) <= 3


def test_a_library_that_another_thread_imports_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def half_there(model: str) -> Any:
        asked.append(model)
        if len(asked) < 3:
            raise ImportError("partially initialized")

    monkeypatch.setattr("ftk.models.tokenizers.tokenizer_on_disk", half_there)
    monkeypatch.setattr(data_work, "_TRY_AGAIN_S", 0.0)
    assert data_work.tokens_of("smollm2") is None
    assert len(asked) == 3


def test_the_first_rows_are_a_shelf_too() -> None:
    shelf = Shelf(preview("sample:chat").rows)
    assert shelf.at("3") == 2
    assert shelf.at("line 2") == 1
    assert shelf.at("0") is None
    assert shelf.at("999") is None
    assert shelf.at("x") is None
    assert shelf.side(0) == ""
    assert shelf.find("nowhere, line 1") is None
