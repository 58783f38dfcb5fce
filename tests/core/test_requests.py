"""Requests to a run: taken in order and only from its owner, whatever else lies in their folder."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftk import requests
from ftk.errors import RunError, UsageError
from ftk.runs import RunFolder
from ftk.training.control import Control

HANG = 60  # seconds after which something is taken to hang


class Recorder:
    """Something that can be told, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def stop(self, reason: str = "", *, save: bool = True) -> None:
        self.told.append("stop" if save else "abort")

    def save(self) -> None:
        self.told.append("save")

    def pause(self) -> None:
        self.told.append("pause")

    def proceed(self) -> None:
        self.told.append("proceed")


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    """A run that this process owns."""
    made = RunFolder.create("mine", "gpt2", tmp_path / "runs")
    made.write_provenance({})
    with made.locked():
        yield made


def test_every_request_does_what_it_says(run: RunFolder) -> None:
    control = Control()
    with requests.listening(run, control):
        requests.send(run, "pause")
        until(lambda: control.paused)
        requests.send(run, "proceed")
        until(lambda: not control.paused)
        requests.send(run, "save")
        until(control.take_save)
        requests.send(run, "stop")
        until(lambda: control.stopping)
        assert control.saves
    control = Control()
    with requests.listening(run, control):
        requests.send(run, "abort")
        until(lambda: control.stopping)
        assert not control.saves


def test_requests_are_taken_in_the_order_in_which_they_were_sent(run: RunFolder) -> None:
    recorder, sent = Recorder(), ["pause", "proceed", "save", "save", "pause", "abort", "stop", "proceed"] * 3
    with requests.listening(run, recorder):
        for word in sent:
            requests.send(run, word)  # type: ignore[arg-type]
            os.utime(run.requests, (0, 0))  # no clock has a say
        until(lambda: len(recorder.told) == len(sent))
    assert recorder.told == sent


def test_many_may_ask_at_the_same_time(run: RunFolder) -> None:
    recorder = Recorder()
    threads = [threading.Thread(target=requests.send, args=(run, word)) for word in requests.REQUESTS * 8]
    with requests.listening(run, recorder):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: len(recorder.told) == len(threads))
    assert sorted(recorder.told) == sorted(requests.REQUESTS * 8)


def test_a_run_without_a_process_is_not_asked(tmp_path: Path) -> None:
    run = RunFolder.create("mine", "gpt2", tmp_path)
    run.write_provenance({})
    with pytest.raises(RunError, match="No process is running 'mine'") as refused:
        requests.send(run, "pause")
    assert "ftk resume mine" in str(refused.value)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    (run.path / "owner.json").write_text(
        json.dumps({"pid": process.pid, "host": socket.gethostname(), "started": time.time()})
    )
    with pytest.raises(RunError, match="No process is running"):
        requests.send(run, "stop")
    assert not run.requests.exists()


def test_an_owner_on_another_host_can_be_asked(run: RunFolder) -> None:
    (run.path / "owner.json").write_text(json.dumps({"pid": 1, "host": "another-host", "started": 0.0}))
    recorder = Recorder()
    with requests.listening(run, recorder):
        requests.send(run, "save")
        until(lambda: recorder.told == ["save"])


def test_an_unknown_request_and_a_run_that_does_not_listen_are_told(run: RunFolder) -> None:
    with pytest.raises(UsageError, match="Did you mean 'pause'"):
        requests.send(run, "pauze")  # type: ignore[arg-type]
    with pytest.raises(RunError, match="takes no requests"):
        requests.send(run, "pause")


def test_what_an_earlier_process_was_asked_for_is_not_obeyed(run: RunFolder) -> None:
    run.requests.mkdir()
    (run.requests / "000001-abort").touch()
    (run.requests / "000002-pause").touch()
    recorder = Recorder()
    with requests.listening(run, recorder):
        assert list(run.requests.iterdir()) == []
        requests.send(run, "save")
        until(lambda: recorder.told)
    assert recorder.told == ["save"]


def test_only_the_owner_can_use_the_folder_and_nothing_stays(run: RunFolder) -> None:
    run.requests.mkdir(mode=0o777)
    run.requests.chmod(0o777)
    with pytest.raises(ZeroDivisionError), requests.listening(run, Recorder()):
        assert stat.S_IMODE(run.requests.stat().st_mode) == 0o700
        path = requests.send(run, "save")
        mode = path.stat().st_mode if path.exists() else 0o600
        assert stat.S_IMODE(mode) == 0o600
        raise ZeroDivisionError
    assert not run.requests.exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "ftk-requests"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_the_file_of_somebody_else_is_not_obeyed(run: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    aside = run.path / "000001-abort"
    aside.touch()
    os.chown(aside, 12345, 12345)
    with requests.listening(run, recorder):
        aside.rename(run.requests / aside.name)
        until(lambda: not (run.requests / aside.name).exists())
        requests.send(run, "save")
        until(lambda: recorder.told)
    assert recorder.told == ["save"]
    assert "belongs to user 12345" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_asking_the_run_of_somebody_else_is_refused(run: RunFolder) -> None:
    recorder = Recorder()
    with requests.listening(run, recorder):
        os.chown(run.requests, 12345, 12345)
        with pytest.raises(RunError, match="belongs to another user"):
            requests.send(run, "pause")
        assert list(run.requests.iterdir()) == []


def test_links_lead_nowhere(run: RunFolder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "000001-abort").touch()
    run.requests.symlink_to(elsewhere)
    recorder = Recorder()
    with requests.listening(run, recorder):
        assert not run.requests.is_symlink()
        (run.requests / "000001-pause").symlink_to(elsewhere / "000001-abort")
        (run.requests / "000002-pause").symlink_to(elsewhere)
        until(lambda: not list(run.requests.iterdir()))
        run.requests.rmdir()
        run.requests.symlink_to(elsewhere)
        with pytest.raises(RunError, match="cannot be asked"):
            requests.send(run, "save")
    assert recorder.told == []
    assert [path.name for path in elsewhere.iterdir()] == ["000001-abort"]


def test_a_folder_that_somebody_tidied_up_comes_back(run: RunFolder) -> None:
    recorder = Recorder()
    with requests.listening(run, recorder):
        run.requests.rmdir()
        until(run.requests.is_dir)
        requests.send(run, "save")
        until(lambda: recorder.told == ["save"])


NAMES = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.from_regex(rb"\A-?[0-9]{0,20}-(pause|abort|stopp|PAUSE|)\Z"),
    st.sampled_from(
        [b"000001-pause ", b"000001-pause\n", b".000001-pause", b"+00001-pause", b"1-abort", b"\xff-abort"]
    ),
).filter(lambda name: b"/" not in name and b"\0" not in name and name.strip(b".") != b"")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, st.sampled_from(["file", "folder", "link", "pipe"])), max_size=12))
def test_whatever_lies_in_the_folder_is_no_danger(
    run: RunFolder, caplog: pytest.LogCaptureFixture, things: list[tuple[bytes, str]]
) -> None:
    recorder, valid = Recorder(), 0
    with requests.listening(run, recorder):
        for name, kind in things:
            path = run.requests / os.fsdecode(name)
            try:
                if kind == "folder":
                    path.mkdir()
                    (path / "deeper").touch()
                elif kind == "link":
                    path.symlink_to(run.path)
                elif kind == "pipe":
                    os.mkfifo(path)
                else:
                    path.touch(exist_ok=False)
                    valid += requests._NAME.fullmatch(path.name) is not None
            except (FileExistsError, FileNotFoundError):  # twice the same, or taken while we were at it
                continue
        until(lambda: not list(run.requests.iterdir()))
        until(lambda: len(recorder.told) == valid)
        requests.send(run, "save")  # and it still listens
        until(lambda: recorder.told[valid:] == ["save"])
    assert not run.requests.exists()
    assert all("\n" not in record.getMessage() for record in caplog.records)
