"""One process at a time writes a run: shown with real processes that are killed, race, fork and leave files behind."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import gc
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftk import events, run_lock
from ftk.errors import RunError, UsageError
from ftk.run_lock import Owner
from ftk.runs import Journal, RunFolder

SCRIPT = """
import ctypes, os, subprocess, sys
from pathlib import Path
from ftk import run_lock
from ftk.errors import FtkError
from ftk.runs import RunFolder

folder = Path(sys.argv[1])
if "no-kernel-lock" in sys.argv:
    run_lock.fcntl = None
say = lambda text: print(text, flush=True)
child = None
say("ready")
for line in sys.stdin:
    try:
        if line == "lock\\n":
            with RunFolder(folder).locked():
                say("won")
                sys.stdin.readline()
        elif line == "create\\n":
            run = RunFolder.create(folder.name, "gpt2", folder.parent)
            say("won")
            sys.stdin.readline()
            run.write_provenance({"by": os.getpid()})
        elif line == "lock and exec\\n":
            with RunFolder(folder).locked():
                child = subprocess.Popen(["sleep", "100"], close_fds=False)
                say(f"child {child.pid}")
                sys.stdin.readline()
        elif line == "lock and fork\\n":
            with RunFolder(folder).locked():
                reading, writing = os.pipe()
                if (pid := os.fork()) == 0:
                    os.write(writing, b"x")
                    sys.stdin.close()
                    os.execvp("sleep", ["sleep", "100"]) if "exec" in sys.argv else __import__("time").sleep(100)
                os.read(reading, 1)  # the child has begun
                say(f"child {pid}")
                sys.stdin.readline()
        elif line == "lock and fork unseen\\n":
            with RunFolder(folder).locked():
                pid = ctypes.CDLL(None).fork()  # as a library does, without a word to Python
                if pid == 0:
                    __import__("time").sleep(100)
            say(f"child {pid}")
        elif line == "lock and leave a fork\\n":
            with RunFolder(folder).locked():
                if os.fork() == 0:
                    raise SystemExit  # through the with statement
                os.wait()
                say("left")
                sys.stdin.readline()
        say("free")
    except FtkError as error:
        say("lost: " + str(error).replace("\\n", " | "))
        sys.stdin.readline()
        say("free")
"""


class Process:
    """Another process that does what it is told with a run."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = self._process.pid
        assert self.hear() == "ready"

    def say(self, text: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{text}\n".encode())
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().decode().rstrip("\n")

    def ask(self, text: str) -> str:
        self.say(text)
        return self.hear()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    """Starts processes, and ends them."""
    made: list[Process] = []

    def start(folder: Path, *options: str) -> Process:
        made.append(Process(folder, *options))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder.create("mine", "gpt2", tmp_path / "runs")
    made.write_provenance({})
    return made


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def claimed(path: Path, **changes: object) -> None:
    """Write that somebody owns a run: this process, but for what is given."""
    with RunFolder(path.parent).locked():
        owner = run_lock.read_owner(path.parent)
    assert owner
    path.write_text(json.dumps(dataclasses.asdict(owner) | changes))


def test_a_second_process_is_told_who_has_the_run(run: RunFolder, process: Callable[..., Process]) -> None:
    other = process(run.path)
    with run.locked():
        owner = run.owner()
        assert owner
        assert (owner.pid, owner.host, owner.alive) == (os.getpid(), socket.gethostname(), True)
        assert stat.S_IMODE((run.path / "owner.json").stat().st_mode) == 0o600
        answer = other.ask("lock")
        assert f"lost: The run 'mine' is being written by process {os.getpid()} on {socket.gethostname()}." in answer
        assert "`ftk attach mine` follows it and can stop it." in answer
    other.ask("")
    assert run.owner() is None
    assert other.ask("lock") == "won"
    with pytest.raises(RunError, match=rf"process {other.pid} on"), run.locked():
        pass
    assert other.ask("") == "free"
    with run.locked():
        pass


def test_the_lock_ends_with_a_killed_process(run: RunFolder, process: Callable[..., Process]) -> None:
    other = process(run.path)
    assert other.ask("lock") == "won"
    owner = run.owner()
    assert owner
    assert owner.alive
    assert run.state() == "running"
    os.kill(other.pid, signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, but its parent has not asked yet
    assert not owner.alive
    other.kill()
    assert run.owner() == owner
    assert not owner.alive
    assert run.state() == "new"
    with run.locked():
        now = run.owner()
        assert now
        assert now.pid == os.getpid()


@pytest.mark.parametrize("options", [[], ["no-kernel-lock"]], ids=["kernel", "file"])
def test_of_two_processes_that_race_for_the_lock_of_a_dead_one_exactly_one_wins(
    run: RunFolder, process: Callable[..., Process], options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if options:
        monkeypatch.setattr(run_lock, "fcntl", None)
    one, other, dead = process(run.path, *options), process(run.path, *options), dead_pid()
    for _ in range(20):
        for name in ("owner.json", "lock.exclusive") if options else ("owner.json",):
            claimed(run.path / name, pid=dead)
        one.say("lock")
        other.say("lock")
        answers = sorted((one.hear()[:4], other.hear()[:4]))
        assert answers == ["lost", "won"]
        one.say("")
        other.say("")
        assert one.hear() == other.hear() == "free"
        assert run.owner() is None
    assert not (run.path / "lock.exclusive").exists()


def test_a_number_that_is_used_again_and_a_start_of_the_machine_are_seen(run: RunFolder) -> None:
    file = run.path / "owner.json"
    claimed(file)
    owner = run.owner()
    assert owner
    assert owner.alive
    assert owner.ticks is None or not dataclasses.replace(owner, ticks=owner.ticks + 1).alive
    assert dataclasses.replace(owner, ticks=None).alive
    assert not dataclasses.replace(owner, ticks=None, started=owner.started - 60).alive
    assert not dataclasses.replace(owner, boot="another").alive
    assert not dataclasses.replace(owner, pid=dead_pid()).alive
    for changes in ({"ticks": 1, "started": 1.0}, {"boot": "another"}, {"pid": dead_pid()}):
        claimed(file, **changes)
        with run.locked():
            assert run.owner() == owner


def test_a_clock_that_is_set_does_not_make_an_owner_look_dead(run: RunFolder) -> None:
    with run.locked():
        owner = run.owner()
        assert owner
        if owner.ticks is not None:  # where the kernel counts from its own start
            assert dataclasses.replace(owner, started=owner.started + 3600).alive


def test_an_owner_on_another_host_counts_as_living_and_the_file_to_remove_is_named(run: RunFolder) -> None:
    file = run.path / "owner.json"
    claimed(file, host="another-host", pid=dead_pid())
    owner = run.owner()
    assert owner
    assert owner.alive
    assert not owner.here
    with pytest.raises(RunError, match=r"process \d+ on another-host") as refused, run.locked():
        pass
    assert f"remove {file}" in (refused.value.hint or "")
    file.unlink()
    with run.locked():
        pass


def test_removing_the_lock_of_a_living_process_lets_nobody_in(run: RunFolder, process: Callable[..., Process]) -> None:
    other = process(run.path)
    assert other.ask("lock") == "won"
    (run.path / "lock").unlink()
    with pytest.raises(RunError, match=f"process {other.pid}"), run.locked():
        pass


@pytest.mark.parametrize(
    ("order", "options"), [("lock and exec", []), ("lock and fork", []), ("lock and fork", ["exec"])]
)
def test_a_child_that_outlives_its_parent_does_not_hold_the_lock(
    run: RunFolder, process: Callable[..., Process], order: str, options: list[str]
) -> None:
    other = process(run.path, *options)
    child = int(other.ask(order).removeprefix("child "))
    try:
        other.kill()
        os.kill(child, 0)  # it lives
        with run.locked():
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_lock_is_given_back_though_a_child_has_a_copy_of_it(
    run: RunFolder, process: Callable[..., Process]
) -> None:
    other = process(run.path)
    child = int(other.ask("lock and fork unseen").removeprefix("child "))
    try:
        with run.locked():
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_ends_does_not_end_the_lock(run: RunFolder, process: Callable[..., Process]) -> None:
    other = process(run.path)
    assert other.ask("lock and leave a fork") == "left"
    owner = run.owner()
    assert owner
    assert owner.pid == other.pid
    with pytest.raises(RunError, match=f"process {other.pid}"), run.locked():
        pass


def test_two_threads_of_one_process_are_two_writers(run: RunFolder) -> None:
    refused: list[str] = []

    def second() -> None:
        try:
            with RunFolder(run.path).locked():
                pass
        except RunError as error:
            refused.append(error.message)

    with run.locked():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1


@pytest.mark.parametrize("missing", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_locked_by_a_file(
    run: RunFolder, missing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoLocks:
        LOCK_EX = LOCK_NB = LOCK_UN = 0

        @staticmethod
        def flock(fd: int, what: int) -> None:
            raise OSError(missing, os.strerror(missing))

    monkeypatch.setattr(run_lock, "fcntl", NoLocks)
    with run.locked():
        assert (run.path / "lock.exclusive").exists()
        with pytest.raises(RunError, match=f"process {os.getpid()}"), RunFolder(run.path).locked():
            pass
    assert not (run.path / "lock.exclusive").exists()
    claimed(run.path / "lock.exclusive", host="another-host")
    with pytest.raises(RunError, match="on another-host") as refused, run.locked():
        pass
    assert f"remove {run.path / 'lock.exclusive'}" in (refused.value.hint or "")
    (run.path / "lock.exclusive").write_text("")  # of a process that is just writing it, or died while it did
    with pytest.raises(RunError, match="by another process") as refused, run.locked():
        pass
    assert f"remove {run.path / 'lock.exclusive'}" in (refused.value.hint or "")


def test_a_lock_that_is_removed_while_it_is_taken_is_taken_again(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[int] = []

    class Removing:
        LOCK_EX, LOCK_NB, LOCK_UN = fcntl.LOCK_EX, fcntl.LOCK_NB, fcntl.LOCK_UN

        @staticmethod
        def flock(fd: int, what: int) -> None:
            if not removed:
                removed.append(fd)
                (run.path / "lock").unlink()
            fcntl.flock(fd, what)

    monkeypatch.setattr(run_lock, "fcntl", Removing)
    with run.locked(tell=False), pytest.raises(RunError, match="another process"), run.locked(tell=False):
        pass
    assert removed


def test_the_file_of_one_who_was_faster_is_put_back(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "fcntl", None)
    marker = run.path / "lock.exclusive"
    claimed(run.path / "living", journal_bytes=7)
    claimed(marker, pid=dead_pid())

    def faster(size: int) -> str:
        """What another process does after we saw the stale file, and before we put it away."""
        (run.path / "living").rename(marker)
        return "0" * size

    monkeypatch.setattr(run_lock.secrets, "token_hex", faster)
    with pytest.raises(RunError, match=f"process {os.getpid()}"), run.locked():
        pass
    assert json.loads(marker.read_text())["journal_bytes"] == 7
    assert not list(run.path.glob(".*"))


def test_a_full_disk_is_said_and_leaves_the_run_free(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:

        def no_space(fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr(os, "fsync", no_space)
        with pytest.raises(RunError, match="cannot be locked: No space left"), run.locked():
            pass
        with run.locked(tell=False):  # enough for deleting it
            assert run.owner() is None
    with run.locked():
        pass


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"pid": "1", "host": "h", "started": 1}', '{"pid": -1, "host": "h", "started": 1}',
     '{"pid": 1, "host": 2, "started": 1}', '{"pid": 99999999999999, "host": "h", "started": 1}', "[" * 100_000, "\xff",
     '{"pid": 1, "host": "h", "started": 1, "ticks": "x", "boot": 3, "journal_bytes": "y"}'],
)  # fmt: skip
def test_an_owner_that_cannot_be_read_is_none(run: RunFolder, text: str) -> None:
    (run.path / "owner.json").write_bytes(text.encode("latin-1"))
    assert run.owner() is None
    assert run.state() == "new"
    with run.locked():
        assert isinstance(run.owner(), Owner)


@pytest.mark.parametrize("name", ["owner.json", "run.json", "events.jsonl"])
def test_a_pipe_in_the_place_of_a_file_makes_nobody_wait(run: RunFolder, name: str) -> None:
    (run.path / name).unlink(missing_ok=True)
    os.mkfifo(run.path / name)
    assert run.owner() is None
    assert run.state() == "new"
    assert list(run.history()) == []


def test_a_link_in_the_place_of_the_lock_is_not_followed(run: RunFolder, tmp_path: Path) -> None:
    (run.path / "lock").unlink()
    (run.path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="cannot be locked"), run.locked():
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_new_folder_is_held_until_its_run_json_is_there(tmp_path: Path, process: Callable[..., Process]) -> None:
    made = RunFolder.create("new", "gpt2", tmp_path)
    other = process(made.path)
    assert other.ask("lock").startswith("lost: The run 'new' is being written by process")
    other.ask("")
    assert other.ask("create").startswith("lost: ")
    other.ask("")
    made.write_provenance({})
    assert made.owner() is None
    assert other.ask("lock") == "won"


def test_a_new_folder_that_its_maker_forgets_is_free(tmp_path: Path) -> None:
    made = RunFolder.create("new", "gpt2", tmp_path)
    assert made.owner() is not None
    del made
    gc.collect()
    assert RunFolder(tmp_path / "new").owner() is None
    with RunFolder.create("new", "gpt2", tmp_path).locked():
        assert RunFolder(tmp_path / "new").owner() is not None
    assert RunFolder(tmp_path / "new").owner() is None


def test_what_a_process_left_that_died_while_it_made_a_run_is_used_again(
    tmp_path: Path, process: Callable[..., Process]
) -> None:
    other = process(tmp_path / "new")
    assert other.ask("create") == "won"
    folder = tmp_path / "new"
    with pytest.raises(RunError, match=f"process {other.pid}"):
        RunFolder.create("new", "gpt2", tmp_path)
    other.kill()
    (folder / "config.yaml").write_text("model: other\n")
    (folder / ".run.json.abc.tmp").write_text("{")
    folder.chmod(0o755)
    made = RunFolder.create("new", "gpt2", tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in folder.iterdir()} == {"lock", "owner.json"}
    made.write_provenance({})
    with pytest.raises(UsageError, match="'new' exists"):
        RunFolder.create("new", "gpt2", tmp_path)


@pytest.mark.parametrize("kept", ["notes.txt", "events.jsonl", "checkpoints/x", "run.json"])
def test_a_folder_that_holds_more_is_not_used_again(tmp_path: Path, kept: str) -> None:
    file = tmp_path / "new" / kept
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(UsageError, match="'new' exists"):
        RunFolder.create("new", "gpt2", tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == [f"new/{kept}"]


def test_a_link_is_not_used_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="'new' exists"):
        RunFolder.create("new", "gpt2", tmp_path / "runs")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_of_two_processes_that_make_a_run_of_one_name_exactly_one_does(
    tmp_path: Path, process: Callable[..., Process]
) -> None:
    one, other = process(tmp_path / "new"), process(tmp_path / "new")
    for _ in range(10):
        one.say("create")
        other.say("create")
        first, second = one.hear(), other.hear()
        assert sorted((first[:4], second[:4])) == ["lost", "won"]
        one.say("")
        other.say("")
        assert one.hear() == other.hear() == "free"
        winner = one if first == "won" else other
        assert RunFolder.open("new", tmp_path).provenance()["by"] == winner.pid
        for file in (tmp_path / "new").iterdir():
            file.unlink()  # as a process leaves it that dies at once


def test_a_run_whose_resumption_tells_nothing_yet_is_running(run: RunFolder) -> None:
    def journalled(*happened: events.Event) -> None:
        journal = Journal(run)
        for event in happened:
            journal(event)
        journal.close()

    with run.locked():
        journalled(events.Stopped(step=1, reason="Ctrl-C", checkpoint=None))
        assert run.state() == "stopped"  # this process is just about to end
    with run.locked():
        assert run.state() == "running"
        journalled(events.Failed(step=1, error="E", message="no"))
        assert run.state() == "failed"
