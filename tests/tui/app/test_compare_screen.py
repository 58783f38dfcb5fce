"""The Compare screen: every key and path with two models that say what the test wants, and one pair of real ones."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widgets import Input

from ftk import files
from ftk.errors import ModelError
from ftk.evaluation import comparisons
from ftk.evaluation.asked import Answer, Prompt, Sampling
from ftk.runs import RunFolder
from ftk_tui.app import FtkApp
from ftk_tui.sitting import Sitting
from ftk_tui.widgets.answer_pane import AnswerPane
from ftk_tui.widgets.wrapping import spans
from ftk_tui.wizard import Wizard
from tests.core.evaluation.trained_runs import train

from . import fake_pair, snapshots
from .fake_pair import Pairs
from .harness import LARGE, SIZES, SMALL, FakeEngine, drive, footer, plan, said, text, typed, until

Do = Callable[[Pilot[int], Pairs], Awaitable[None]]
IDS = ["80x24", "160x50"]


def on_compare(
    do: Do,
    pairs: Pairs,
    *,
    size: tuple[int, int] = SMALL,
    name: str | None = "mine",
    engine: FakeEngine | None = None,
    ready: str = "[1/8]",
) -> FtkApp:
    """Run the app, go to Compare with a run, and do something there."""
    wizard = Wizard()
    wizard.run = name

    async def test(pilot: Pilot[int]) -> None:
        await pilot.press("4")
        await until(pilot, lambda: ready in said(pilot.app))
        await do(pilot, pairs)

    return drive(test, size=size, wizard=wizard, engine=engine)


async def sees(pilot: Pilot[int], *words: str) -> None:
    """Wait for words, however they are broken into lines."""
    await until(pilot, lambda: all(word in said(pilot.app) for word in words))


def kept(name: str = "mine") -> list[comparisons.Record]:
    folder = comparisons.folder(RunFolder(files.runs_dir() / name))
    return [comparisons.read(path) for path in sorted(folder.glob("*.jsonl"))]


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> Pairs:
    fake_pair.run(checkpoints=[50, 100])
    return fake_pair.use(monkeypatch)


# Pictures


async def filled(pilot: Pilot[int], pairs: Pairs) -> None:
    await pilot.press("enter")
    await sees(pilot, "Words that the other lacks are underlined")


async def streaming(pilot: Pilot[int], pairs: Pairs) -> None:
    pairs.words = 9
    await pilot.press("enter")
    await sees(pilot, "answer number 1 is easy:", "Answering", "prompt 1 of 8")


async def loading(pilot: Pilot[int], pairs: Pairs) -> None:
    pairs.words = 0
    await pilot.press("enter")
    await sees(pilot, "Loading", "30 %")


async def blind(pilot: Pilot[int], pairs: Pairs) -> None:
    await pilot.press("j", "enter")
    await sees(pilot, "Which is better?")


async def judged(pilot: Pilot[int], pairs: Pairs) -> None:
    await blind(pilot, pairs)
    await pilot.press("a")
    await sees(pilot, "You chose A", "too few to tell")


async def error(pilot: Pilot[int], pairs: Pairs) -> None:
    pairs.error = ModelError("The adapter [b]is damaged[/b].", hint="Checkpoints may be whole: mine@50.")
    await pilot.press("enter")
    await sees(pilot, "✗ The adapter [b]is damaged[/b].", "Checkpoints may be whole")


async def prompted(pilot: Pilot[int], pairs: Pairs) -> None:
    await sees(pilot, "Enter asks both")


STATES = {do.__name__: do for do in (prompted, filled, streaming, loading, blind, judged, error)}


@pytest.mark.parametrize("size", SIZES, ids=IDS)
@pytest.mark.parametrize("state", STATES)
def test_pictures(state: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, pairs: Pairs) -> None:
    snapshots.freeze(monkeypatch)
    monkeypatch.setattr("ftk_tui.sitting._seed", lambda: 7)

    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        await STATES[state](pilot, pairs)
        if state not in ("streaming", "loading"):
            await snapshots.settled(pilot)
        snapshots.compare(pilot.app, f"compare-{state}-{size[0]}x{size[1]}")
        if pairs.made:
            pairs.pair.more()

    on_compare(do, pairs, size=size)


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_without_a_run_it_says_what_to_do(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots.freeze(monkeypatch)

    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        assert footer(pilot.app)["enter"] == "Choose a run"
        await snapshots.settled(pilot)
        snapshots.compare(pilot.app, f"compare-empty-{size[0]}x{size[1]}")
        await pilot.press("enter")
        await sees(pilot, "No run has trained anything yet.")

    on_compare(do, Pairs(), size=size, name=None, ready="Nothing to compare yet")


# Asking


def test_enter_asks_goes_on_and_keeps_everything_with_the_run(pairs: Pairs) -> None:
    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        assert footer(pilot.app)["enter"] == "Ask"
        assert not {"x", "a", "b", "e"} & set(footer(pilot.app))
        await filled(pilot, pairs)
        assert "[b]politely[/b]" in text(pilot.app)
        assert footer(pilot.app)["enter"] == "Next"
        await pilot.press("enter")
        await sees(pilot, "[2/8]", "answer number 2 is easy")
        assert [number for _, number, _ in pairs.pair.asked] == [0, 1]
        assert len(pairs.made) == 1  # and not loaded anew
        await pilot.press("p")
        await sees(pilot, "[1/8]", "answer number 1")
        await pilot.press("left")
        await sees(pilot, "[8/8]", "Enter asks both")
        await pilot.press("n", "n", "n")
        await sees(pilot, "[3/8]")
        await until(pilot, lambda: kept() and len(kept()[0].answers) == 2)

    on_compare(do, pairs)
    (made,) = kept()
    assert made.about["format"] == 1
    assert made.labels == ["base", "mine"]
    assert made.about["prompts"] == "sample:chat, held out"
    assert made.answers[1]["answers"]["mine"]["text"] == fake_pair.answers(Prompt(), 1)[1]


def test_all_prompts_are_asked_one_after_the_other_and_a_stop_keeps_what_there_is(pairs: Pairs) -> None:
    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        pairs.words = 40
        await pilot.press("w")
        await sees(pilot, "[3/8]", "Answering")
        assert footer(pilot.app)["escape"] == "Stop"
        await pilot.press("escape")
        await sees(pilot, "stopped")
        assert pilot.app.current_mode == "compare"  # Esc stopped, and did not leave
        pairs.pair.more()
        await pilot.press("w")
        await until(pilot, lambda: len(pairs.pair.asked) == 8 and footer(pilot.app).get("enter") == "Next")
        await pilot.press("enter")
        await sees(pilot, "All prompts are answered")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.current_mode == "train")

    on_compare(do, pairs)
    (made,) = kept()
    assert len(made.answers) == 8
    assert made.answers[2]["answers"]["mine"]["ended"] == "stopped"


def test_loading_can_be_stopped_and_an_error_is_said_and_can_be_tried_again(pairs: Pairs) -> None:
    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        await loading(pilot, pairs)
        await pilot.press("x")
        await sees(pilot, "Enter asks both")
        pairs.pair.more()
        pairs.pair.error = ModelError("The disk [is] gone.", hint="Put it back.")
        await pilot.press("enter")
        await sees(pilot, "✗ The disk [is] gone. Put it back.")
        pairs.pair.error = None
        await pilot.press("enter")
        await sees(pilot, "answer number 1 is easy")

    on_compare(do, pairs)


def test_prompts_are_typed_read_from_a_file_and_taken_from_more_held_out_rows(pairs: Pairs, home: Path) -> None:
    (home / "p.txt").write_text("one [b]\ntwo\none [b]\n")

    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        await pilot.press("t")
        await until(pilot, lambda: pilot.app.screen.query("#answer"))
        await typed(pilot, "why")
        await pilot.press("enter")
        await sees(pilot, "[9/9] why", "answer number 9 is easy")
        await pilot.press("f")
        await until(pilot, lambda: pilot.app.screen.query("#answer"))
        await typed(pilot, "nowhere.txt")
        await sees(pilot, "There is no file nowhere.txt")
        pilot.app.screen.query_one(Input).value = "p.txt"
        await pilot.press("enter")
        await sees(pilot, "[10/11] one [b]", "2 prompts more")
        await pilot.press("h")
        await sees(pilot, "No others than are here already")

    on_compare(do, pairs)


def test_sampling_is_checked_as_it_is_typed_and_another_one_begins_anew(pairs: Pairs) -> None:
    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        await filled(pilot, pairs)
        await pilot.press("s")
        await sees(pilot, "How answers are written")
        for name, wrong, problem in (
            ("temperature", "-1", "temperature: -1.0 is not accepted: must be 0 or more"),
            ("temperature", "hot", "temperature: 'hot' is not a number"),
            ("top_p", "1.5", "must be above 0 and at most 1"),
            ("max_tokens", "2.5", "max-tokens: '2.5' is not a whole number"),
            ("seed", "-3", "seed: -3 is not accepted"),
        ):
            field = pilot.app.screen.query_one(f"#field-{name}", Input)
            before, field.value = field.value, wrong
            await sees(pilot, problem)
            await pilot.press("enter")
            assert "How answers are written" in said(pilot.app)
            field.value = before
        pilot.app.screen.query_one("#field-temperature", Input).value = "0.5"
        await pilot.press("enter")
        await sees(pilot, "temperature 0.5, top-p 1, seed 0", "Enter asks both")
        await pilot.press("enter")
        await sees(pilot, "answer number 1 is easy")
        await until(pilot, lambda: len(kept()) == 2)
        assert pairs.pair.asked[-1][2] == Sampling(max_tokens=200, temperature=0.5)

    on_compare(do, pairs)
    assert [made.about["sampling"]["temperature"] for made in kept()] == [0.0, 0.5]


# Blind


def test_blind_answers_have_no_names_until_they_are_judged_and_the_tally_is_kept(pairs: Pairs) -> None:
    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        for key in ("a", "b", "equals_sign"):
            if key == "a":
                await blind(pilot, pairs)
            else:
                await pilot.press("enter")
                await sees(pilot, "Which is better?")
            assert "smollm2" not in "\n".join(text(pilot.app).splitlines()[4:])
            assert "enter" not in footer(pilot.app)
            await pilot.press(key)
            await until(pilot, lambda: "Which is better?" not in text(pilot.app))
            await sees(pilot, "base", "mine")
        await until(pilot, lambda: kept() and len(kept()[0].verdicts) == 3)

    on_compare(do, pairs)
    (made,) = kept()
    for verdict, chosen in zip(made.verdicts, ("a", "b", None), strict=True):
        assert sorted(verdict["order"]) == ["base", "mine"]
        assert verdict["better"] == (None if chosen is None else verdict["order"]["ab".index(chosen)])

    async def again(pilot: Pilot[int], pairs: Pairs) -> None:
        await pilot.press("p")
        await sees(pilot, "[3/8]", "answer number 3")  # it is as it was left
        await pilot.press("j")
        await sees(pilot, "No difference.")

    on_compare(again, pairs, ready="[4/8]")


def test_what_was_seen_with_names_is_not_judged_and_equal_answers_are_no_difference(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs.says = lambda prompt, number: ("The same.", "The same.") if number else fake_pair.answers(prompt, number)

    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        await filled(pilot, pairs)
        await pilot.press("j")
        await pilot.pause()
        assert "Which is better?" not in text(pilot.app)
        await pilot.press("enter")
        await sees(pilot, "Both are equal: no difference.")
        await pilot.press("j")
        await sees(pilot, "Both answers are equal.")

    on_compare(do, pairs)
    assert [verdict["better"] for verdict in kept()[0].verdicts] == [None]


def test_the_order_of_blind_answers_follows_from_the_seed_and_changes() -> None:
    class Named:
        def __init__(self, label: str) -> None:
            self.label = label

    def orders(seed: int) -> list[str]:
        sitting = Sitting([Named("base"), Named("mine")], seed=seed)  # type: ignore[list-item]
        sitting.add([Prompt(text=str(number)) for number in range(64)], "x")
        return [sitting.order(entry)[0] for entry in sitting.entries]

    assert orders(1) == orders(1) != orders(2)
    assert 16 < orders(1).count("mine") < 48


# What else there is


def test_losses_are_measured_shown_and_kept(pairs: Pairs) -> None:
    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        assert "Held-out loss 3.000 → 1.500, perplexity 20.1 → 4.48" in said(pilot.app)
        await filled(pilot, pairs)
        await pilot.press("m")
        await sees(pilot, "Held-out loss 3.000 → 2.000, perplexity 20.1 → 7.39, measured on 12 rows")
        await until(pilot, lambda: "perplexity" in json.dumps(kept()[0].about["notes"]))

    on_compare(do, pairs)


@pytest.mark.parametrize("ending", ["md", "html"])
def test_a_page_is_written_and_one_that_is_there_only_after_a_question(ending: str, pairs: Pairs, home: Path) -> None:
    page = home / f"page.{ending}"
    page.write_text("mine")

    async def name(pilot: Pilot[int], value: str) -> None:
        await pilot.press("e")
        await until(pilot, lambda: pilot.app.screen.query("#answer"))
        pilot.app.screen.query_one(Input).value = value

    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        await filled(pilot, pairs)
        await name(pilot, "page.txt")
        await sees(pilot, "The name has to end with .md or .html")
        await pilot.press("escape")
        for answer in ("n", "y"):
            await name(pilot, page.name)
            await pilot.press("enter")
            await sees(pilot, "Replace this file?")
            assert page.read_text() == "mine"
            await pilot.press(answer)
        await sees(pilot, "Written to")

    on_compare(do, pairs)
    assert "[b]politely[/b]" in page.read_text()


def test_another_run_or_checkpoint_is_chosen_from_a_list(pairs: Pairs) -> None:
    fake_pair.run("other", data="sample:chat")
    fake_pair.run("cut", checkpoints=[7], result=False)

    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        await filled(pilot, pairs)
        first = pairs.pair
        await pilot.press("r")
        await sees(pilot, "Which run is to be compared", "other", "cut@7", "mine@50", "mine@100")
        await typed(pilot, "mine@5")
        await until(pilot, lambda: "cut@7" not in text(pilot.app))
        await pilot.press("enter")
        await sees(pilot, "mine@50, base smollm2", "m measures the held-out loss of both")
        await until(pilot, lambda: first.released)
        await pilot.press("r")
        await sees(pilot, "Which run")
        await typed(pilot, "cut")
        await pilot.press("down", "up", "enter")
        await sees(pilot, "cut@7, base smollm2")
        assert pilot.app.wizard.run == "cut"  # type: ignore[attr-defined]

    on_compare(do, pairs)


def test_a_stopped_run_without_a_result_is_compared_by_its_newest_checkpoint(pairs: Pairs) -> None:
    fake_pair.run("cut", checkpoints=[7, 21], result=False)

    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        assert "cut@21, base smollm2" in said(pilot.app)

    on_compare(do, pairs, name="cut")


def test_a_run_that_is_gone_is_said(pairs: Pairs) -> None:
    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        assert footer(pilot.app)["enter"] == "Choose a run"

    on_compare(do, pairs, name="nobody", ready="✗ There is no run")


def test_without_held_out_rows_prompts_are_typed(pairs: Pairs) -> None:
    fake_pair.run("gone", data="rows.jsonl")

    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        assert "rows.jsonl" in said(pilot.app)
        await pilot.press("t")
        await until(pilot, lambda: pilot.app.screen.query("#answer"))
        await typed(pilot, "why")
        await pilot.press("enter")
        await sees(pilot, "[1/1] why", "answer number 1 is easy")

    on_compare(do, pairs, name="gone", ready="No prompt yet")


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_answers_stand_beside_or_below_each_other_and_scroll(size: tuple[int, int], pairs: Pairs) -> None:
    long = "\n".join(f"line {number}" for number in range(80))
    pairs.says = lambda prompt, number: (long, long.upper())

    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        await filled(pilot, pairs)
        one, two = pilot.app.screen.query_one("#one", AnswerPane), pilot.app.screen.query_one("#two", AnswerPane)
        assert (one.region.y == two.region.y) == (size == LARGE)
        await pilot.press("v")
        await until(pilot, lambda: (one.region.y == two.region.y) == (size == SMALL))
        assert "line 0" in text(pilot.app)
        assert "more lines" in text(pilot.app)
        await pilot.press("end")
        await until(pilot, lambda: "line 79" in text(pilot.app) and "line 0\n" not in text(pilot.app))
        await pilot.press("home", "pagedown", "up", "down")
        await pilot.press("d")
        await until(pilot, lambda: "underlined" not in text(pilot.app))
        if size == LARGE:
            await pilot.click("#prompts", offset=(5, 4))
            await sees(pilot, "[5/8]")
            await pilot.press("enter")
            await until(pilot, lambda: len(pairs.pair.asked) == 2)

    on_compare(do, pairs, size=size)


def test_while_a_run_goes_on_models_are_loaded_only_after_a_question_and_leave_before_the_next_one(
    pairs: Pairs,
) -> None:
    engine = FakeEngine()

    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        app: Any = pilot.app
        app.session.start(plan(name="going-on"))
        await pilot.press("enter")
        await sees(pilot, "A run is being trained. Ask now?")
        await pilot.press("n")
        assert not pairs.made
        await pilot.press("enter", "y")
        await sees(pilot, "answer number 1 is easy")
        app.make_room()
        await until(pilot, lambda: pairs.pair.released)

    on_compare(do, pairs, engine=engine)


# Pieces


@given(st.text(max_size=200), st.integers(2, 30))
def test_wrapped_lines_fit_and_lose_nothing_but_blanks(words: str, width: int) -> None:
    words = "".join(char for char in words if char == "\n" or char.isprintable())
    lines = [words[begin:end] for begin, end in spans(words, width)]
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(words.split())


def test_a_sitting_is_read_again_as_it_was_kept(pairs: Pairs) -> None:
    from ftk.evaluation import subjects

    models = subjects.find(["mine"])
    sitting = Sitting(models, Sampling(max_tokens=5, temperature=0.3), seed=3)
    sitting.add([Prompt(({"role": "user", "content": f"{number}?"},)) for number in range(4)], "typed")
    for number in (1, 3):
        sitting.entries[number].answers = {
            label: Answer(f"{label} [b] \x1b", 3, 1, "end") for label in ("base", "mine")
        }
    sitting.judge(sitting.entries[3], "mine")
    path = comparisons.keep(models[-1].run, sitting.record())
    back = Sitting.restored(models, path)
    assert back is not None
    assert [entry.number for entry in back.entries] == [1, 3]  # what was drawn hangs on them
    assert (back.sampling, back.seed, back.tally) == (sitting.sampling, 3, {"base": 0, "mine": 1, "no difference": 0})
    assert [entry.seen for entry in back.entries] == [False, True]
    assert back.record().answers == sitting.record().answers
    assert back.add([Prompt(({"role": "user", "content": "1?"},))], "file") == 0
    assert Sitting.restored(list(reversed(models)), path) is None


# The real thing


def test_a_real_run_is_asked_and_measured(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("trained")
    train(folder, model_folder(), "mine", max_steps=12)
    monkeypatch.setenv("FTK_RUNS", str(folder / "runs"))

    async def do(pilot: Pilot[int], pairs: Pairs) -> None:
        await pilot.press("enter")
        await until(pilot, lambda: kept())
        await pilot.press("m")
        await sees(pilot, "measured on 4 rows")

    on_compare(do, Pairs(), ready="[1/4]")
    ((line,),) = [made.answers for made in kept()]
    assert line["answers"]["base"]["tokens"] > 0
    assert line["reference"]
