"""The terminal goes away, stands still, is closed from the start; signals in every phase; runs that nobody watches.

Real processes on real pseudo-terminals. They train a tiny model, so nearly all of their time is the import of torch;
several run at once, and one run serves for several questions.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from ftk import requests
from ftk.events import Event, Failed, Finished, Started, Step, Stopped
from ftk.runs import RunFolder
from tests import tiny
from tests.pseudo_terminal import HANG, PseudoTerminal, until

FTK = [sys.executable, "-m", "ftk_tui"]
STEPS = 60


class Place:
    """A folder with a model, data, and runs that were started in it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.runs = folder / "runs"
        data = folder / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
        held_out = folder / "held-out.jsonl"
        others = [{"prompt": f"What is number {number}?", "response": "One of many."} for number in range(600)]
        held_out.write_text("".join(json.dumps(row) + "\n" for row in others))
        self.environment = {
            "FTK_RUNS": str(self.runs), "FTK_CACHE": str(folder / "cache"), "FTK_CONFIG": str(folder / "config"),
            "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1",
            "TERM": "xterm-256color",
        }  # fmt: skip
        self.long_evaluation = ["--eval-data", str(held_out), "--eval-steps", "3"]
        self._settings = [
            "--model", str(model), "--data", str(data), "--max-steps", str(STEPS), "--learning-rate", "1e-2",
            "--precision", "float32", "--device", "cpu", "--compare", "none", "--save-steps", "1000",
        ]  # fmt: skip
        self.processes: list[psutil.Process] = []

    def arguments(self, name: str, *more: str) -> list[str]:
        return [*self._settings, "--name", name, *more]

    def start(
        self, arguments: Sequence[str], *, command: Sequence[str] = FTK, **environment: str
    ) -> subprocess.Popen[str]:
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environment = {**os.environ, **self.environment, **environment}
        process = subprocess.Popen([*command, *arguments], env=environment, text=True, **given)  # type: ignore[call-overload]
        self.processes.append(psutil.Process(process.pid))
        return process

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.runs / name)

    def adapter(self, name: str) -> bytes:
        return (self.run(name).adapter / "adapter_model.safetensors").read_bytes()

    def events(self, name: str) -> list[Event]:
        return list(self.run(name).events())

    def saw(self, name: str, what: Callable[[Event], bool]) -> Callable[[], bool]:
        def seen() -> bool:
            events = self.events(name)
            assert not [event for event in events if isinstance(event, Failed)]
            return any(what(event) for event in events)

        return seen

    def codes(self, name: str) -> list[str]:
        return [event.code for event in self.events(name) if event.kind == "warning"]  # type: ignore[attr-defined]

    def ask(self, name: str, request: requests.Request, until_then: str) -> None:
        requests.send(self.run(name), request)
        until(self.saw(name, lambda event: event.kind == until_then))


def at_step(number: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Step) and event.step >= number


def in_phase(name: str) -> Callable[[Event], bool]:
    return lambda event: event.kind == "phase" and event.name == name  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model_folder: Callable[..., Path]) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("terminal"), model_folder())
    yield made
    for process in made.processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it knows its own from another with the same number
            process.kill()


@pytest.fixture(scope="module")
def headed(place: Place) -> tuple[int, str, str]:
    """A run whose reader goes away after the first line: exit code, that line, and standard error."""
    process = place.start(place.arguments("headed"))
    assert process.stdout
    assert process.stderr
    line = process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    return process.wait(HANG), line, errors


def test_a_reader_that_goes_away_does_not_end_the_run(place: Place, headed: tuple[int, str, str]) -> None:
    code, line, errors = headed
    assert line.startswith("Run headed:")
    assert code == 0, errors
    assert "Traceback" not in errors
    events = place.events("headed")
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, STEPS + 1))
    assert isinstance(events[-1], Finished)
    assert place.codes("headed").count("terminal") == 1
    assert not place.run("headed").requests.exists()


def test_a_closed_terminal_leaves_the_run_to_its_end_bit_for_bit(place: Place, headed: object) -> None:
    with PseudoTerminal(place.arguments("closed"), place.environment) as terminal:
        until(place.saw("closed", at_step(3)))
        place.ask("closed", "pause", "paused")
        before = len(place.events("closed"))
        until(lambda: "Training step" in terminal.output or "Paused" in terminal.output)
        terminal.hang_up()
        process = psutil.Process(terminal.pid)
        used = process.cpu_times()
        time.sleep(1.0)  # what spins would use all of it
        now = process.cpu_times()
        assert (now.user + now.system) - (used.user + used.system) < 0.25
        assert len(place.events("closed")) == before
        requests.send(place.run("closed"), "proceed")
        assert terminal.wait() == 0
    events = place.events("closed")
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, STEPS + 1))
    assert isinstance(events[-1], Finished)
    assert place.codes("closed").count("terminal") == 1
    assert place.adapter("closed") == place.adapter("headed")


def test_a_detached_run_is_watched_held_and_let_go_on_from_elsewhere(place: Place, headed: object) -> None:
    started = place.start(["--detach", "--json", *place.arguments("alone")])
    out, errors = started.communicate(timeout=HANG)
    assert started.returncode == 0, errors
    told = json.loads(out)
    run, process = place.run("alone"), psutil.Process(told["pid"])
    place.processes.append(process)
    assert (told["run"], told["folder"], told["output"]) == ("alone", str(run.path), str(run.output_file))
    assert run.output_file.stat().st_mode & 0o777 == 0o600
    assert os.getsid(told["pid"]) == told["pid"]  # no hang-up of another session's terminal reaches it
    attached = place.start(["attach", "--json"])
    until(place.saw("alone", at_step(3)))
    place.ask("alone", "pause", "paused")
    used = process.cpu_times()
    time.sleep(2.0)
    now = process.cpu_times()
    assert (now.user + now.system) - (used.user + used.system) < 0.5
    asked = place.start(["attach", "alone", "--send", "proceed"])
    assert asked.wait(HANG) == 0
    out, errors = attached.communicate(timeout=HANG)
    assert attached.returncode == 0, errors
    assert out == run.journal_file.read_text()
    until(lambda: not psutil.pid_exists(told["pid"]) or process.status() == psutil.STATUS_ZOMBIE)
    kinds = [event.kind for event in run.events()]
    assert kinds.count("paused") == kinds.count("proceeded") == 1
    assert [event.step for event in run.events() if isinstance(event, Step)] == list(range(1, STEPS + 1))
    assert "Done: 60 steps" in run.output_file.read_text()
    assert place.adapter("alone") == place.adapter("headed")


class Use:
    """What a process used between two steps of its run: seconds of processor time a step, and bytes at the end."""

    def __init__(self, place: Place, name: str, pid: int) -> None:
        self._run, self._process = place.run(name), psutil.Process(pid)
        self._marks: list[tuple[int, float]] = []
        self.bytes = 0

    def mark(self, step: int) -> None:
        """Wait for a step, and look at what was used up to it."""
        until(lambda: self._step() >= step)
        times = self._process.cpu_times()
        self._marks.append((self._step(), times.user + times.system))
        self.bytes = self._process.memory_full_info().uss

    def _step(self) -> int:
        return max((event.step for event in self._run.events() if isinstance(event, Step)), default=0)

    @property
    def seconds(self) -> float:
        (first, begun), (last, used) = self._marks
        return (used - begun) / (last - first)


def test_without_a_terminal_a_run_uses_what_it_uses_with_one(place: Place) -> None:
    more = ["--max-steps", "100000"]
    started = place.start(["--detach", "--json", *place.arguments("apart", *more)])
    with (
        PseudoTerminal(place.arguments("watched", *more), place.environment) as watched,
        PseudoTerminal(place.arguments("left", *more), place.environment) as left,
    ):
        until(place.saw("left", at_step(3)))
        left.hang_up()
        out, errors = started.communicate(timeout=HANG)
        assert started.returncode == 0, errors
        apart = json.loads(out)["pid"]
        place.processes.append(psutil.Process(apart))
        uses = [Use(place, name, pid) for name, pid in (("watched", watched.pid), ("left", left.pid), ("apart", apart))]
        for step in (20, 120):  # the first steps hold what happens once
            for use in uses:
                use.mark(step)
        for name in ("watched", "left", "apart"):
            requests.send(place.run(name), "abort")
    attached, *others = uses
    for use in others:
        assert (
            use.seconds < 1.3 * attached.seconds
        )  # a loop that spins takes a core more, and steps here a fifth of one
        assert use.bytes < 1.1 * attached.bytes


def test_a_terminal_that_stands_still_holds_nothing_and_attach_stops_the_run(place: Place) -> None:
    arguments = place.arguments("still", "--json", "--max-steps", "100000")
    with PseudoTerminal(arguments, place.environment, reads=False) as terminal:
        until(place.saw("still", at_step(100)))  # many times what the terminal's buffer takes
        attached = place.start(["attach", "still"])
        assert place.start(["attach", "still", "--send", "stop"]).wait(HANG) == 0
        out, errors = attached.communicate(timeout=HANG)
        assert attached.returncode == 75, errors
        ending = place.events("still")[-1]
        assert isinstance(ending, Stopped)
        assert f"Stopped at step {ending.step}: on request." in out
        assert "ftk resume still" in out
        terminal.hang_up()
        assert terminal.wait() == 75


PATIENT = """
import sys
from ftk_tui import cli, signals
signals.GRACE_S = 600.0  # a busy machine may take more than is asked of it
sys.exit(cli.main(sys.argv[1:]))
"""


def test_signals_save_and_stop_in_every_phase(place: Place, headed: object, tmp_path: Path) -> None:
    """Four runs at once: each is ended in another phase, one of them in a pause, and can be gone on with.

    The one that had learnt nothing yet is: from its beginning, in a process of its own, to the same result.
    """
    more = {"import": [], "prepare": [], "evaluate": place.long_evaluation, "paused": ["--max-steps", "100000"]}
    command = [sys.executable, "-c", PATIENT]
    processes = {}
    for name, settings in more.items():
        cache = str(tmp_path / name)  # where none finds tokens that another has made
        processes[name] = place.start(place.arguments(name, "--json", *settings), command=command, FTK_CACHE=cache)
    until(place.saw("import", in_phase("import")))
    processes["import"].terminate()
    until(place.saw("prepare", in_phase("prepare")))
    processes["prepare"].terminate()
    until(place.saw("evaluate", at_step(3)))
    processes["evaluate"].terminate()
    until(place.saw("paused", at_step(3)))
    place.ask("paused", "pause", "paused")
    processes["paused"].send_signal(signal.SIGINT)
    for name, process in processes.items():
        out, errors = process.communicate(timeout=HANG)
        assert process.returncode == 75, (name, errors)
        ending = place.events(name)[-1]
        assert isinstance(ending, Stopped), name
        assert ending.reason == ("Ctrl-C" if name == "paused" else "SIGTERM")
        assert out.splitlines()[-1] == ending.to_json()
        assert place.run(name).resumable
        assert (ending.checkpoint is not None) == (name in ("evaluate", "paused"))
    steps = [event.step for event in place.events("evaluate") if event.kind == "evaluation"]  # type: ignore[attr-defined]
    assert steps == [0]  # the evaluation after step 3 was left for the stop
    resumed = place.start(["resume", "import", "--detach", "--json", "--log-steps", "2"])
    out, errors = resumed.communicate(timeout=HANG)
    assert resumed.returncode == 0, errors
    place.processes.append(psutil.Process(json.loads(out)["pid"]))
    assert place.start(["attach", "import"]).wait(HANG) == 0
    assert [event.step for event in place.events("import") if isinstance(event, Step)] == list(range(2, STEPS + 1, 2))
    assert place.adapter("import") == place.adapter("headed")


STUCK = """
import sys, time
from ftk.training import trainer
from ftk_tui import cli, signals
trainer.trained.load = lambda *_: time.sleep(600)  # as what compiles does, it hears nothing
signals.GRACE_S = 1.0
sys.exit(cli.main(sys.argv[1:]))
"""


def test_sigterm_leaves_a_run_that_does_not_hear_in_time(place: Place) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, *place.arguments("stuck")],
        env={**os.environ, **place.environment}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(place.saw("stuck", in_phase("import")))
    process.terminate()
    out, _ = process.communicate(timeout=HANG)
    assert process.returncode == 75
    assert "SIGTERM: saving and stopping" in out
    run = place.run("stuck")
    assert run.owner() is None  # nobody on another machine has to wait for it
    assert run.state() == "interrupted"
    assert run.resumable


def test_a_second_ctrl_c_leaves_at_once(place: Place) -> None:
    with PseudoTerminal(place.arguments("twice"), place.environment, command=[sys.executable, "-c", STUCK]) as terminal:
        until(place.saw("twice", in_phase("import")))
        terminal.press("\x03")
        until(lambda: "Ctrl-C: saving and stopping. Once more leaves at once." in terminal.output)
        time.sleep(0.6)  # sooner it would be the same one, told twice
        terminal.press("\x03")
        assert terminal.wait() == 1
        assert terminal.output.rindex("\x1b[?25h") > terminal.output.rindex("\x1b[?25l")
    assert not any(isinstance(event, Finished | Stopped) for event in place.events("twice"))


def test_streams_that_were_closed_from_the_start_are_no_files_of_the_run(place: Place) -> None:
    code = STUCK.replace("time.sleep(600)", "(os.write(1, b'noise'), os.write(2, b'noise'), 1 / 0)")
    closed = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", sys.executable, "-c", f"import os\n{code}"]
    environment = {**os.environ, **place.environment}
    done = subprocess.run([*closed, *place.arguments("bare")], env=environment, timeout=HANG, check=False)
    assert done.returncode == 1
    run = place.run("bare")
    assert [event.kind for event in run.events()][:1] == [Started.kind]
    assert [event.kind for event in run.events()][-1] == "failed"
    assert not [path for path in run.path.rglob("*") if path.is_file() and b"noise" in path.read_bytes()]


def test_detaching_shows_what_is_wrong_and_leaves_nothing(place: Place) -> None:
    started = place.start(["--detach", *place.arguments("wrong"), "--data", "missing.jsonl"])
    out, errors = started.communicate(timeout=HANG)
    assert started.returncode == 1
    assert out == ""
    assert "missing.jsonl" in errors
    assert not place.run("wrong").path.exists()
