"""The run as the app sees it: carried out or followed, its events, numbers, samples and switches."""

from __future__ import annotations

import itertools
import logging
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ftk import requests
from ftk.errors import FtkError, RunError
from ftk.events import Event, Leaving, Listener, Phase, Step, Warned
from ftk.runs import Journal, RunFolder
from ftk.training.control import Control
from ftk_tui.bridge import Bridge, latest_step
from ftk_tui.library_log import LibraryLog
from ftk_tui.samples import Samples
from ftk_tui.session import LIBRARY, Session
from ftk_tui.status import of_session
from tests import run_folders
from tests.pseudo_terminal import until

from .harness import FakeEngine, NoSampler, plan, step, telemetry


def taken(session: Session, condition: Callable[[], object]) -> list[Event]:
    """Take events until something is so."""
    events: list[Event] = []

    def look() -> object:
        events.extend(session.take())
        return condition()

    until(look)
    return events


# A run of this process


def test_a_run_from_its_beginning_to_its_end() -> None:
    engine = FakeEngine()
    session = engine.session()
    assert (session.state, session.active, session.own, session.busy) == ("none", False, False, False)
    assert session.take() == []
    session.start(plan(name="mine"))
    assert (session.state, session.own, session.busy) == ("running", True, True)
    assert [event.kind for event in session.take()] == ["started"]
    assert session.run is not None
    assert session.run.name == "mine"
    engine.runner.tell(Phase(name="load", done=1.0, total=9.0), Phase(name="load", done=2.0, total=9.0))
    engine.runner.steps(3)
    kinds = [event.kind for event in session.take()]
    assert kinds == ["phase", "step", "step", "step"]
    assert list(session.series.steps) == [1, 2, 3]
    assert [event.kind for event in session.log] == ["started"]
    assert isinstance(session.last["step"], Step)
    assert session.result is None
    session.pause()
    session.take()
    assert session.state == "paused"
    session.proceed()
    session.take()
    assert session.state == "running"
    session.save()
    session.stop()
    assert session.state == "stopping"
    assert session.busy
    engine.runner.stopped()
    session.take()
    assert (session.state, session.busy, session.own) == ("stopped", False, True)
    assert engine.runner.asked == ["pause", "proceed", "save", "stop"]
    assert session.result is not None
    assert session.problem is None


def test_one_run_at_a_time_and_then_the_next() -> None:
    engine = FakeEngine()
    session = engine.session()
    session.start(plan(name="first"))
    with pytest.raises(RuntimeError, match="goes on already"):
        session.start(plan())
    with pytest.raises(RuntimeError, match="goes on already"):
        session.follow(RunFolder(Path("anything")))
    engine.runner.steps(2)
    engine.runner.finish()
    taken(session, lambda: session.state == "finished")
    session.start(plan(name="second"))
    taken(session, lambda: session.run and session.run.name == "second")
    assert list(session.series.steps) == []
    assert session.state == "running"
    session.stop(save=False)
    assert engine.runner.asked == ["abort"]
    engine.close()


def test_a_resumed_run_takes_back_what_is_computed_again() -> None:
    run = run_folders.make(
        Path("runs").absolute(), "r", run_folders.started(), run_folders.step(1), run_folders.STOPPED
    )
    engine = FakeEngine()
    session = engine.session()
    remark = Warned(code="override", message="Settings changed.")
    session.start(plan(), resume=run, remarks=[remark])
    assert session.run is run
    engine.runner.steps(5)
    session.take()
    engine.runner.tell(run_folders.started(resumed_from=3))
    session.take()
    assert list(session.series.steps) == [1, 2, 3]
    engine.close()


def test_a_run_that_fails_says_why() -> None:
    engine = FakeEngine()
    session = engine.session()
    session.start(plan())
    engine.runner.fail("No [bold]memory[/].", "Use less.")
    session.take()
    assert session.state == "failed"
    assert session.result is None
    assert session.problem is not None
    assert str(session.problem) == "No [bold]memory[/].\nUse less."


class Stillborn:
    """A runner whose run could not even begin: no event tells of it."""

    state = "failed"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, trainer: Any, listeners: Sequence[Listener]) -> Any:
        return self

    def start(self) -> Any:
        return self

    def join(self, timeout: float | None = None) -> bool:
        return True

    def result(self) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "said"), [(RunError("The disk is full."), "The disk is full."), (ValueError("x"), "ValueError: x")]
)
def test_a_run_that_cannot_begin_has_failed_without_an_event(error: Exception, said: str) -> None:
    session = Session(make=Stillborn(error), sample=lambda listener, device: NoSampler())
    session.start(plan())
    assert session.take() == []
    assert session.state == "failed"
    assert not session.busy
    assert isinstance(session.problem, FtkError)
    assert session.problem.message == said


def test_many_events_are_taken_in_portions() -> None:
    engine = FakeEngine()
    session = engine.session()
    session.start(plan())
    engine.runner.steps(10_000)
    sizes = []
    while events := session.take():
        sizes.append(len(events))
        assert session.behind == (sum(sizes) < 10_001)
    assert sum(sizes) == 10_001
    assert max(sizes) < 10_000
    assert list(session.series.steps) == list(range(1, 10_001))
    engine.close()


# Samples


class Sampler:
    """Samples when the test wants."""

    def __init__(self, listener: Listener, device: str) -> None:
        self.listener, self.device, self.calls = listener, device, list[str]()

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")


def test_the_machine_is_sampled_while_a_run_of_this_process_goes_on() -> None:
    engine, samplers = FakeEngine(), list[Sampler]()

    def sample(listener: Listener, device: str) -> Sampler:
        samplers.append(Sampler(listener, device))
        return samplers[-1]

    session = Session(make=engine, sample=sample)
    session.start(plan())
    sampler = samplers[0]
    assert (sampler.device, sampler.calls) == ("cpu", ["start"])
    sampler.listener(telemetry(cpu_percent=10.0))
    sampler.listener(telemetry(cpu_percent=90.0))
    session.take()
    assert session.telemetry.last is not None
    assert session.telemetry.last.cpu_percent == 90.0
    assert session.telemetry.course("cpu_percent")[1] == [10.0, 90.0]
    assert all(event.kind != "telemetry" for event in session.log)
    engine.runner.finish()
    session.take()
    until(lambda: sampler.calls == ["start", "stop"])
    assert engine.runner.run is not None
    assert all(event.kind != "telemetry" for event in engine.runner.run.events())
    session.follow(engine.runner.run)
    assert len(samplers) == 1


def test_samples_of_a_long_run_are_few_and_cover_all_of_it() -> None:
    samples = Samples()
    for number in range(50_000):
        samples.take(telemetry(time=float(number), gpu_percent=None, cpu_percent=float(number)))
    assert 1000 < len(samples.kept) <= 2400
    times, values = samples.course("cpu_percent")
    assert times[0] == 0
    assert times == values == sorted(times)
    assert times[-1] > 49_900
    gaps = {round(after - before) for before, after in itertools.pairwise(times)}
    assert max(gaps) <= 2 * min(gaps)
    assert samples.course("gpu_percent") == ([], [])
    assert samples.last is not None
    assert samples.last.time == 49_999
    assert samples.version == 50_000
    assert Samples().course("cpu_percent") == ([], [])


# A run of another process


def test_a_finished_run_is_read_from_its_journal() -> None:
    steps = [run_folders.step(number) for number in range(1, 101)]
    run = run_folders.make(Path("runs"), "r", run_folders.started(), *steps, run_folders.finished())
    session = FakeEngine().session()
    session.follow(run)
    taken(session, lambda: session.state == "finished")
    assert list(session.series.steps) == list(range(1, 101))
    assert (session.own, session.busy, session.active) == (False, False, False)
    assert session.result is None
    assert session.problem is None


def test_a_run_whose_process_is_gone_is_interrupted() -> None:
    run = run_folders.make(Path("runs"), "r", run_folders.started(), run_folders.step(1))
    session = FakeEngine().session()
    session.follow(run)
    taken(session, lambda: session.state == "interrupted")
    assert not session.active
    for ask in (session.pause, session.proceed, session.save, session.stop):
        with pytest.raises(RunError, match="No process is running 'r'"):
            ask()
    assert session.state == "interrupted"
    assert of_session(session) == "! interrupted 1/100"


def test_a_run_that_goes_on_elsewhere_is_followed_and_told_what_to_do() -> None:
    run = run_folders.make(Path("runs"), "r", run_folders.started())
    control, session = Control(), FakeEngine().session()
    with run.locked(), requests.listening(run, control):
        write = Journal(run)
        session.follow(run)
        taken(session, lambda: session.state == "running")
        write(step(1))
        taken(session, lambda: latest_step(list(session.last.values())))
        session.pause()
        until(lambda: control.paused)
        session.proceed()
        until(lambda: not control.paused)
        session.save()
        until(control.take_save)
        session.stop()
        assert session.state == "stopping"
        until(lambda: control.stopping)
        write(run_folders.STOPPED)
        taken(session, lambda: session.state == "stopped")
        write.close()


def test_a_run_of_another_process_keeps_nobody_from_training() -> None:
    engine = FakeEngine()
    other = FakeEngine()
    other.session().start(plan(name="other"))
    session = engine.session()
    assert other.runner.run is not None
    session.follow(other.runner.run)
    taken(session, lambda: session.state == "running")
    session.start(plan(name="mine"))
    other.runner.steps(5)
    time.sleep(0.6)  # longer than the follower takes for a look: what it hears is not of this run
    assert [event.kind for event in session.take()] == ["started"]
    engine.close()
    other.close()


# The bridge


def test_the_engine_never_waits_for_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftk_tui.bridge._MOST", 200)
    bridge = Bridge()
    for number in range(250):
        bridge(step(number))
    assert bridge.waiting == 200  # the oldest are in the journal
    first = bridge.take(3)
    assert [event.step for event in first if isinstance(event, Step)] == [50, 51, 52]
    assert len(bridge.take()) == 197
    assert bridge.take() == []


def test_of_the_progress_of_a_phase_only_the_last_is_kept() -> None:
    bridge = Bridge()
    for name in ("load", "load", "prepare", "load"):
        for done in range(5):
            bridge(Phase(name=name, done=float(done)))
    assert [(event.name, event.done) for event in bridge.take() if isinstance(event, Phase)] == [
        ("load", 4.0), ("prepare", 4.0), ("load", 4.0),
    ]  # fmt: skip


def test_what_is_handed_over_loses_nothing_and_keeps_its_order() -> None:
    bridge, heard = Bridge(), list[int]()

    def work() -> None:
        for number in range(20_000):
            bridge(step(number))

    thread = threading.Thread(target=work)
    thread.start()
    taken_first = [event.step for event in bridge.take() if isinstance(event, Step)]
    bridge.hand_over(lambda event: heard.append(event.step))  # type: ignore[attr-defined]
    thread.join()
    assert taken_first + heard == list(range(20_000))
    assert bridge.take() == []


def test_an_heir_that_leaves_is_told_to_the_run() -> None:
    bridge = Bridge()
    bridge(step(1))

    def leaves(event: Event) -> None:
        raise Leaving(Warned(code="terminal", message="gone"))

    bridge.hand_over(leaves)
    with pytest.raises(Leaving):
        bridge(step(2))


# Libraries


def test_what_libraries_say_comes_into_the_log_once_and_without_secrets() -> None:
    engine = FakeEngine()
    session = engine.session()
    session.start(plan())
    with LibraryLog(session.note):
        logging.getLogger("some.library").warning("Beware of %s,\n and of hf_%s", "[bold]", "a" * 34)
        logging.getLogger("some.library").warning("Beware of %s,\n and of hf_%s", "[bold]", "a" * 34)
        logging.getLogger("some.library").info("Nothing of interest")
        logging.getLogger("some.library").error("%d arguments too few")
        warnings.warn("An old way of doing it", stacklevel=1)
    logging.getLogger("some.library").warning("Afterwards")
    session.take()
    notes = [event.message for event in session.log if isinstance(event, Warned)]
    assert all(event.code == LIBRARY for event in session.log if isinstance(event, Warned))
    assert notes[0].startswith("some: Beware of [bold], and of ")
    assert "aaaa" not in notes[0]
    assert notes[1] == "some: %d arguments too few"
    assert "An old way of doing it" in notes[2]
    assert len(notes) == 3
    engine.close()


def test_a_library_that_talks_without_end_is_cut_short() -> None:
    told: list[str] = []
    with LibraryLog(told.append):
        for number in range(1000):
            logging.getLogger("library").warning("%d %s", number, "x" * 10_000)
    assert len(told) == 200
    assert max(map(len, told)) <= 500


def test_a_note_after_the_app_was_left_is_no_fault() -> None:
    engine = FakeEngine()
    session = engine.session()
    session.start(plan())

    def leaves(event: Event) -> None:
        raise Leaving(Warned(code="terminal", message="gone"))

    session.hand_over(leaves)
    session.note("late")
    engine.close()


# In a few words


def test_a_run_in_a_few_words() -> None:
    engine = FakeEngine()
    session = engine.session()
    assert of_session(session) == ""
    session.start(plan())
    session.take()
    assert of_session(session) == "▶ starting"
    engine.runner.tell(Phase(name="[b]load\x1b"))
    session.take()
    assert of_session(session) == r"▶ [b]load\x1b"
    engine.runner.steps(7)
    session.take()
    assert of_session(session) == "▶ training 7/100"
    engine.runner.fail()
    session.take()
    assert of_session(session) == "✗ failed 7/100"
