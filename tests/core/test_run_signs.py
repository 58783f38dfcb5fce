"""A run whose host is gone is taken for interrupted and goes on elsewhere; one that only stands still is not."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftk import events, requests, resume, run_list, run_lock, run_signs
from ftk.errors import RunError
from ftk.runs import Journal, RunFolder
from ftk_tui import runs_report
from tests.run_folders import make, started, step

MINUTES = 10 * 60


@pytest.fixture(autouse=True)
def _no_known_clock() -> Iterator[None]:
    run_signs._clocks.clear()
    yield
    run_signs._clocks.clear()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make(tmp_path, "mine", started(), step(7))


def elsewhere(run: RunFolder, silent_s: float = 0, file: str = "owner.json", **changes: object) -> Path:
    """Let a process on another host have the run, and have touched its file so long ago."""
    path = run.path / file
    path.unlink(missing_ok=True)
    with run.locked():
        owner = run_lock.read_owner(run.path)
    assert owner
    path.write_text(json.dumps(dataclasses.asdict(owner) | {"host": "spot-1", **changes}))
    os.utime(path, (time.time() - silent_s,) * 2)
    return path


def test_a_run_whose_host_is_gone_is_interrupted_and_taken_up(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere(run, MINUTES)
    owner = run.owner()
    assert owner
    assert owner.gone
    assert not owner.alive
    assert run.state() == "interrupted"
    found = run_list.summary(run)
    assert found.reason == f"spot-1 not heard of since {owner.heard_of}"
    runs_report.table([found])
    assert f"mine: interrupted (spot-1 not heard of since {owner.heard_of})" in capsys.readouterr().out
    newest = run_list.newest_interrupted(tmp_path)
    assert newest
    assert newest.name == "mine"
    assert "spot-1, which wrote this run, was not heard of" in resume._of_host(run)[0].message
    with pytest.raises(RunError, match="No process is running"):
        requests.send(run, "stop")
    with run.locked():
        now = run.owner()
        assert now
        assert now.pid == os.getpid()
    assert not resume._of_host(run)
    assert {path.name for path in run.path.iterdir()} <= {"run.json", "events.jsonl", "config.yaml", "lock"}


@pytest.mark.parametrize("paused", [False, True])
def test_a_living_run_of_another_host_is_left_alone_whatever_it_tells(run: RunFolder, paused: bool) -> None:
    elsewhere(run, run_signs.SILENT_S - 30)
    if paused:
        journal = Journal(run)
        journal(events.Paused(step=7))
        journal.close()
    os.utime(run.journal_file, (0, 0))  # nothing was told for long: an evaluation, a pause
    assert run.state() == ("paused" if paused else "running")
    with pytest.raises(RunError, match="being written by process") as refused, run.locked():
        pass
    assert "the run can be taken from here in 30 s" in (refused.value.hint or "").replace("29 s", "30 s")


def test_a_version_that_gives_no_signs_counts_as_living(run: RunFolder) -> None:
    elsewhere(run, MINUTES, signs_s=0)
    assert run.state() == "running"
    with pytest.raises(RunError, match="spot-1"), run.locked():
        pass


def test_the_clock_of_this_host_does_not_matter(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86_400)
    elsewhere(run, 86_400)  # touched just now, by the clock of the file system
    assert run.state() == "running"
    monkeypatch.setattr(time, "time", lambda: real() - 86_400)
    elsewhere(run, MINUTES - 86_400)
    assert run.state() == "interrupted"


def test_who_may_not_write_takes_nothing_over(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> float:
        raise PermissionError(13, "Permission denied", str(path))

    elsewhere(run, MINUTES)
    monkeypatch.setattr(run_signs, "_time_of", refused)
    assert run.state() == "running"


def test_a_marker_that_stands_for_a_lock_is_taken_too(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "fcntl", None)
    elsewhere(run, 0, run_lock.MARKER)
    with pytest.raises(RunError, match="spot-1"), run.locked():
        pass
    marker = run.path / run_lock.MARKER
    os.utime(marker, (time.time() - MINUTES,) * 2)
    with run.locked():
        pass
    assert not marker.exists()


def test_whoever_holds_a_run_gives_signs(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_signs, "EVERY_S", 0.01)
    path = run.path / run_lock.OWNER
    with run.locked():
        for _ in range(2):
            os.utime(path, (0, 0))
            _until(lambda: path.stat().st_mtime > 0)
        path.unlink()  # by hand
        _until(path.exists)
    assert run.owner() is None
    assert not any(thread.name == "ftk-signs" and thread.is_alive() for thread in _soon_ended())


def test_a_process_that_stood_still_and_lost_its_run_hears_of_it_and_leaves_the_file(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_signs, "EVERY_S", 0.05)
    lost, heard = threading.Event(), list[str]()

    def lose(reason: str) -> None:
        heard.append(reason)
        lost.set()

    with run.locked() as lock:
        lock.on_loss = lose
        owner = run.owner()
        assert owner
        text = json.dumps(dataclasses.asdict(owner) | {"host": "spot-2", "pid": 42})
        run.path.joinpath("new").write_text(text)
        run.path.joinpath("new").rename(run.path / run_lock.OWNER)
        assert lost.wait(20)
    assert "process 42 on spot-2 has taken the run over" in heard[0]
    now = run.owner()
    assert now
    assert now.host == "spot-2"


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def _soon_ended() -> list[threading.Thread]:
    found = [thread for thread in threading.enumerate() if thread.name == "ftk-signs"]
    for thread in found:
        thread.join(5)
    return found
