"""Events as lines of JSON, the run folder, its state and journal, and files written so that no half is ever seen."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import math
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftk import events, files, journal, run_list
from ftk.errors import RunError, UsageError
from ftk.events import (
    Answered,
    CheckpointSaved,
    Evaluation,
    Failed,
    Finished,
    Paused,
    Proceeded,
    Started,
    Step,
    Stopped,
    Warned,
)
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
    with pytest.raises(RunError, match="'mine' is being written by process"):
        RunFolder.create("mine", "gpt2", tmp_path)
    run.write_provenance({})
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


def journalled(run: RunFolder, *happened: events.Event) -> None:
    journal = Journal(run)
    for event in happened:
        journal(event)
    journal.close()


def step(number: int, **values: object) -> Step:
    return dataclasses.replace(made(Step), step=number, total_steps=100, **values)  # type: ignore[arg-type, return-value]


def started(resumed_from: int = 0) -> Started:
    return Started(run="mine", folder="/f", model="m", data="d", version="1", resumed_from=resumed_from)


def evaluation(number: int) -> Evaluation:
    return Evaluation(
        step=number, loss=1 / (1 + number), perplexity=1.0, rows=1, supervised_tokens=1, best=True, seconds=0.1
    )


def saved(number: int) -> CheckpointSaved:
    return CheckpointSaved(step=number, path=f"/c/{number}", bytes=1, seconds=0.1)


STOPPED = Stopped(step=3, reason="Ctrl-C", checkpoint=None)
FAILED = Failed(step=3, error="E", message="no")
REMARK = Warned(code="listener", message="a screen broke while it was told the end")


@pytest.mark.parametrize(
    ("happened", "living", "dead"),
    [
        ([], "running", "new"),
        ([REMARK], "running", "interrupted"),
        ([started(), step(3)], "running", "interrupted"),
        ([started(), Paused(step=3)], "paused", "interrupted"),
        ([started(), Paused(step=3), saved(3), REMARK], "paused", "interrupted"),
        ([started(), Paused(step=3), Proceeded(step=3)], "running", "interrupted"),
        ([started(), Paused(step=3), started(3)], "running", "interrupted"),
        ([started(), step(3), made(Finished)], "finished", "finished"),
        ([started(), step(3), made(Finished), REMARK], "finished", "finished"),
        ([started(), STOPPED], "stopped", "stopped"),
        ([started(), FAILED], "failed", "failed"),
        ([started(), STOPPED, started(3)], "running", "interrupted"),
    ],
)
def test_the_state_follows_from_the_owner_and_the_end_of_the_journal(
    tmp_path: Path, happened: list[events.Event], living: str, dead: str
) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    run.write_provenance({})
    assert not run.resumable  # without its settings
    run.config_file.write_text("model: gpt2\n")
    with run.locked():
        journalled(run, *happened)
        assert run.state() == living
    assert run.state() == dead
    assert run.resumable == (dead != "finished")
    if dead != "finished":
        with run.locked():
            assert run.state() == "running"  # a resumption that has told nothing yet
            assert not run.resumable
    run.provenance_file.write_text("{")
    assert not run.resumable


def test_the_end_of_a_journal_of_any_length_is_found_without_reading_the_rest(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    run.write_provenance({})
    journalled(run, started(), evaluation(0), step(1))
    os.truncate(run.journal_file, 2**37)  # a hole of 128 GiB, which nobody could read within a test
    with run.locked():
        journalled(run, step(99), evaluation(99), Paused(step=99))
        assert run.state() == "paused"
    found = run_list.summary(run)
    assert (found.state, found.step, found.loss_before, found.loss_after) == ("interrupted", 99, 1.0, 0.01)


def test_a_history_tells_what_was_computed_twice_once(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    first = [started(), evaluation(0), step(1), step(2), saved(2), REMARK, step(3), evaluation(3)]
    second = [started(2), step(3, loss=7.0), evaluation(3), step(4), saved(4), Paused(step=5), STOPPED]
    third = [started(4), step(5), made(Answered), made(Finished)]
    journalled(run, *first, *second, *third)
    assert list(run.history()) == [*first[:6], *second[:5], *third]
    assert list(run.events()) == [*first, *second, *third]
    fourth = [started(2), FAILED]
    journalled(run, *fourth)
    assert list(run.history()) == [*first[:6], second[0], third[0], *fourth]
    journalled(run, again := started(0))  # no checkpoint was whole
    assert list(run.history()) == [first[0], REMARK, second[0], third[0], fourth[0], again]


def test_a_history_may_be_read_while_the_run_is_written(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    journalled(run, begun := started(), step(1))
    course = run.history()
    assert next(course) == begun
    journalled(run, step(2))
    assert [event.step for event in course if isinstance(event, Step)] == [1, 2]


@pytest.mark.parametrize(
    "line",
    [b"", b"\xff", b"\x00" * 50, b"{", b"[" * 100_000, b'{"event": "step"}', b'{"event": ["step"]}', b"1",
     b'{"event": "paused", "step": "3"}', b'{"event": "paused", "step": true}', b'{"event": "paused", "step": null}',
     b'{"event": "paused", "step": 1e3}', b'{"event": "paused", "step": ' + b"9" * 5000 + b"}",
     b'{"event": "paused", "step": 99999999999999999999}', b'{"event": "paused", "step": 1, "time": NaN}',
     b'{"event": "paused", "step": 1, "time": 1e999}', b'{"event": "paused", "step": 1, "time": -1}',
     b'{"event": "paused", "step": 1, "time": 1e12}', b'{"event": "paused", "step": 1, "time": null}',
     b'{"event": "warning", "code": "x", "message": 1}'],
)  # fmt: skip
def test_a_line_that_ftk_cannot_have_written_is_passed_over(tmp_path: Path, line: bytes) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    assert journal.parse(line) is None
    run.journal_file.write_bytes(started().to_json().encode() + b"\n" + line + b"\n")
    journalled(run, Paused(step=1))
    assert [event.kind for event in run.events()] == ["started", "paused"]


def test_a_number_that_was_lost_is_none_again(tmp_path: Path) -> None:
    found = journal.parse(step(1, loss=math.nan, grad_norm=math.inf).to_json().encode())
    assert isinstance(found, Step)
    assert math.isnan(found.loss)
    assert math.isnan(found.grad_norm)
    done = dataclasses.replace(made(Finished), loss_before=None)  # type: ignore[call-arg]
    assert journal.parse(done.to_json().encode()) == done


modest = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LINES = [event.to_json().encode() for event in (started(), started(2), step(1), step(3), evaluation(0), saved(2),
         Paused(step=3), made(Finished), STOPPED, FAILED)]  # fmt: skip
PIECES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([*LINES, b"\n", b"\n\n", b"\x00", b'{"event": "step"', b"\xe2\x80\xa8"]),
    st.tuples(st.sampled_from(LINES), st.integers(0, 60)).map(lambda cut: cut[0][: cut[1]]),
    st.sampled_from(LINES).map(lambda line: line + b"\n"),
)


@modest
@given(st.lists(PIECES, max_size=12).map(b"".join), st.sampled_from([1, 7, 64, 2**16]))
def test_no_bytes_in_a_journal_are_an_error_and_both_ways_of_reading_agree(
    tmp_path: Path, data: bytes, block: int
) -> None:
    run = RunFolder(tmp_path / "mine")
    run.path.mkdir(exist_ok=True)
    run.write_provenance({})
    run.journal_file.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "_BLOCK", block)
        forwards = list(journal.forwards(run.journal_file))
        assert list(journal.backwards(run.journal_file)) == forwards[::-1]
        some = ("step", "paused")
        assert list(journal.backwards(run.journal_file, some)) == [x for x in forwards[::-1] if x[1].kind in some]
        assert [event for _, event in forwards] == list(run.events())
        state, history = run.state(), list(run.history())
        assert run_list.summary(run).state == state
    assert state in ("finished", "stopped", "interrupted", "failed", "new")
    kinds = [type(event) for event in history]
    assert sum(kind is Started for kind in kinds) == sum(isinstance(event, Started) for _, event in forwards)
    log = Journal(run)
    log(REMARK)
    log.close()
    assert list(run.events())[-1] == REMARK
    assert run.journal_file.read_bytes().startswith(data)


class Halves(io.FileIO):
    """A file that takes half of what it is given, as a nearly full disk does, and lets other threads come between."""

    def write(self, data: Any) -> int:
        time.sleep(0)
        return super().write(data[: max(1, len(data) // 2)])


def test_events_of_several_threads_are_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    with monkeypatch.context() as patch:
        usual = Path.open
        patch.setattr(
            Path, "open", lambda path, mode, **more: Halves(path, mode) if mode == "ab" else usual(path, mode)
        )
        log = Journal(run)

    def write(thread: int) -> None:
        for number in range(50):
            log(Warned(code=str(thread), message="x" * (number * 7 % 300)))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.offset == run.journal_file.stat().st_size
    log.close()
    assert sorted(event.code for event in run.events() if isinstance(event, Warned)) == sorted("0123" * 50)


def test_no_secret_is_written_to_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "canary-0123456789"
    monkeypatch.setenv("MY_API_TOKEN", secret)
    run = RunFolder.create("mine", "gpt2", tmp_path)
    journalled(run, Warned(code="x", message=f"401 for token {secret} and hf_{'a' * 34}"))
    assert secret not in run.journal_file.read_text()
    (event,) = run.events()
    assert isinstance(event, Warned)
    assert event.message == "401 for token [redacted] and [redacted]"


def test_the_offset_of_a_journal_is_where_the_next_event_will_stand(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    places = []
    for _ in range(2):
        log = Journal(run)
        for number in range(2):
            places.append(log.offset)
            log(Paused(step=number))
        log.close()
    assert [place for place, _ in journal.forwards(run.journal_file)] == places


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from ftk.events import Paused, Warned
from ftk.runs import Journal, RunFolder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = RunFolder(Path(sys.argv[1]))
journal = Journal(run)
journal(Paused(step=1))
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
for room in (0, 1, 40):
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.offset + room, most))
    try:
        journal(Warned(code="lost", message="x"))
    except OSError as error:
        print(error.errno, flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
journal(Paused(step=2))
journal(Paused(step=3))
assert journal.offset == run.journal_file.stat().st_size
"""


def test_a_full_disk_loses_an_event_but_not_the_next(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    code = [sys.executable, "-c", FULL_DISK, str(run.path)]
    told = subprocess.run(code, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(errno.EFBIG)] * 3
    assert b'"warning"' in run.journal_file.read_bytes()  # a part of it was written
    assert [event.step for event in run.events() if isinstance(event, Paused)] == [1, 2, 3]


def test_a_disk_that_cannot_sync_keeps_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error would have the event written again, for ever, and all that come after it wait."""
    run = RunFolder(tmp_path)

    def cannot(fd: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    log = Journal(run)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", cannot)
        log(events.Stopped(step=1, reason="", checkpoint=None))
    log.close()
    assert [event.kind for event in run.events()] == ["stopped"]


@pytest.mark.parametrize("text", ["[]", "null", "3", "{}", '{"format": "1"}', "[" * 100_000, "\xff"])
def test_a_run_json_that_ftk_did_not_write_is_refused(tmp_path: Path, text: str) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    run.provenance_file.write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=r"run\.json"):
        run.provenance()


def test_an_unknown_run_is_answered_with_the_nearest(tmp_path: Path) -> None:
    RunFolder.create("my-first-run", "gpt2", tmp_path).write_provenance({})
    with pytest.raises(RunError, match="Did you mean 'my-first-run'") as refused:
        RunFolder.open("my-frist-run", tmp_path)
    assert "`ftk runs`" in (refused.value.hint or "")


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
