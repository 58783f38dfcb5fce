"""A disk that is full: a real run under a limit on the size of its files, which refuses what a full disk refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk.events import CheckpointSaved, Event, Finished, Step, Warned
from ftk.runs import RunFolder
from ftk.training import checkpoint
from ftk_tui.cli import main
from tests import tiny

STEPS = 12
BETWEEN, BELOW = 200_000, 60_000
"""Bytes that take the adapter but not the state of its optimiser, and that take neither."""
RUN = """
import resource, signal, sys, threading, time
from pathlib import Path
from typing import Any
from ftk_tui.cli import main

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails instead of ending the process
limit, when = int(sys.argv[1]), int(sys.argv[2])
runs = Path(sys.argv[3])


def fill():
    from ftk.runs import RunFolder
    from ftk.training import checkpoint

    while checkpoint.newest(runs / "full" / "checkpoints")[0] is None:
        time.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


if when:
    threading.Thread(target=fill, daemon=True).start()
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[4:]))
"""


@pytest.fixture
def arguments(model_folder: Callable[..., Path], home: Path) -> list[str]:
    rows = home / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
    return [
        "--model", str(model_folder()), "--data", str(rows), "--max-steps", str(STEPS), "--save-steps", "1",
        "--device", "cpu", "--precision", "float32", "--name", "full", "--compare", "none", "--eval-fraction", "0",
    ]  # fmt: skip


def run(home: Path, limit: int, arguments: list[str], *, after_the_first: bool) -> tuple[int, str]:
    command = [sys.executable, "-c", RUN, str(limit), str(int(after_the_first)), str(home / "ftk_runs"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stdout + done.stderr


def of(events: list[Event], kind: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_a_disk_that_fills_up_costs_checkpoints_and_nothing_else(home: Path, arguments: list[str]) -> None:
    code, shown = run(home, BETWEEN, arguments, after_the_first=True)
    assert code == 0, shown
    told = RunFolder.open("full", home / "ftk_runs")
    events = list(told.events())
    assert [event.step for event in of(events, Step)] == list(range(1, STEPS + 1))
    assert isinstance(events[-1], Finished)
    saved = [event.step for event in of(events, CheckpointSaved)]
    warned = [event for event in of(events, Warned) if event.code == "checkpoint"]
    assert saved
    assert saved == list(range(1, len(saved) + 1))
    assert len(saved) + len(warned) == STEPS
    assert all("File too large" in event.message for event in warned)
    assert "Training goes on" in warned[0].hint
    newest, damaged = checkpoint.newest(told.checkpoints)
    assert newest is not None
    assert newest.name == f"step-{saved[-1]:06d}"
    assert damaged == []
    assert not [path for path in told.path.rglob("*") if ".staging-" in path.name]
    assert "could not be written" in shown
    assert "Traceback" not in shown
    assert (told.adapter / "adapter_model.safetensors").is_file()


def test_a_disk_that_is_full_from_the_beginning_holds_no_run_up(home: Path, arguments: list[str]) -> None:
    code, shown = run(home, BETWEEN, arguments, after_the_first=False)
    assert code == 0, shown
    told = RunFolder.open("full", home / "ftk_runs")
    assert checkpoint.newest(told.checkpoints) == (None, [])
    assert list(told.checkpoints.iterdir()) == []
    assert isinstance(list(told.events())[-1], Finished)


def test_what_cannot_be_written_at_the_end_is_made_again_when_there_is_room(home: Path, arguments: list[str]) -> None:
    code, shown = run(home, BELOW, arguments, after_the_first=True)
    assert code == 1, shown
    assert "File too large" in shown
    assert "Traceback" not in shown
    told = RunFolder.open("full", home / "ftk_runs")
    assert told.state() == "failed"
    assert not told.adapter.exists()
    assert told.resumable
    assert main(["resume", "full"]) == 0
    assert told.state() == "finished"
    assert (told.adapter / "adapter_model.safetensors").is_file()
    assert [event.step for event in of(list(told.history()), Step)] == list(range(1, STEPS + 1))
