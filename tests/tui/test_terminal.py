"""Standard streams whose terminal or reader goes away, and a screen that stands still or breaks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ftk.config import build
from ftk.events import Event, Leaving, Phase, Started, Step, Warned
from ftk_tui import detach
from ftk_tui.cli import _parser
from ftk_tui.displays import Display, JsonDisplay
from ftk_tui.options import settings_from
from ftk_tui.terminal import Screen, Terminal
from tests.pseudo_terminal import HANG, PseudoTerminal, until

HELD = """
import os, select, sys, time
from ftk_tui.terminal import Terminal
told = open(sys.argv[1], "w", buffering=1)
with Terminal() as terminal:
    print("here", flush=True)
    while not terminal.gone and not os.path.exists(sys.argv[1] + ".stop"):
        time.sleep(0.05)
        if sys.argv[2:]:
            print("more", flush=True)
    print("nobody reads this", flush=True)
    print("nor this", file=sys.stderr)
    ready = bool(select.select([0], [], [], 0.3)[0])
    told.write(f"{terminal.gone}|{ready}|{os.isatty(0) or os.isatty(1) or os.isatty(2)}")
print("after")
sys.exit(7)
"""


def step(number: int) -> Step:
    return Step(
        step=number, total_steps=9, epoch=0.1, loss=1.0, learning_rate=1e-3, grad_norm=1.0, tokens=9,
        supervised_tokens=5, tokens_per_s=100.0, eta_s=1.0, elapsed_s=1.0, memory_bytes=2**30,
    )  # fmt: skip


@pytest.mark.parametrize("writes", [True, False])  # which notices first: a write that fails, or the signal
def test_a_closed_terminal_leaves_streams_that_neither_fail_nor_spin(writes: bool, tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = [sys.executable, "-c", HELD, str(told), *(["more"] if writes else [])]
    with PseudoTerminal([], command=command) as terminal:
        until(lambda: "here" in terminal.output)
        terminal.hang_up()
        assert terminal.wait() == 7
    assert told.read_text() == "The terminal went away|False|False"


def test_without_the_signal_a_failing_write_is_enough(tmp_path: Path) -> None:
    """The terminal is dead and no signal tells of it, as for a process that left the shell's session."""
    told = tmp_path / "told"
    deaf = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nsignal.signal = lambda *_: None\n"
    with PseudoTerminal([], command=[sys.executable, "-c", deaf + HELD, str(told), "more"]) as terminal:
        until(lambda: "here" in terminal.output)
        terminal.hang_up()
        assert terminal.wait() == 7
    assert told.read_text() == "The terminal went away|False|False"


def test_a_hang_up_leaves_files_as_they_are(tmp_path: Path) -> None:
    told, output = tmp_path / "told", tmp_path / "output"
    with output.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", HELD, str(told)], stdout=file, stdin=subprocess.DEVNULL)
    until(lambda: "here" in output.read_text())
    process.send_signal(signal.SIGHUP)
    Path(f"{told}.stop").touch()
    assert process.wait(HANG) == 7
    assert output.read_text().splitlines() == ["here", "nobody reads this", "after"]
    assert told.read_text().startswith("|")


def test_streams_and_handlers_are_put_back() -> None:
    before = (sys.stdout, sys.stderr, signal.getsignal(signal.SIGHUP))
    with Terminal():
        assert signal.getsignal(signal.SIGHUP) is not before[2]
    assert (sys.stdout, sys.stderr, signal.getsignal(signal.SIGHUP)) == before


class Slow(Display):
    """A display that stands still until it may go on."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.shown: list[Any] = []

    def __call__(self, event: Event) -> None:
        self.may.wait(HANG)
        self.shown.append(event)

    def note(self, text: str) -> None:
        self.shown.append(text)


class Whole(Slow):
    may_skip = False


@pytest.mark.parametrize("kind", [Slow, Whole])
def test_a_display_that_stands_still_holds_nobody(kind: type[Slow]) -> None:
    display = kind()
    with Screen(display, Terminal()) as screen:
        for number in range(5000):
            screen(step(number))
        screen(Warned(code="x", message="important"))
        screen.note("and this")
        assert display.shown == []
        display.may.set()
    assert display.shown[-1] == "and this"
    assert display.shown[-2].message == "important"
    steps = [event.step for event in display.shown[:-2]]
    assert steps == sorted(steps)
    assert len(steps) == 5000 if kind is Whole else 1000 <= len(steps) < 1100
    assert JsonDisplay.may_skip is False


class Broken(Display):
    """A display on a full disk."""

    def __call__(self, event: Event) -> None:
        raise OSError(28, "No space left on device")


def test_a_display_that_breaks_is_told_to_the_run_once() -> None:
    with Screen(Broken(), Terminal()) as screen:
        screen(step(1))
        until(lambda: screen._error)
        with pytest.raises(OSError, match="No space left"):
            screen(step(2))


def test_a_screen_that_nobody_sees_leaves_with_a_warning_for_the_journal() -> None:
    terminal, display = Terminal(), Slow()
    display.may.set()
    with Screen(display, terminal) as screen:
        screen(Started(run="mine", folder="/runs/mine", model="m", data="d", version="0"))
        assert screen.folder == "/runs/mine"
        terminal.gone = "The terminal went away"
        with pytest.raises(Leaving) as left:
            screen(Phase(name="train"))
    assert left.value.warning.code == "terminal"
    assert "The terminal went away" in left.value.warning.message
    assert "ftk attach mine" in left.value.warning.hint


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 1e-5, "max_steps": 7, "model": "7", "data": "true"},
        {"compare": ["one two", "-x", "a,b"], "lora_targets": ["q_proj", "v_proj"], "gradient_checkpointing": False},
        {"compare": [], "max_steps": None, "epochs": 0.5, "system_prompt": 'A "quoted"\nline = 1'},
        {"compare": "auto", "lora_targets": "auto", "batch_size": 3},
    ],
)
def test_settings_reach_a_detached_process_as_they_are(settings: dict[str, Any]) -> None:
    again = settings_from(_parser().parse_args(detach.flags(settings)))
    assert again == settings
    assert json.dumps(build(again).model_dump()) == json.dumps(build(settings).model_dump())
