"""Every operation on files fails, or is the last of its process: nothing is ever half there."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftk import files

from .scenarios import NEW, SCENARIOS

_AT_ONCE = 2
_POINTS = {"file": 8, "folder": 15, "journal": 6, "checkpoint": 40, "result": 30}
"""Operations that there are at least: fewer would mean that the faults no longer reach the code."""


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[tuple[str, str], dict[str, Any]]]:
    """What came of every scenario and fault; half of them run in each of two processes."""
    memory = Path("/dev/shm")  # where a sync costs nothing: there are thousands
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        shares = [list(SCENARIOS)[number::_AT_ONCE] for number in range(_AT_ONCE)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, "-m", "tests.faults.operations", folder]
        processes = [
            subprocess.Popen(
                [*command, *share],
                env=environment, cwd=Path(__file__).parents[2], text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for share in shares
        ]  # fmt: skip
        found = {}
        for process in processes:
            out, errors = process.communicate()
            assert process.returncode == 0, errors[-3000:]
            for line in filter(None, out.splitlines()):
                outcome = json.loads(line)
                found[outcome["scenario"], outcome["mode"]] = outcome
        yield found


@pytest.mark.parametrize(
    ("scenario", "mode"), [(name, mode) for name, scenario in SCENARIOS.items() for mode in scenario.modes]
)
def test_after_a_fault_at_any_operation(
    outcomes: dict[tuple[str, str], dict[str, Any]], scenario: str, mode: str
) -> None:
    outcome = outcomes[scenario, mode]
    assert outcome["wrong"] == []
    if "already" not in scenario:  # there nothing is to be done
        assert outcome["points"] >= next(least for word, least in _POINTS.items() if word in scenario)


def test_a_folder_that_exists_is_never_replaced(tmp_path: Path) -> None:
    for target in (tmp_path / "full", tmp_path / "empty", tmp_path / "file", tmp_path / "link"):
        if target.name in ("full", "empty"):
            target.mkdir()
        if target.name == "full":
            (target / "one").write_text("old")
        if target.name == "file":
            target.write_text("old")
        if target.name == "link":
            target.symlink_to(tmp_path / "nowhere")
        with pytest.raises(FileExistsError), files.staged_dir(target):
            raise AssertionError("the block is not entered")
    before = sorted(tmp_path.rglob("*"))
    target = tmp_path / "later"
    with pytest.raises(FileExistsError), files.staged_dir(target) as staging:
        (staging / "one").write_text("new")
        target.mkdir()
    assert sorted(tmp_path.rglob("*")) == sorted([*before, target])
    assert list(target.iterdir()) == []


def test_left_overs_are_known_by_process_and_host(tmp_path: Path) -> None:
    """Numbers of processes are used again: in a container by nearly every start."""
    here, elsewhere, own = files._THIS_HOST, "0" * 8, files._THIS_PROCESS
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    dead, alive, me = process.pid, os.getppid(), os.getpid()
    goes = {f"{dead}-{'1' * 8}-{here}", f"{me}-{'1' * 8}-{here}"}
    stays = {f"{alive}-{'1' * 8}-{here}", f"{me}-{own}-{here}"}
    of_another_host = f"{dead}-{'1' * 8}-{elsewhere}"
    made = {f".other.staging-{maker}-{'2' * 8}": maker for maker in (*goes, *stays, of_another_host)}
    ours = {}
    for name, maker in made.items():
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.tmp").write_text("half")
        ours |= {tmp_path / name: maker, tmp_path / f"{name}.tmp": maker}
    strangers = [f".other.staging-{dead}", ".other.staging-x", f"other.staging-{dead}-{'1' * 8}-{here}-{'2' * 8}"]
    for name in strangers:
        (tmp_path / name).mkdir()

    def left() -> set[str]:
        return {maker for path, maker in ours.items() if path.exists()}

    files.write_atomic(tmp_path / "new", "x")
    assert left() == {*stays, of_another_host}
    long_ago = time.time() - 3 * 86_400
    for path in filter(Path.exists, ours):
        os.utime(path, (long_ago, long_ago))
    files.write_atomic(tmp_path / "new", "x")
    assert left() == stays
    with files.staged_dir(tmp_path / "folder", alone=True):
        pass
    assert left() == {f"{me}-{own}-{here}"}  # which another thread may be writing
    assert all((tmp_path / name).is_dir() for name in strangers)


def test_sweeping_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    inside = tmp_path / "inside"
    inside.mkdir()
    link = inside / f".a.staging-{2**22 + 1}-{'1' * 8}-{files._THIS_HOST}-{'2' * 8}"
    link.symlink_to(outside)
    files.write_atomic(inside / "file", "x")
    assert not link.is_symlink()
    assert (outside / "precious").read_text() == "x"


def test_what_goes_wrong_while_cleaning_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EPERM, "not this way")

    monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.setattr(os, "rmdir", refuse)
    for write in (files.staged_file, files.staged_dir):
        with pytest.raises(ZeroDivisionError), write(tmp_path / "target"):
            raise ZeroDivisionError
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EROFS, "read-only")))
    with pytest.raises(OSError, match="read-only"):
        files.write_atomic(tmp_path / "target", "x")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(code, os.strerror(code))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_atomic(tmp_path / "a" / "file", NEW)
    with files.staged_dir(tmp_path / "b" / "folder") as staging:
        (staging / "file").write_text(NEW)
    assert (tmp_path / "a" / "file").read_text() == (tmp_path / "b" / "folder" / "file").read_text() == NEW


def test_every_new_folder_is_synced_into_the_one_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    real = files.sync_dir
    monkeypatch.setattr(files, "sync_dir", lambda path: (synced.append(path), real(path)))
    files.make_dir(tmp_path / "a" / "b" / "c")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    files.make_dir(tmp_path / "a" / "b")
    assert len(synced) == 3


def test_new_files_get_their_permissions_and_old_ones_keep_theirs(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with files.staged_file(tmp_path / "rows") as staging:
            staging.write_text("x")
        with files.staged_dir(tmp_path / "folder") as staging:
            (staging / "file").write_text("x")
        files.write_atomic(tmp_path / "private", "x")
        for name in ("shared", "read-only"):
            (tmp_path / name).write_text("old")
            (tmp_path / name).chmod(0o664 if name == "shared" else 0o400)
            files.write_atomic(tmp_path / name, "new")
            with files.staged_file(tmp_path / name) as staging:
                assert staging.stat().st_mode & 0o007 <= (tmp_path / name).stat().st_mode & 0o007
                staging.write_text("newer")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"rows": 0o640, "folder": 0o750, "private": 0o600, "shared": 0o664, "read-only": 0o400}
    assert (tmp_path / "shared").read_text() == (tmp_path / "read-only").read_text() == "newer"


def test_a_name_as_long_as_the_disk_allows_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 250, "ä" * 120, "[*?]"):
        files.write_atomic(tmp_path / name, "x")
        with files.staged_dir(tmp_path / "d" / name):
            pass
        assert (tmp_path / name).read_text() == "x"
        assert (tmp_path / "d" / name).is_dir()
