from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widgets import Static

from ftk import autoconfig
from ftk.config import build
from ftk.errors import DataError, RunError
from ftk.events import (
    Answered,
    CheckpointSaved,
    Evaluation,
    Event,
    Failed,
    Finished,
    Phase,
    Started,
    Stopped,
    Telemetry,
    Warned,
)
from ftk.runs import Journal, RunFolder
from ftk_tui import starting
from ftk_tui.app import FtkApp
from ftk_tui.session import LIBRARY, Session
from ftk_tui.standing import standing
from ftk_tui.starting import Planning
from ftk_tui.widgets import figures, gauge, phase_bar
from ftk_tui.widgets.event_log import EventLog
from ftk_tui.widgets.gauge import Load, Memory
from ftk_tui.widgets.loss_chart import LossChart
from ftk_tui.widgets.phase_bar import Progress
from ftk_tui.wizard import Wizard

from . import snapshots
from .harness import (
    CPU,
    GIB,
    LARGE,
    SIZES,
    SMALL,
    WITH_CARD,
    FakeEngine,
    FakeRunner,
    drive,
    footer,
    plan,
    step,
    telemetry,
    text,
    toasts,
    until,
)  # fmt: skip

Do = Callable[[Pilot[int], FakeEngine], Awaitable[None]]


def loss(number: int) -> float:
    return 1.2 + 2 * math.exp(-number / 20) + 0.2 * math.sin(1.7 * number)


def news(number: int, *, total: int = 100, card: bool = False, at: float | None = None) -> list[Event]:
    """What is told around a step."""
    moment = snapshots.NOW + number if at is None else at
    memory = {"gpu_memory_bytes": 9 * GIB} if card else {}
    found: list[Event] = [
        step(number, total, loss=loss(number), grad_norm=1 + 0.4 * math.sin(3 * number),
             learning_rate=2e-4 * (1 - number / total), time=moment, **memory)
    ]  # fmt: skip
    if number % 20 == 0:
        found.append(
            Evaluation(step=number, loss=loss(number) + 0.1, perplexity=4.0, rows=10, supervised_tokens=99, best=True,
                       seconds=1.0, time=moment)
        )  # fmt: skip
    if number % 25 == 0:
        found.append(CheckpointSaved(step=number, path="x", bytes=30_000_000, seconds=0.3, time=moment))
    sample = telemetry(cpu_percent=150.0 + 40 * math.sin(number / 3))
    if card:
        sample = telemetry(
            gpu="NVIDIA Test 24", gpu_memory_bytes=9 * GIB + number * 10**7, gpu_memory_used=11 * GIB + number * 10**7,
            gpu_memory_total=24 * GIB, gpu_percent=90 + 5 * math.sin(number), gpu_power=280.0, gpu_temperature=71.0,
        )  # fmt: skip
    return [*found, dataclasses.replace(sample, time=moment)]


def train(engine: FakeEngine, app: Any, steps: int = 42, *, card: bool = False, **settings: Any) -> FakeRunner:
    """Have a run begin and make some steps."""
    app.session.start(plan(WITH_CARD if card else CPU, name="mine", **settings))
    engine.runner.tell(Phase(name="load", detail="SmolLM2-135M"), Phase(name="train", detail="100 rows, 100 steps"))
    for number in range(1, steps + 1):
        engine.runner.tell(*news(number, card=card))
    return engine.runner


def on_train(
    do: Do,
    *,
    size: tuple[int, int] = SMALL,
    engine: FakeEngine | None = None,
    wizard: Wizard | None = None,
    **more: Any,
) -> FtkApp:
    """Run the app, go to Train, and do something there."""
    engine = FakeEngine()

    async def test(pilot: Pilot[int]) -> None:
        await pilot.press("3")
        await until(pilot, lambda: "Enter plans and starts" in text(pilot.app))
        await do(pilot, engine)

    return drive(test, size=size, engine=engine, wizard=wizard, **more)


async def sees(pilot: Pilot[int], *words: str) -> None:
    """Wait for words, however they are broken into lines."""
    await until(pilot, lambda: all(word in " ".join(text(pilot.app).split()) for word in words))


# Pictures


async def empty(pilot: Pilot[int], engine: FakeEngine) -> None:
    pilot.app.wizard.choose(model="smollm2", learning_rate=1e-4, epochs=2.0)  # type: ignore[attr-defined]
    await sees(pilot, "learning_rate")


async def loading(pilot: Pilot[int], engine: FakeEngine) -> None:
    pilot.app.session.start(plan(name="mine"))  # type: ignore[attr-defined]
    engine.runner.tell(Phase(name="download", detail="HuggingFaceTB/SmolLM2", done=30e6, total=93e6, unit="bytes"))
    await sees(pilot, "Downloading", "32 %", "30 of 93 MB")


async def running(pilot: Pilot[int], engine: FakeEngine) -> None:
    train(engine, pilot.app)
    await sees(pilot, "42 %", "step 42 of 100", "held out")


async def on_card(pilot: Pilot[int], engine: FakeEngine) -> None:
    train(engine, pilot.app, card=True)
    await sees(pilot, "42 %")
    if pilot.app.size.width < 100:
        await pilot.press("v")
    await sees(pilot, "GPU memory 11.4 of 24.0 GiB", "peak 9.4", "280 W")


async def paused(pilot: Pilot[int], engine: FakeEngine) -> None:
    train(engine, pilot.app)
    await sees(pilot, "step 42 of 100")
    await pilot.press("p")
    await sees(pilot, "holds after step 42", "p goes on")


async def finished(pilot: Pilot[int], engine: FakeEngine) -> None:
    runner = train(engine, pilot.app, 100)
    runner.tell(
        Answered(prompt="What is a [b]cat[/b]?", base="A dog.\x1b[31m", tuned="A small animal that purrs."),
        Answered(prompt="Two?", base="One.", tuned="Two."),
    )
    runner.finish()
    await sees(pilot, "mine is done", "3.0000 before, 1.5000 after (-50%)", "Enter compares")


async def answers(pilot: Pilot[int], engine: FakeEngine) -> None:
    await finished(pilot, engine)
    await pilot.press("v", "v")
    await sees(pilot, "What is a [b]cat[/b]?", r"A dog.\x1b[31m", "purrs")


async def failed(pilot: Pilot[int], engine: FakeEngine) -> None:
    train(engine, pilot.app).fail()
    await sees(pilot, "failed at step 42", "The loss is not a number.", "Try a lower", "r goes on")


async def stopped(pilot: Pilot[int], engine: FakeEngine) -> None:
    runner = train(engine, pilot.app)
    await sees(pilot, "step 42 of 100")
    await pilot.press("x")
    assert runner.asked == ["stop"]
    await sees(pilot, "mine stops", "It will save and stop")
    runner.stopped()
    await sees(pilot, "stopped at step 42: stopped in the app", "r goes on from there")


async def interrupted(pilot: Pilot[int], engine: FakeEngine) -> None:
    run = journalled("mine", 42)
    pilot.app.session.follow(run)  # type: ignore[attr-defined]
    await sees(pilot, "was interrupted after step 42", "r goes on from step 25")


async def refused(pilot: Pilot[int], engine: FakeEngine) -> None:
    pilot.app.wizard.choose(data="nowhere.jsonl")  # type: ignore[attr-defined]
    await pilot.press("enter")
    await sees(pilot, "✗", "nowhere.jsonl")


STATES = {
    do.__name__.replace("_", "-"): do
    for do in (empty, loading, running, on_card, paused, finished, answers, failed, stopped, interrupted)
}


def journalled(name: str, steps: int, **changes: Any) -> RunFolder:
    """A run that another process carried out, and left without a word."""
    made = plan(name=name, **changes)
    run = RunFolder.create(name, "smollm2")
    run.config_file.write_text(made.config.to_yaml())
    data = {"name": "sample:chat", "rows": len(made.dataset), "sha256": made.dataset.fingerprint}
    run.write_provenance({"model": {"name": "smollm2"}, "data": data})
    journal = Journal(run)
    journal(
        Started(run=name, folder=str(run.path), model="smollm2", data="sample:chat", version="0", time=snapshots.NOW)
    )
    for number in range(1, steps + 1):
        for event in news(number):
            if not isinstance(event, Telemetry):
                journal(event)
    journal.close()
    return run


@pytest.mark.parametrize(
    ("state", "size"),
    [
        pytest.param(state, size, id=f"{state}-{size[0]}x{size[1]}")
        for state in STATES
        for size in SIZES
        if (state, size) != ("answers", LARGE)  # they are in the picture of the finished run
    ],
)
def test_pictures(state: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots.freeze(monkeypatch)

    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await STATES[state](pilot, engine)
        await snapshots.settled(pilot)
        snapshots.compare(pilot.app, f"train-{state}-{size[0]}x{size[1]}")

    on_train(do, size=size, hardware=WITH_CARD if state == "on-card" else CPU)


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x50"])
def test_a_plan_that_cannot_be_made_says_why_and_what_to_do(size: tuple[int, int]) -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await refused(pilot, engine)
        assert not engine.runners
        pilot.app.wizard.choose(data="sample:chat")  # type: ignore[attr-defined]
        await sees(pilot, "Enter plans and starts")

    on_train(do, size=size)


# Begin


def test_enter_plans_and_starts_and_every_key_is_shown_when_it_works() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        assert footer(pilot.app)["enter"] == "Start"
        assert not {"p", "s", "x", "a", "r", "n", "v", "t"} & set(footer(pilot.app))
        await pilot.press("enter")
        await sees(pilot, "begins")
        assert engine.runner.plan.total_steps == 7
        shown = footer(pilot.app)
        assert (shown["p"], shown["x"], shown["a"]) == ("Pause", "Save, stop", "Abort")
        assert not {"enter", "s", "r", "n"} & set(shown)  # nothing to save yet
        await until(pilot, lambda: pilot.app.wizard.run == engine.runner.run.name)  # type: ignore[attr-defined, union-attr]
        await pilot.press("enter")
        await pilot.pause()
        assert len(engine.runners) == 1

    on_train(do, wizard=Wizard(build({"max_steps": 7})))


def test_a_plan_shows_how_far_it_is_and_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(settings: Any, progress: Any) -> Any:
        while True:
            progress(300, 1000)
            time.sleep(0.02)

    monkeypatch.setattr(autoconfig, "plan", slow)

    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await pilot.press("enter")
        await sees(pilot, "Planning", "Reading the data", "30 %")
        assert footer(pilot.app)["x"] == "Cancel"
        assert "enter" not in footer(pilot.app)
        await pilot.press("x")
        await sees(pilot, "Enter plans and starts")
        assert not engine.runners

    on_train(do)


def test_a_fault_while_planning_is_told_and_does_not_end_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: Any, progress: Any) -> Any:
        raise ZeroDivisionError("[red]oh[/red]")

    monkeypatch.setattr(autoconfig, "plan", broken)

    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await pilot.press("enter")
        await sees(pilot, "ZeroDivisionError: [red]oh[/red]")

    on_train(do)


def test_a_run_that_cannot_even_begin_says_why() -> None:
    class Broken(FakeRunner):
        def start(self) -> FakeRunner:
            self.state = "failed"
            self._done.set()
            return self

        def result(self, on_interrupt: Any = None) -> Any:
            raise RunError("There is a run 'mine' already.", hint="Choose another name.")

    session = Session(make=Broken, sample=FakeEngine().session()._sample)  # type: ignore[arg-type]

    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        session.start(plan(name="mine"))
        await sees(pilot, "The run could not begin: There is a run 'mine' already.", "Choose another name.")
        assert footer(pilot.app)["enter"] == "Start"

    on_train(do, session=session)


# The keys of a run that goes on


def test_pause_and_go_on() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await paused(pilot, engine)
        assert footer(pilot.app)["p"] == "Go on"
        await pilot.press("p")
        await sees(pilot, "mine trains")
        assert engine.runner.asked == ["pause", "proceed"]

    on_train(do)


def test_save_asks_for_a_checkpoint() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await running(pilot, engine)
        await pilot.press("s")
        await sees(pilot, "It will save after this step")
        assert engine.runner.asked == ["save"]

    on_train(do)


@pytest.mark.parametrize(("answer", "asked"), [("n", []), ("escape", []), ("enter", []), ("y", ["abort"])])
def test_abort_asks_first(answer: str, asked: list[str]) -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await running(pilot, engine)
        await pilot.press("a")
        await sees(pilot, "Abort the run?", "is lost")
        await pilot.press(answer)
        await until(pilot, lambda: "Abort the run?" not in text(pilot.app))
        assert engine.runner.asked == asked

    on_train(do)


def test_enter_compares_what_is_finished() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await finished(pilot, engine)
        assert footer(pilot.app)["enter"] == "Compare"
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.current_mode == "compare")

    on_train(do)


def test_a_new_run_after_another_one() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await finished(pilot, engine)
        await pilot.press("n")
        await sees(pilot, "Enter plans and starts", "command line")
        await pilot.press("n")
        await sees(pilot, "mine is done")
        await pilot.press("n", "enter")
        await until(pilot, lambda: len(engine.runners) == 2)
        await sees(pilot, "begins")
        assert "step 100" not in text(pilot.app)

    on_train(do, wizard=Wizard(build({"max_steps": 7})))


def test_a_stopped_run_goes_on_by_key_and_keeps_its_curve() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        run = journalled("mine", 42)
        pilot.app.session.follow(run)  # type: ignore[attr-defined]
        await sees(pilot, "was interrupted")
        assert footer(pilot.app)["r"] == "Go on"
        await pilot.press("r")
        await until(pilot, lambda: engine.runners)
        runner = engine.runner
        assert runner.run and runner.run.path == run.path
        await until(pilot, lambda: pilot.app.session.series.steps)  # type: ignore[attr-defined]
        runner.tell(
            Started(run="mine", folder=str(run.path), model="m", data="d", version="0", resumed_from=25),
            step(26, 100, loss=1.0),
        )
        await sees(pilot, "mine")
        await until(pilot, lambda: len(pilot.app.session.series.steps) == 26)  # type: ignore[attr-defined]
        assert pilot.app.session.state == "running"  # type: ignore[attr-defined]

    on_train(do)


def test_a_run_that_is_not_as_it_was_says_what_differs_and_stays_shown() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        run = journalled("mine", 5)
        run.write_provenance({"model": {"name": "smollm2"}, "data": {"name": "sample:chat", "rows": 1, "sha256": "x"}})
        pilot.app.session.follow(run)  # type: ignore[attr-defined]
        await sees(pilot, "was interrupted")
        await pilot.press("r")
        await sees(pilot, "changed since it was started")
        assert not engine.runners
        assert footer(pilot.app)["r"] == "Go on"

    on_train(do)


# The chart, the panes, the log


def test_the_keys_of_the_chart() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        train(engine, pilot.app, 100)
        await sees(pilot, "step 100 of 100")
        chart = pilot.app.screen.query_one("#chart", LossChart)
        assert not {"minus", "w"} & set(footer(pilot.app))
        await pilot.press("plus")
        assert chart.window == (50, 100)
        await until(pilot, lambda: {"minus", "w", "left"} <= set(footer(pilot.app)))
        await pilot.press("left")
        assert chart.window == (37.5, 87.5)
        await until(pilot, lambda: footer(pilot.app)["right"] == "Later steps")
        await pilot.press("right", "minus")
        assert chart.window == (0, 100)
        await pilot.press("equals_sign", "w")
        assert chart.window == (0, 100)
        await pilot.press("l")
        await sees(pilot, "loss, log")
        await pilot.press("l", "t")
        await sees(pilot, "learning rate")

    on_train(do, size=LARGE)


def test_arrows_move_the_focus_where_there_is_nothing_to_move_in_the_chart() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await running(pilot, engine)
        assert pilot.app.focused is pilot.app.screen.query_one("#chart")
        await pilot.press("right")
        await until(pilot, lambda: pilot.app.focused is not pilot.app.screen.query_one("#chart"))
        await pilot.press("left")
        await until(pilot, lambda: pilot.app.focused is pilot.app.screen.query_one("#chart"))

    on_train(do)


def test_the_small_charts_show_the_same_part_of_the_run() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        train(engine, pilot.app, 100)
        await sees(pilot, "step 100 of 100", "gradient norm", "learning rate")
        await pilot.press("plus")
        for chart in pilot.app.screen.query(LossChart):
            assert chart.window == (50, 100)
            assert "50" in chart.shows().splitlines()[-1]

    on_train(do, size=LARGE)


def test_what_is_below_the_chart_changes_by_key_where_there_is_little_room() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await running(pilot, engine)
        for words in ("memory 4.0 of 8.0 GiB", "Sample answers come here", "Loading the model", "tokens/s"):
            await pilot.press("v")
            await sees(pilot, words)
            assert "loss" in text(pilot.app)

    on_train(do)


def test_a_larger_terminal_shows_everything_at_once() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await running(pilot, engine)
        assert "v" in footer(pilot.app)
        await pilot.resize_terminal(*LARGE)
        await sees(pilot, "tokens/s", "memory 4.0", "processor", "Sample answers", "learning rate", "Loading the model")
        await until(pilot, lambda: "v" not in footer(pilot.app))
        await pilot.resize_terminal(*SMALL)
        await until(pilot, lambda: "learning rate" not in text(pilot.app))
        await sees(pilot, "tokens/s")

    on_train(do)


def test_the_filter_of_the_log() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        runner = train(engine, pilot.app)
        runner.tell(Warned(code="x", message="[b]Beware[/b]", time=1.0))
        await sees(pilot, "Loading the model", "! [b]Beware[/b]", "checkpoint at step 25")
        await pilot.press("f")
        await until(pilot, lambda: "Loading the model" not in text(pilot.app))
        assert "[b]Beware[/b]" in text(pilot.app)
        await pilot.press("f")
        await until(pilot, lambda: "Beware" not in text(pilot.app))
        assert "checkpoint at step 25" in text(pilot.app)
        runner.tell(Warned(code="x", message="Later", time=1.0), CheckpointSaved(step=42, path="x", bytes=1, seconds=1))
        await sees(pilot, "checkpoint at step 42")
        assert "Later" not in text(pilot.app)
        await pilot.press("f")
        await sees(pilot, "Later", "Loading the model")

    on_train(do, size=LARGE)


# Warnings


def test_warnings_are_toasts_as_data_and_what_libraries_say_is_not() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        runner = train(engine, pilot.app, 3)
        await sees(pilot, "step 3 of 100")
        runner.tell(
            Warned(code="memory", message="Step 4 did not fit [the] memory.\x07", hint="Smaller portions."),
            Warned(code=LIBRARY, message="FutureWarning: something"),
            Warned(code="old", message="Of yesterday.", time=time.time() - 86_400),
        )
        await sees(pilot, r"fit [the] memory.\x07")
        assert toasts(pilot.app) == [r"Step 4 did not fit [the] memory.\x07 Smaller portions."]

    on_train(do)


def test_a_flood_of_warnings_is_a_few_toasts() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        runner = train(engine, pilot.app, 3)
        await sees(pilot, "step 3 of 100")
        runner.tell(*(Warned(code="x", message=f"Number {number}.") for number in range(50)))
        await until(pilot, lambda: "47 more warnings: see the log." in toasts(pilot.app))
        assert len(toasts(pilot.app)) == 4

    on_train(do)


# Runs of other processes


def test_a_run_of_another_process_looks_the_same_and_hears_the_keys() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        run = journalled("theirs", 30)
        run.requests.mkdir(mode=0o700)
        with run.locked():
            journal = Journal(run)
            pilot.app.session.follow(run)  # type: ignore[attr-defined]
            await sees(pilot, "theirs", "Another process", "epoch")
            await pilot.press("p")
            await until(pilot, lambda: [path.name for path in run.requests.iterdir()] == ["000001-pause"])
            for event in news(31):
                if not isinstance(event, Telemetry):
                    journal(event)
            await sees(pilot, "31 of 100")
            journal(Stopped(step=31, reason="asked to", checkpoint=None))
            journal.close()
        await sees(pilot, "stopped at step 31: asked to", "r begins again")

    on_train(do)


def test_a_run_that_takes_no_requests_says_so() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        run = journalled("theirs", 30)
        with run.locked():
            pilot.app.session.follow(run)  # type: ignore[attr-defined]
            await sees(pilot, "Another process")
            await pilot.press("s")
            await sees(pilot, "takes no requests")

    on_train(do)


# While another screen is shown


def test_nothing_is_drawn_while_another_screen_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    paint = LossChart.paint

    def counted(self: LossChart, rows: Any) -> None:
        drawn.append(len(rows))
        paint(self, rows)

    monkeypatch.setattr(LossChart, "paint", counted)

    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        runner = train(engine, pilot.app, 10)
        await sees(pilot, "step 10 of 100")
        await pilot.press("0")
        await until(pilot, lambda: pilot.app.current_mode == "home")
        drawn.clear()
        for number in range(11, 61):
            runner.tell(*news(number))
        await until(pilot, lambda: len(pilot.app.session.series.steps) == 60)  # type: ignore[attr-defined]
        assert drawn == []
        await pilot.press("3")
        await sees(pilot, "step 60 of 100")
        assert drawn

    on_train(do)


def test_steps_come_fast_and_charts_are_drawn_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[float] = []
    show = LossChart.show

    def counted(self: LossChart, series: Any, total: int) -> None:
        if self.id == "chart":
            shown.append(time.monotonic())
        show(self, series, total)

    monkeypatch.setattr(LossChart, "show", counted)

    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        runner = train(engine, pilot.app, 1, max_steps=10_000)
        await sees(pilot, "mine trains")
        shown.clear()
        begin = time.monotonic()
        flood = runner.flood(2.0)
        await until(pilot, lambda: not flood.is_alive())
        await until(pilot, lambda: len(pilot.app.session.series.steps) == runner.step)  # type: ignore[attr-defined]
        assert 0 < len(shown) <= 6 * (time.monotonic() - begin) + 2

    on_train(do)


# Whatever is told


WORDS = st.text(max_size=60)
ANY_EVENT = st.one_of(
    st.builds(Phase, name=WORDS, detail=WORDS, done=st.none() | st.floats(), total=st.none() | st.floats(), unit=WORDS),
    st.builds(Warned, code=WORDS, message=WORDS, hint=WORDS),
    st.builds(Answered, prompt=WORDS, base=WORDS, tuned=WORDS),
    st.builds(
        step, st.integers(1, 10**9), st.integers(1, 10**9), loss=st.floats(), grad_norm=st.floats(),
        learning_rate=st.floats(), tokens_per_s=st.floats(), eta_s=st.floats(0, 1e12), elapsed_s=st.floats(0, 1e12),
        memory_bytes=st.integers(0, 2**62), gpu_memory_bytes=st.none() | st.integers(0, 2**62),
    ),
    st.builds(
        Telemetry, memory_bytes=st.integers(0, 2**62), memory_used=st.integers(0, 2**62),
        memory_total=st.integers(0, 2**62), cpu_percent=st.none() | st.floats(0, 1e5), gpu=WORDS,
        gpu_memory_bytes=st.none() | st.integers(0, 2**62), gpu_memory_used=st.none() | st.integers(0, 2**62),
        gpu_memory_total=st.none() | st.integers(0, 2**62), gpu_percent=st.none() | st.floats(0, 200),
    ),
    st.builds(Failed, step=st.integers(0, 10**9), error=WORDS, message=WORDS, hint=WORDS),
)  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x50"])
def test_whatever_a_run_tells_is_shown_and_does_no_harm(size: tuple[int, int]) -> None:
    events: list[Event] = []

    @given(st.lists(ANY_EVENT, min_size=5, max_size=40))
    def collect(found: list[Event]) -> None:
        events.extend(found)

    collect()

    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        pilot.app.session.start(plan(name="mine"))  # type: ignore[attr-defined]
        bridge = pilot.app.session._bridge  # type: ignore[attr-defined]
        for number, event in enumerate(events):
            bridge(event)
            if number % 40 == 0:
                await until(pilot, lambda: not bridge.waiting)
        await until(pilot, lambda: not bridge.waiting)
        await pilot.press("v", "v", "v", "t", "plus", "l", "f")
        await pilot.pause()
        assert pilot.app.is_running
        assert not any(char in text(pilot.app) for char in "\x1b\x07\x9b‮")

    on_train(do, size=size)


# The parts


@given(
    sizes=st.tuples(*(st.none() | st.integers(0, 2**45) for _ in range(5))), width=st.integers(12, 160)
)  # fmt: skip
def test_a_gauge_fits_its_width_whatever_is_known(sizes: tuple[Any, ...], width: int) -> None:
    rows = gauge.gauge(Memory("memory", *sizes), width)
    if sizes[2] and (sizes[0] is not None or sizes[1] is not None):
        assert sum(len(text) for text, _ in rows[1]) == width - 1
    assert 1 <= len(rows) <= 3


def test_a_gauge_tells_the_run_from_others_and_marks_peak_and_expectation_by_signs() -> None:
    memory = Memory("GPU memory", 8 * GIB, 12 * GIB, 16 * GIB, 10 * GIB, 14 * GIB)
    figures_row, bar, legend = ("".join(part for part, _ in row) for row in gauge.gauge(memory, 34))
    assert "12.0 of 16.0 GiB" in figures_row
    assert (bar.count("█"), bar.count("▒") + bar.count("╵")) == (16, 8)
    assert bar.index("╵") == 20
    assert bar.index("◇") == 28
    for words in ("█ run 8.0", "▒ others 4.0", "╵ peak 10.0", "◇ expected 14.0"):
        assert words in legend


@given(
    values=st.lists(st.floats(0, 1000), max_size=200), width=st.integers(4, 120), height=st.integers(0, 8),
    full=st.sampled_from([100.0, 1600.0]),
)  # fmt: skip
def test_a_load_fits_its_place(values: list[float], width: int, height: int, full: float) -> None:
    rows = gauge.course(Load("GPU", list(range(len(values))), values, full), width, height)
    assert len(rows) <= max(height, 0)
    assert all(sum(len(text) for text, _ in row) <= width for row in rows[1:])


@given(
    name=st.text(max_size=40), detail=st.text(max_size=200), done=st.none() | st.floats(),
    total=st.none() | st.floats(), width=st.integers(20, 160),
)  # fmt: skip
def test_a_progress_is_one_line_without_control_characters(
    name: str, detail: str, done: float | None, total: float | None, width: int
) -> None:
    progress = Progress(name, detail, done, total)
    line = "".join(part for part, _ in phase_bar.line(progress, width))
    assert "\n" not in line
    assert "\x1b" not in line
    assert progress.part is None or 0 <= progress.part <= 1


def test_the_bar_of_a_progress_fills_up() -> None:
    def filled(done: float) -> int:
        return "".join(part for part, _ in phase_bar.line(Progress("Downloading", "", done, 100.0), 80)).count("━")

    lengths = [filled(done) for done in (0, 1, 25, 50, 99, 100)]
    assert lengths[0] == 0
    assert lengths[1] == 1
    assert lengths == sorted(lengths)
    assert filled(99) < filled(100) == filled(250)


def test_the_time_left_is_a_time_of_day_and_names_another_day(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots.freeze(monkeypatch)
    readings = figures.Readings(step=step(42, 100, eta_s=600.0), active=True)
    assert dict(figures.figures(readings, snapshots.NOW))["left"] == "10:00"
    assert dict(figures.figures(readings, snapshots.NOW))["done at"] == "22:23"
    later = figures.Readings(step=step(42, 100, eta_s=36_000.0), active=True)
    assert dict(figures.figures(later, snapshots.NOW))["done at"] == "Wed 08:13"


def test_what_it_costs_so_far_and_in_all_where_a_price_is_known() -> None:
    readings = figures.Readings(step=step(50, 100, elapsed_s=1800.0, eta_s=1800.0), active=True, price=2.0)
    assert dict(figures.figures(readings, 0.0))["cost"] == "1.00 of 2.00"
    assert "cost" not in dict(figures.figures(dataclasses.replace(readings, price=None), 0.0))


def test_a_loss_that_hardly_fell_is_no_success_without_a_word() -> None:
    session = Session()
    session._bridge(
        Finished(step=10, adapter="a", loss_before=2.0, loss_after=1.999, train_loss=1.0, seconds=1.0, training_s=1.0,
                 tokens=1, peak_memory_bytes=1)
    )  # fmt: skip
    session.take()
    now = standing(session)
    assert now.tone == "warn"
    assert "hardly fell" in now.headline


def test_the_past_of_a_run_is_told_without_its_ending(home: Path) -> None:
    run = journalled("mine", 30)
    journal = Journal(run)
    journal(Stopped(step=30, reason="x", checkpoint=None))
    journal.close()
    told = starting.past(run)
    assert [event.step for event in told if event.kind == "step"] == list(range(1, 31))  # type: ignore[attr-defined]
    assert not any(isinstance(event, Stopped | Started) for event in told)


def test_a_plan_knows_the_memory_that_it_will_take() -> None:
    found = starting.new(build({"max_steps": 3}), Planning("plan"))
    assert found.plan.total_steps == 3
    assert found.memory
    assert 2**28 < found.memory < 2**36


def test_no_plan_is_made_of_data_that_is_not_there() -> None:
    with pytest.raises(DataError):
        starting.new(build({"data": "nowhere.jsonl"}), Planning("plan"))


def test_the_log_keeps_what_it_cannot_show_yet_for_when_it_comes_into_sight() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await running(pilot, engine)
        await pilot.press("v", "v")
        await sees(pilot, "Sample answers")
        engine.runner.tell(Warned(code="x", message="Unseen", time=1.0))
        await until(pilot, lambda: pilot.app.session.log[-1].kind == "warning")  # type: ignore[attr-defined]
        assert "Unseen" not in text(pilot.app)
        await pilot.press("v")
        await sees(pilot, "Unseen")
        log = pilot.app.screen.query_one(EventLog)
        assert sum("Unseen" in line.text for line in log.lines) == 1

    on_train(do)


def test_nothing_on_the_screen_is_wider_than_it() -> None:
    async def do(pilot: Pilot[int], engine: FakeEngine) -> None:
        await failed(pilot, engine)
        assert all(cell_len(line) <= 80 for line in text(pilot.app).splitlines())
        assert pilot.app.screen.query_one("#state", Static).size.height <= 6

    on_train(do)
