"""A run that is killed at any moment, in any way, ends as one that nothing happened to, bit for bit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from ftk.errors import EXIT_DONE, EXIT_FAILED, EXIT_RESUMABLE
from ftk.events import ENDINGS, Phase, Started, Stopped
from ftk.runs import RunFolder
from tests.faults.conftest import Bench

Result = tuple[bytes, list[tuple[int, float, float]]]
KILLS = int(os.environ.get("FTK_SOAK_KILLS", "20"))


def _hurt(bench: Bench, arguments: list[str], delay: float, number: int) -> int:
    """Begin a command and send its process a signal after some seconds; returns the exit code."""
    pid = bench.nursery.start(arguments)
    time.sleep(delay)
    with contextlib.suppress(ProcessLookupError):  # it was faster
        os.kill(pid, number)
    return bench.nursery.ended()


def _go_on(bench: Bench, name: str) -> None:
    code = bench.nursery.run(["resume", name])
    assert code == EXIT_DONE, bench.nursery.output.read_text()[-3000:]


def _seconds(bench: Bench) -> float:
    """What an undisturbed run takes, by its own journal."""
    times = [event.time for event in bench.run("undisturbed").events()]
    return times[-1] - times[0]


def test_killed_again_and_again_it_comes_to_the_same(bench: Bench, undisturbed: Result) -> None:
    draw, kills, round_ = random.Random(0), 0, 0
    longest = _seconds(bench)
    while kills < KILLS:
        round_ += 1
        name = f"killed-{round_}"
        arguments = bench.arguments(name)
        for _ in range(5):
            code = _hurt(bench, arguments, draw.uniform(0.02, longest), signal.SIGKILL)
            kills += code == -signal.SIGKILL
            if code == EXIT_DONE:
                break
            assert code == -signal.SIGKILL, bench.nursery.output.read_text()[-3000:]
            if RunFolder(bench.runs / name).state() == "finished":  # killed on its way out
                break
            begun = (bench.runs / name / "run.json").is_file()
            arguments = ["resume", name] if begun else bench.arguments(name)
        else:
            code = bench.nursery.run(arguments)
            assert code == EXIT_DONE, bench.nursery.output.read_text()[-3000:]
        assert bench.result(name) == undisturbed, f"round {round_}"
        left = [path for path in bench.run(name).path.rglob("*") if ".staging-" in path.name or path.suffix == ".tmp"]
        assert not left
    assert round_ >= 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_at_any_moment_stops_in_order_or_is_no_matter(
    bench: Bench, undisturbed: Result, number: signal.Signals
) -> None:
    draw, longest = random.Random(number), _seconds(bench)
    for round_ in range(4):
        name = f"{number.name}-{round_}"
        code = _hurt(bench, bench.arguments(name), draw.uniform(0.3, longest), number)
        planning = code == EXIT_FAILED and number == signal.SIGINT  # then Ctrl-C ends the command as any other
        if code == -number or planning:  # before the run began
            assert not (bench.runs / name).exists()
            continue
        assert code in (EXIT_DONE, EXIT_RESUMABLE), bench.nursery.output.read_text()[-3000:]
        if code == EXIT_RESUMABLE:
            assert number != signal.SIGHUP  # nobody watches: the run goes on
            assert isinstance(list(bench.run(name).events())[-1], Stopped)
            _go_on(bench, name)
        assert bench.result(name) == undisturbed


@pytest.mark.parametrize("phase", ["load", "check", "adapter", "train", "save"])
def test_a_stop_in_every_phase_is_resumable(bench: Bench, undisturbed: Result, phase: str) -> None:
    name = f"phase-{phase}"
    pid = bench.nursery.start(bench.arguments(name))
    while not _reached(bench.runs / name, phase):
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    code = bench.nursery.ended()
    if code == EXIT_RESUMABLE:
        _go_on(bench, name)
    else:
        assert code == EXIT_DONE  # the last phase leaves nothing to stop
    assert bench.result(name) == undisturbed


def _reached(folder: Path, phase: str) -> bool:
    told = list(RunFolder(folder).events())
    assert not isinstance(told[-1] if told else None, ENDINGS), f"the run told of no phase {phase!r}"
    return any(isinstance(event, Phase) and event.name == phase for event in told)


def test_without_a_name_the_newest_interrupted_run_goes_on(bench: Bench, undisturbed: Result) -> None:
    pid = bench.nursery.start(bench.arguments("nameless"))
    while not list((bench.runs / "nameless" / "checkpoints").glob("step-*")):
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    assert bench.nursery.ended() == -signal.SIGKILL
    assert bench.run("nameless").state() == "interrupted"
    assert bench.nursery.run(["resume"]) == EXIT_DONE
    assert bench.result("nameless") == undisturbed
    starts = [event.resumed_from for event in bench.run("nameless").events() if isinstance(event, Started)]
    assert starts[0] == 0
    assert starts[1] >= 3


def test_time_that_is_up_stops_and_saves(bench: Bench, undisturbed: Result) -> None:
    code = bench.nursery.run(bench.arguments("timed", **{"max-time": "1s"}))
    if code == EXIT_RESUMABLE:  # a fast machine may be done by then
        ending = list(bench.run("timed").events())[-1]
        assert isinstance(ending, Stopped)
        assert ending.reason == "--max-time 1s"
        code = bench.nursery.run(["resume", "timed", "--max-time", "1h"])
    assert code == EXIT_DONE
    assert bench.result("timed") == undisturbed
