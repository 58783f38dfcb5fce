"""`ftk` without a screen, as a process: lines in a pipe, JSON, a pseudo-terminal, Ctrl-C, no network."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ftk import events as kinds
from ftk.events import Phase, Step
from ftk_tui.cli import main
from ftk_tui.profile import Profile
from tests import tiny

Folders = Callable[..., Path]
HANG = 120  # seconds after which a process is taken to hang


@pytest.fixture
def arguments(model_folder: Folders, tmp_path: Path) -> list[str]:
    data = tmp_path / "rows.jsonl"
    rows = [
        *tiny.ROWS,
        {"prompt": "Hostile [bold]markup[/bold]?", "response": "[/foo] \x1b[31mred\x07 [@click=quit]x[/]"},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "--model", str(model_folder()), "--data", str(data), "--max-steps", "6", "--learning-rate", "1e-2",
        "--compare", "[/foo] \x1b[31mWhat?", "--compare-tokens", "5", "--name", "one",
    ]  # fmt: skip


def test_a_pipe_gets_plain_lines_and_the_report(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert re.search(r"step 6/6  loss \d+\.\d+  rate .* tokens/s  .* RAM  0:00 left", out)
    assert re.search(r"Held-out loss  \d+\.\d+ before, \d+\.\d+ after \(-\d+%\)", out)
    assert "> [/foo] \\x1b[31mWhat?" in out  # shown as it is: no markup, no escape sent
    assert "\x1b" not in out
    assert "base model" in out
    assert "one/adapter" in out
    assert "ftk --preset" in out


def test_json_prints_the_journal(arguments: list[str], capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert main([*arguments, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == (home / "ftk_runs" / "one" / "events.jsonl").read_text().splitlines()
    assert isinstance(kinds.from_json(lines[0]), kinds.Started)
    assert isinstance(kinds.from_json(lines[-1]), kinds.Finished)


def test_dry_run_shows_the_plan_and_leaves_nothing(
    arguments: list[str], capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert main([*arguments, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "no NVIDIA GPU was found" in out or "free" in out
    assert "Nothing was trained" in out
    assert not (home / "ftk_runs").exists()
    assert main([*arguments, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["plan"]["max_steps"] == 6
    assert plan["estimate"]["seconds"] > 0


def test_a_run_name_that_exists_is_refused_and_nothing_is_lost(
    arguments: list[str], capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert main(arguments) == 0
    before = {path: path.read_bytes() for path in (home / "ftk_runs").rglob("*") if path.is_file()}
    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (home / "ftk_runs").rglob("*") if path.is_file()} == before


def test_resume_refuses_a_finished_run_an_unknown_one_and_changed_data(
    arguments: list[str], capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert main(["resume", "nothing"]) == 1
    assert main(["resume", "../etc"]) in (1, 2)
    assert main(arguments) == 0
    assert main(["resume", "one"]) == 1
    assert "is finished" in capsys.readouterr().err
    journal = home / "ftk_runs" / "one" / "events.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    with Path(arguments[3]).open("a") as file:
        file.write('{"prompt": "new", "response": "row"}\n')
    assert main(["resume", "one"]) == 1
    assert "changed since" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_and_resume_goes_on(arguments: list[str], number: int, home: Path) -> None:
    command = [sys.executable, "-m", "ftk_tui", *arguments, "--max-steps", "100000", "--save-steps", "90000", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    seen = []
    for line in process.stdout:
        seen.append(json.loads(line))
        if seen[-1]["event"] == "step" and seen[-1]["step"] == 3:
            process.send_signal(number)
    errors = process.communicate(timeout=HANG)[1]
    assert process.returncode == 75, errors
    assert seen[-1]["event"] == "stopped"
    assert seen[-1]["step"] >= 3
    assert Path(seen[-1]["checkpoint"]).is_dir()
    fewer = ["--max-steps", str(seen[-1]["step"] + 2)]
    assert main(["resume", "one", *fewer]) == 2  # another setting than the run was started with
    assert main(["resume", "one", *fewer, "--override"]) == 0


def test_a_terminal_gets_progress_in_place_and_a_clean_end(arguments: list[str]) -> None:
    pid, fd = pty.fork()
    if pid == 0:  # the child's standard streams are the pseudo-terminal
        os.environ.update(TERM="xterm-256color", COLUMNS="80", LINES="24")
        os.execv(sys.executable, [sys.executable, "-m", "ftk_tui", *arguments])
    output = b""
    deadline = time.monotonic() + HANG
    while time.monotonic() < deadline and select.select([fd], [], [], HANG)[0]:
        try:
            part = os.read(fd, 65536)
        except OSError:  # the other end is closed
            break
        output += part
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = output.decode()
    assert "\x1b[?25l" in text  # the cursor was hidden for the bar,
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and is back
    assert "Held-out loss" in text
    assert "\x1b[31m" not in text  # the escape of the prompt was shown, not sent
    assert "\x07" not in text


def test_no_network_is_told_with_what_to_do_and_leaves_nothing(home: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "ftk_tui", "--preset", "gpt2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 1
    assert "openai-community/gpt2" in done.stderr
    assert "127.0.0.1:9" in done.stderr
    for word in ("HF_ENDPOINT", "--model PATH", "token", "--preset smollm2"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "ftk_runs").exists()


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--preset", "gpt2", "--data", "missing.jsonl"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert main(["--preset", "gpt2", "--data", "missing.jsonl", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_profile_says_where_the_time_went(
    model_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
    arguments = ["--model", str(model_folder()), "--data", "rows.jsonl", "--max-steps", "3", "--compare", "none"]
    assert main([*arguments, "--profile"]) == 0
    out = capsys.readouterr().out
    table = out[out.index("where the time went") :]
    for part in ("model loaded", "data tokenised", "first step", "other steps", "evaluations", "checkpoints"):
        assert part in table
    assert "From the command to the end of the first step:" in table


def test_the_profile_counts_all_time_once() -> None:
    times = Profile()
    begin = times._last
    when = iter(range(1, 99))
    step = {"total_steps": 2, "epoch": 0.0, "loss": 1.0, "learning_rate": 0.1, "grad_norm": 1.0, "tokens": 1,
            "supervised_tokens": 1, "tokens_per_s": 1.0, "eta_s": 0.0, "elapsed_s": 0.0, "memory_bytes": 1}  # fmt: skip
    for make in (
        lambda at: Phase(name="load", time=at),
        lambda at: Phase(name="train", time=at),
        lambda at: Step(step=1, time=at, **step),  # type: ignore[arg-type]
        lambda at: Step(step=2, time=at, **step),  # type: ignore[arg-type]
        lambda at: Phase(name="save", time=at),
    ):
        times(make(begin + next(when)))
    assert {name: round(value) for name, value in times.seconds.items() if value} == {
        "start": 1, "load": 1, "first": 1, "steps": 2,
    }  # fmt: skip
    assert round(times.to_first_step or 0) == 3
