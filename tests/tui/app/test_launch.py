"""The app on real pseudo-terminals: opening, leaving, noise, signals, hang-ups, faults; the terminal is as before.

The runs are those of a fake engine that trains at 100 steps a second and does as it is told, but for one real one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from ftk import files
from ftk.events import Event, Finished, Step, Stopped
from ftk.runs import RunFolder
from tests import tiny
from tests.pseudo_terminal import HANG, PseudoTerminal, until

FTK = (sys.executable, "-m", "ftk_tui")
TRUE_COLOUR = {"COLORTERM": "truecolor", "TERM": "xterm-256color"}

APP = """
import os, subprocess, sys, threading, time, warnings, logging
from pathlib import Path
sys.path.insert(0, {root!r})
from ftk_tui import app, app_signals, launch, without_screen
from tests.tui.app.harness import FakeEngine, plan

engine = FakeEngine()

def train():
    runner = engine.runner
    while runner.step < {steps} and runner.state in ("running", "paused"):
        time.sleep(0.01)
        runner.steps(1)
    runner.stopped() if runner.state == "stopping" else runner.finish()

class Test(app.FtkApp):
    CSS_PATH = [str(Path(app.__file__).parent / name) for name in app.FtkApp.CSS_PATH]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._session = engine.session()

    def on_mount(self):
        super().on_mount()
        self.call_after_refresh(self.go_on)

    def go_on(self):
        if {steps}:
            self.session.start(plan(name="mine", max_steps=max(1, {steps})))
            threading.Thread(target=train, daemon=True).start()
        {doing}

app.FtkApp = Test
{before}
from ftk_tui import cli
sys.exit(cli.main([]))
"""


def script(*, steps: int = 0, doing: str = "pass", before: str = "") -> tuple[str, ...]:
    """A command that opens the app, with a run of so many steps, and does something in it."""
    root = str(Path(__file__).resolve().parents[3])
    file = Path("app_for_a_test.py").absolute()  # a file, because Textual asks where a class stands
    file.write_text(APP.format(root=root, steps=steps, doing=doing, before=before))
    return (sys.executable, str(file))


def opened(command: Sequence[str] = FTK, arguments: Sequence[str] = (), **environment: str) -> PseudoTerminal:
    """The app on a terminal of 80 columns and 24 lines."""
    return PseudoTerminal(arguments, {**TRUE_COLOUR, **environment}, command=command)


def words(terminal: PseudoTerminal) -> str:
    """What was written, without escapes."""
    return re.sub(r"\x1b\[[0-9;?<>=$]*[a-zA-Z]|\x1b[()][0-9A-B]|\x1b[=>78]", "", terminal.output)


def at_home(terminal: PseudoTerminal) -> None:
    """Wait for the first screen, and for what it finds out."""
    until(lambda: "new run" in words(terminal))


def left_as_before(terminal: PseudoTerminal, modes: list[Any]) -> None:
    """See that the terminal is as it was: screen, cursor, mouse, pasting, keys."""
    output = terminal.output
    for mode in ("1049", "1000", "1003", "1006", "2004", "1004"):
        assert output.rfind(f"\x1b[?{mode}l") > output.rfind(f"\x1b[?{mode}h"), mode
    assert output.rfind("\x1b[?25h") > output.rfind("\x1b[?25l")
    assert terminal.modes == modes


def after(terminal: PseudoTerminal) -> str:
    """What was written once the app had left the terminal."""
    return terminal.output.rpartition("\x1b[?1049l")[2]


def run() -> RunFolder:
    return RunFolder(files.runs_dir() / "mine")


def events() -> list[Event]:
    return list(run().events()) if run().journal_file.exists() else []


def step_reached(number: int) -> Callable[[], bool]:
    return lambda: any(isinstance(event, Step) and event.step >= number for event in events())


def log() -> str:
    return (files.cache_dir() / "logs" / "app.log").read_text()


# Opening and leaving


def test_the_app_opens_shows_home_and_leaves_the_terminal_as_it_was() -> None:
    with opened() as terminal:
        before = terminal.modes
        at_home(terminal)
        assert "\x1b[?1049h" in terminal.output
        assert "This machine:" in words(terminal)
        assert "\x1b[>" not in terminal.output  # no protocol for keys that a cut line would leave behind
        assert terminal.modes != before
        terminal.press("\x1a\x03\x11"[:1])  # ctrl+z does nothing: a run would stop with us
        terminal.press("q")
        assert terminal.wait() == 0
        left_as_before(terminal, before)
        assert after(terminal).count("\n") == 0


def test_what_was_given_is_filled_in_and_kept() -> None:
    with opened(arguments=["--tui", "--preset", "gpt2", "--lora-rank", "4"]) as terminal:
        until(lambda: "1 Model" in words(terminal))
        until(lambda: (files.config_dir() / "wizard.json").exists())
        terminal.press("\x1bOQ")  # F2
        until(lambda: "--lora-rank 4" in words(terminal))
        assert "ftk --preset gpt2" in words(terminal)
        terminal.press("\x11")
        assert terminal.wait() == 0
    kept = json.loads((files.config_dir() / "wizard.json").read_text())
    assert (kept["preset"], kept["settings"]["lora_rank"], kept["step"]) == ("gpt2", 4, "model")


def test_a_terminal_that_changes_its_size_is_followed() -> None:
    with opened() as terminal:
        at_home(terminal)
        terminal.resize(70, 20)
        until(lambda: "70 columns and 20 lines" in words(terminal))
        terminal.press("q")
        assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("environment", "colours"),
    [
        ({"TERM": "xterm", "COLORTERM": ""}, "16"),
        ({"TERM": "xterm-256color", "COLORTERM": ""}, "256"),
        ({"NO_COLOR": "1"}, "grey"),
    ],
)
def test_the_terminals_colours_are_kept_to(environment: dict[str, str], colours: str) -> None:
    with opened(**environment) as terminal:
        at_home(terminal)
        terminal.press("q")
        assert terminal.wait() == 0
    true = re.findall(r"\x1b\[[0-9;]*[34]8;2;(\d+);(\d+);(\d+)", terminal.output)
    if colours == "grey":
        assert true
        assert all(red == green == blue for red, green, blue in true)
    else:
        assert not true
        assert ("8;5;" in terminal.output) == (colours == "256")


def test_an_app_that_waits_sends_next_to_nothing() -> None:
    with opened() as terminal:
        at_home(terminal)
        time.sleep(1.0)
        before = len(terminal.output)
        time.sleep(2.0)
        assert len(terminal.output) - before < 2 * 200


# The gate


@pytest.mark.parametrize("kind", ["dumb", ""])
def test_a_terminal_that_can_show_no_screens_gets_the_words(kind: str) -> None:
    with opened(TERM=kind) as terminal:
        assert terminal.wait() == 2
        assert "Nothing to do yet" in terminal.output
        assert "can show no screens" in " ".join(terminal.output.split())
        assert "\x1b" not in terminal.output


@pytest.mark.parametrize(("closed", "name"), [("<&-", "input"), (">/dev/null", "output"), ("2>/dev/null", "error")])
def test_streams_that_are_no_terminal_get_the_words(closed: str, name: str) -> None:
    with opened(("/bin/bash", "-c", f"{sys.executable} -m ftk_tui {closed}; echo code $?")) as terminal:
        terminal.wait()
        until(lambda: "code" in terminal.output)
        assert "code 2" in terminal.output
        assert "\x1b" not in terminal.output
        assert (f"here: standard {name} is no terminal" in " ".join(terminal.output.split())) == (name != "error")


def test_asking_for_the_app_without_a_terminal_says_why() -> None:
    done = subprocess.run([*FTK, "--tui", "--model", "gpt2"], input="", capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "The app does not open here: standard input is no terminal." in done.stderr
    assert "Leave --tui out" in done.stderr


# What others print

NOISE = """(
            print("NOISE printed"), print("NOISE to errors", file=sys.stderr), os.write(1, b"NOISE to 1\\n"),
            os.write(2, b"NOISE to 2\\n"), subprocess.run(["echo", "NOISE of a child"]), warnings.warn("NOISE warned"),
            logging.getLogger("lib").error("NOISE logged"),
            threading.Thread(target=print, args=("NOISE in a thread",)).start())"""


def test_nothing_that_others_print_reaches_the_screen() -> None:
    with opened(script(doing=NOISE)) as terminal:
        before = terminal.modes
        at_home(terminal)
        until(lambda: "NOISE in a thread" in log())
        terminal.press("q")
        assert terminal.wait() == 0
        left_as_before(terminal, before)
        assert "NOISE" not in terminal.output
    for noise in ("printed", "to errors", "to 1", "to 2", "of a child", "warned", "logged", "in a thread"):
        assert f"NOISE {noise}" in log()


def test_what_is_printed_during_a_run_lies_in_its_folder() -> None:
    doing = "self.set_timer(1.0, lambda: os.write(1, b'NOISE of the run'))"
    with opened(script(steps=10_000, doing=doing)) as terminal:
        until(lambda: run().output_file.exists() and "NOISE of the run" in run().output_file.read_text())
        assert run().output_file.stat().st_mode & 0o777 == 0o600
        assert "NOISE" not in terminal.output
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == 75


# A run that outlives the app


def leave_to_go_on(terminal: PseudoTerminal) -> None:
    until(lambda: "training" in words(terminal))
    terminal.press("q")
    until(lambda: "Train on in the background" in words(terminal))
    terminal.press("b")
    until(lambda: "goes on without a screen" in after(terminal))


def test_a_run_that_is_left_goes_on_to_its_end_in_this_process() -> None:
    with opened(script(steps=150)) as terminal:
        before = terminal.modes
        leave_to_go_on(terminal)
        left_as_before(terminal, before)
        assert "ftk attach mine" in after(terminal)
        reached = len(events())
        assert terminal.wait() == 0
        assert "Done: 150 steps" in after(terminal)
    assert [event.step for event in events() if isinstance(event, Step)] == list(range(1, 151))
    assert len(events()) > reached
    assert isinstance(events()[-1], Finished)


def test_ctrl_c_saves_and_stops_a_run_that_was_left() -> None:
    with opened(script(steps=100_000)) as terminal:
        leave_to_go_on(terminal)
        terminal.press("\x03")
        assert terminal.wait() == 75
        assert "Ctrl-C: saving and stopping" in after(terminal)
        assert "Go on with:  ftk resume mine" in after(terminal)
    assert isinstance(events()[-1], Stopped)


def test_closing_the_terminal_does_nothing_to_a_run_that_was_left() -> None:
    with opened(script(steps=200)) as terminal:
        leave_to_go_on(terminal)
        terminal.hang_up()
        assert terminal.wait() == 0
    assert isinstance(events()[-1], Finished)


def test_a_run_can_be_saved_and_stopped_on_leaving() -> None:
    with opened(script(steps=100_000)) as terminal:
        before = terminal.modes
        until(lambda: "training" in words(terminal))
        terminal.press("\x11")
        until(lambda: "Save and stop" in words(terminal))
        terminal.press("s")
        assert terminal.wait() == 75
        left_as_before(terminal, before)
    assert isinstance(events()[-1], Stopped)


# Signals


def test_sigterm_leaves_the_terminal_as_it_was() -> None:
    with opened() as terminal:
        before = terminal.modes
        at_home(terminal)
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == 143
        left_as_before(terminal, before)


def test_sigterm_saves_and_stops_the_run() -> None:
    with opened(script(steps=100_000)) as terminal:
        before = terminal.modes
        until(step_reached(3))
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == 75
        left_as_before(terminal, before)
        assert "SIGTERM: saving and stopping" in after(terminal)
    ending = events()[-1]
    assert isinstance(ending, Stopped)
    assert ending.reason == "SIGTERM"


def test_sigint_from_outside_asks_and_kills_nothing() -> None:
    with opened(script(steps=100_000)) as terminal:
        until(step_reached(3))
        os.kill(terminal.pid, signal.SIGINT)
        until(lambda: "Train on in the background" in words(terminal))
        reached = len(events())
        terminal.press("\x03")  # as the key asks: once more, and nothing happens
        until(step_reached(reached + 20))
        terminal.press("s")
        assert terminal.wait() == 75


def test_sigterm_leaves_a_terminal_that_stands_still() -> None:
    before = "app_signals._STALLED_S = 0.5"
    doing = "self.set_interval(0.01, self.refresh_all)"
    more = "Test.refresh_all = lambda self: self.screen.refresh(layout=True) or self.bell()"
    command = script(steps=100_000, doing=doing, before=f"{before}\n{more}")
    with PseudoTerminal([], TRUE_COLOUR, reads=False, command=command) as terminal:
        until(step_reached(3))
        time.sleep(2.0)  # its buffer takes some kilobytes
        reached = len(events())
        until(step_reached(reached + 20))  # training does not wait for it
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == 75
    assert isinstance(events()[-1], Stopped)


# The terminal goes away


def test_a_hang_up_without_a_run_ends_the_process() -> None:
    with opened() as terminal:
        at_home(terminal)
        terminal.press("2")
        kept = files.config_dir() / "wizard.json"
        until(lambda: kept.exists() and "dataset" in kept.read_text())
        terminal.hang_up()
        assert terminal.wait() == 129
    assert json.loads((files.config_dir() / "wizard.json").read_text())["step"] == "dataset"


def test_a_hang_up_leaves_the_run_to_its_end_without_spinning() -> None:
    with opened(script(steps=250)) as terminal:
        until(step_reached(3))
        at_home(terminal)
        terminal.hang_up()
        process = psutil.Process(terminal.pid)
        until(lambda: any(getattr(event, "code", "") == "terminal" for event in events()))
        used = process.cpu_times()
        time.sleep(1.0)  # what spins would use all of it
        now = process.cpu_times()
        assert (now.user + now.system) - (used.user + used.system) < 0.5
        assert terminal.wait() == 0
    assert [event.step for event in events() if isinstance(event, Step)] == list(range(1, 251))
    assert isinstance(events()[-1], Finished)


def test_sigterm_after_a_hang_up_saves_and_stops() -> None:
    with opened(script(steps=100_000)) as terminal:
        until(step_reached(3))
        terminal.hang_up()
        until(lambda: any(getattr(event, "code", "") == "terminal" for event in events()))
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == 75
    assert isinstance(events()[-1], Stopped)


def test_a_hang_up_while_the_app_is_left_is_no_hang_up_of_the_process() -> None:
    """Hang-ups at many moments of opening and leaving: none leaves a process behind."""
    for moment in (0.0, 0.05, 0.1, 0.2, 0.4):
        with opened() as terminal:
            time.sleep(5 * moment)
            terminal.press("q")
            time.sleep(moment / 10)
            terminal.hang_up()
            code = terminal.wait()
            begun = (files.cache_dir() / "logs" / "app.log").exists()  # else there was no terminal to begin on
            assert code in (0, 129, -signal.SIGHUP) or (not begun and code in (1, 2)), (moment, code, words(terminal))


# Faults


def test_a_fault_is_told_in_words_and_the_terminal_is_as_it_was() -> None:
    with opened(script(doing="raise ValueError('a [b]fault[/x]' + chr(27))")) as terminal:
        before = terminal.modes
        assert terminal.wait() == 1
        left_as_before(terminal, before)
        said = " ".join(after(terminal).split())
        assert r"ftk: The app failed: ValueError: a [b]fault[/x]\x1b" in said
        assert "app.log" in said
        assert "Traceback" not in terminal.output
    assert "Traceback" in log()
    assert "ValueError: a [b]fault[/x]" in log()


def test_a_fault_of_the_app_leaves_the_run_to_its_end() -> None:
    with opened(script(steps=150, doing="self.set_timer(0.5, lambda: 1 / 0)")) as terminal:
        assert terminal.wait() == 0
        said = after(terminal)
        assert "ZeroDivisionError" in said
        assert "goes on without a screen" in said
        assert "Done: 150 steps" in said
    assert isinstance(events()[-1], Finished)


# A real run


REAL = """
            from ftk import autoconfig
            from ftk.config import build
            settings = dict(model={model!r}, data={data!r}, max_steps=60, precision="float32", device="cpu",
                            name="mine", learning_rate=1e-2, compare=[], save_steps=1000)
            from ftk_tui.session import Session
            self._session = Session()
            self.session.start(autoconfig.plan(build(settings)))"""


def test_a_real_run_outlives_its_terminal(home: Path, model_folder: Callable[..., Path]) -> None:
    data = home / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
    doing = "if True:" + REAL.format(model=str(model_folder()), data=str(data))
    with opened(script(doing=doing)) as terminal:
        before = terminal.modes
        until(step_reached(3), HANG)
        assert terminal.modes != before
        terminal.hang_up()
        assert terminal.wait() == 0
    assert [event.step for event in events() if isinstance(event, Step)] == list(range(1, 61))
    assert isinstance(events()[-1], Finished)
    assert (run().adapter / "adapter_model.safetensors").exists()
    assert any(getattr(event, "code", "") == "terminal" for event in events())
