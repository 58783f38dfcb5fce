"""Events as lines of JSON, the run folder, its lock and journal, and files written so that no half is ever seen."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ftk import events, files
from ftk.errors import RunError, UsageError
from ftk.events import Finished, Started, Step, Warned
from ftk.runs import Journal, RunFolder

HOSTILE = '[bold]x[/] \x1b[31m \u202e \u2028 \x00 \U0001f600 \ud83d é\n"quoted"'
VALUES = {"str": HOSTILE, "float": 0.1, "int": 7, "bool": True}


def made(kind: type[events.Event]) -> events.Event:
    values = {}
    for item in dataclasses.fields(kind):
        word = str(item.type).partition(" ")[0]
        if item.name != "time":
            values[item.name] = VALUES[word]
    return kind(**values)


@pytest.mark.parametrize("kind", events.KINDS.values(), ids=lambda kind: kind.kind)
def test_every_event_is_one_line_and_comes_back_equal(kind: type[events.Event]) -> None:
    event = made(kind)
    line = event.to_json()
    assert len(line.splitlines()) == 1 or "\u2028" in line
    assert "\n" not in line
    assert json.loads(line)["event"] == kind.kind
    assert events.from_json(line) == event


def test_numbers_that_json_cannot_hold_become_null() -> None:
    step = made(Step)
    line = dataclasses.replace(step, loss=float("nan"), grad_norm=float("inf")).to_json()  # type: ignore[call-arg]
    assert json.loads(line)["loss"] is None
    assert json.loads(line)["grad_norm"] is None


@pytest.mark.parametrize("line", ["", "{", "{}", "[]", "null", '{"event": "unknown"}', '{"event": "step"}'])
def test_a_line_that_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"event|Expecting|line"):
        events.from_json(line)


def test_fields_of_a_later_version_are_left_out() -> None:
    event = made(Warned)
    assert events.from_json(json.dumps(json.loads(event.to_json()) | {"a_new_field": 1})) == event


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/tmp/x", "a b", "x\n", "é", "-rf", "a" * 65, "a\\b", "~", "\x00", "CON:"]
)
def test_a_name_that_is_no_safe_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot name a run"):
        RunFolder.create(name or "/", "gpt2", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_new_run_takes_a_name_of_its_own(tmp_path: Path) -> None:
    for model in ("gpt2", "someone/My Model v1.5", "../../etc/passwd", "/a/b.Q4.gguf", "///", "模型"):
        names = {RunFolder.create(None, model, tmp_path / "runs").name for _ in range(3)}
        assert len(names) == 3
        assert all((tmp_path / "runs" / name).is_dir() for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_a_run_folder_is_private_and_never_reused(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
    with pytest.raises(UsageError, match="'mine' exists"):
        RunFolder.create("mine", "gpt2", tmp_path)


def test_a_run_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    run.write_provenance({"seed": 1})
    assert RunFolder.open("mine", tmp_path).path == RunFolder.open(str(run.path)).path == run.path
    assert run.provenance()["seed"] == 1
    for name in ("other", str(tmp_path)):
        with pytest.raises(RunError, match="There is no run"):
            RunFolder.open(name, tmp_path)


def test_a_run_of_a_later_version_is_refused(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    run.provenance_file.write_text('{"format": 99}')
    with pytest.raises(RunError, match="later version"):
        run.provenance()
    run.provenance_file.write_text('{"form')
    with pytest.raises(RunError, match=r"run\.json"):
        run.provenance()


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    code = (
        "import sys; from pathlib import Path; from ftk.runs import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): pass"
    )
    with run.locked():
        other = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False)
        assert other.returncode != 0
        assert f"being written by process {os.getpid()} on {socket.gethostname()}" in other.stderr
    assert subprocess.run([sys.executable, "-c", code, str(run.path)], check=False).returncode == 0
    assert not (run.path / "lock").exists()


def test_the_lock_of_a_dead_process_is_taken_over_but_not_one_of_another_host(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    (run.path / "lock").write_text(f"{process.pid} {socket.gethostname()}")
    with run.locked():
        assert (run.path / "lock").read_text().startswith(f"{os.getpid()} ")
    (run.path / "lock").write_text(f"{process.pid} another-host")
    with pytest.raises(RunError, match="another-host"), run.locked():
        pass


def test_the_journal_is_readable_while_it_is_written_and_after_a_torn_line(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    assert list(run.events()) == []
    first, second = made(Started), made(Finished)
    journal = Journal(run)
    journal(first)
    assert list(run.events()) == [first]
    journal.close()
    with run.journal_file.open("a") as file:
        file.write(second.to_json()[:40])  # killed in the middle of a write
    assert list(run.events()) == [first]
    journal = Journal(run)
    journal(second)
    journal.close()
    assert list(run.events()) == [first, second]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a" / "result"
    with pytest.raises(RuntimeError), files.staged_dir(target) as staging:
        (staging / "part").write_text("x")
        raise RuntimeError
    assert list((tmp_path / "a").iterdir()) == []
    with files.staged_dir(target) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "file").write_text("x")
        assert not target.exists()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["result"]
    assert (target / "sub" / "file").read_text() == "x"


def test_what_a_killed_process_left_behind_is_swept_away(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    dead = tmp_path / f".result.staging-{process.pid}-abc"
    living = tmp_path / f".result.staging-{os.getppid()}-abc"
    dead.mkdir()
    living.mkdir()
    with files.staged_dir(tmp_path / "result"):
        pass
    assert not dead.exists()
    assert living.exists()


def test_a_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_atomic(path, "old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["file"]
