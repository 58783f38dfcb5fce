"""The list of runs, and what renames and deletes them: never an error because of a folder, never a file outside."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftk import api, events, files, recipes, run_edit, run_list, run_lock, runs
from ftk.errors import FtkError, RunError, UsageError
from ftk.events import Event
from ftk.runs import Journal, RunFolder
from tests.run_folders import FAILED, STOPPED, at_last, evaluation, finished, make, started, step


def of(parent: Path, name: str) -> run_list.RunSummary:
    return next(run for run in run_list.all_runs(parent) if run.name == name)


def test_a_run_is_told_in_a_few_values(tmp_path: Path) -> None:
    run = make(tmp_path, "a", started(), evaluation(0, 3.0), step(1), evaluation(20, 2.0), step(21, 1.9))
    run.checkpoints.mkdir()
    (run.checkpoints / "weights").write_bytes(b"x" * 10_000)
    (run.checkpoints / "link").symlink_to("/")
    found = of(tmp_path, "a")
    assert found.path == run.path
    assert (found.state, found.reason, found.model, found.data) == ("interrupted", "", "gpt2", "rows.jsonl")
    assert (found.step, found.total_steps, found.loss) == (21, 100, 1.9)
    assert (found.loss_before, found.loss_after, found.seconds) == (3.0, 2.0, 10.5)
    assert found.started is not None
    assert found.updated == found.started + 4
    assert 10_000 < found.bytes < 20_000
    done = make(tmp_path, "b", started(), evaluation(0, 3.1), step(1), finished(reason="stopped falling"))
    found = of(tmp_path, done.name)
    assert (found.state, found.reason, found.step) == ("finished", "stopped falling", 100)
    assert (found.loss_before, found.loss_after, found.seconds) == (3.0, 1.5, 60.0)


@pytest.mark.parametrize(
    ("happened", "reached", "losses"),
    [
        ([], 0, (None, None, None)),
        ([started()], 0, (None, None, None)),
        ([started(), step(1, float("nan"))], 1, (None, None, None)),
        ([started(), step(3)], 3, (2.5, None, None)),
        ([started(), evaluation(0, 3.0)], 0, (None, 3.0, None)),
        ([started(), evaluation(0, 3.0), step(3)], 3, (2.5, 3.0, None)),
        ([started(), step(39, 2.0), STOPPED], 42, (2.0, None, None)),
        ([started(), evaluation(0, 3.0), step(9, 2.0), evaluation(9, 2.5), step(11, 1.0), evaluation(11, 1.1),
          started(10)], 10, (2.0, 3.0, 2.5)),
        ([started(), evaluation(0, 3.0), step(9), evaluation(9, 2.5), started(8), step(9, 2.0)], 9, (2.0, 3.0, None)),
        ([started(), evaluation(0, 3.0), step(9), evaluation(9, 2.5), started()], 0, (None, 3.0, None)),
        ([started(), step(9), STOPPED, started(9), step(10, 2.0)], 10, (2.0, None, None)),
    ],
)  # fmt: skip
def test_what_a_resumption_made_void_does_not_count(
    tmp_path: Path, happened: list[Event], reached: int, losses: tuple[float | None, ...]
) -> None:
    make(tmp_path, "a", *happened)
    found = of(tmp_path, "a")
    assert (found.step, (found.loss, found.loss_before, found.loss_after)) == (reached, losses)


def test_the_list_is_in_the_order_of_what_runs_last_told(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make(tmp_path, name, started(), STOPPED)
    new = make(tmp_path, "new")
    journal = Journal(RunFolder(tmp_path / "b"))
    journal(at_last(started(42)))
    journal.close()
    os.utime(tmp_path / "a", (2e9, 2e9))  # the times of files say nothing: they are copied and restored
    assert [run.name for run in run_list.all_runs(tmp_path)] == ["b", "c", "a", "new"]
    assert of(tmp_path, new.name).updated == 86_400
    assert run_list.all_runs(tmp_path / "none") == []
    (tmp_path / "file").write_text("")
    assert run_list.all_runs(tmp_path / "file") == []


def test_what_is_no_run_is_not_listed(tmp_path: Path) -> None:
    make(tmp_path, "run", started())
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "detect").mkdir()
    (tmp_path / "detect" / "weights.pt").write_text("of another program")
    (tmp_path / "detect" / "config.yaml").write_text("a: 1")
    (tmp_path / ".deleted-1").mkdir()
    (tmp_path / ".deleted-1" / "run.json").write_text('{"format": 1}')
    making = RunFolder.create("making", "gpt2", tmp_path)
    assert [run.name for run in run_list.all_runs(tmp_path)] == ["run"]
    assert making.owner()


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("run.json", None, "No such file"),
        ("run.json", "{", "run.json"),
        ("run.json", "[]", "was not written by ftk"),
        ("run.json", '{"format": 99}', "later version"),
        ("run.json", "[" * 100_000, "run.json"),
        ("run.json", " " * 5_000_000, "too large"),
        ("run.json", "\x00\ud800", "run.json"),
        ("events.jsonl", None, "events.jsonl is no file"),
    ],
)
def test_a_damaged_run_is_listed_with_the_reason(tmp_path: Path, file: str, content: str | None, reason: str) -> None:
    run = make(tmp_path, "bad", started(), STOPPED)
    make(tmp_path, "good", started(), STOPPED)
    path = run.path / file
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
    elif file == "events.jsonl":
        path.mkdir()
    found = of(tmp_path, "bad")
    assert found.state == "damaged"
    assert reason in found.reason
    assert of(tmp_path, "good").state == "stopped"
    found_run = run_list.newest_interrupted(tmp_path)
    assert found_run
    assert found_run.name == "good"


def test_hostile_values_in_run_json_are_no_error(tmp_path: Path) -> None:
    for number, values in enumerate(
        [{"model": 3, "data": {"name": []}}, {"created": "9999-12-31T23:59:59+0000"}, {"created": {}},
         {"model": {"name": "\x1b[31m"}, "created": "0001-01-01T00:00:00-2300"}]
    ):  # fmt: skip
        run = make(tmp_path, f"r{number}")
        run.provenance_file.write_text(json.dumps({"format": 1, **values}))
        found = of(tmp_path, run.name)
        assert found.state == "new"
        assert found.started is None


def test_the_newest_interrupted_run_is_one_that_can_be_gone_on_with(tmp_path: Path) -> None:
    assert run_list.newest_interrupted(tmp_path) is None
    make(tmp_path, "new")
    make(tmp_path, "interrupted", started(), step(1))
    make(tmp_path, "stopped", started(), STOPPED)
    make(tmp_path, "failed", started(), FAILED)
    make(tmp_path, "python", started(), STOPPED, data=runs.IN_MEMORY)
    make(tmp_path, "finished", started(), finished())
    no_settings = make(tmp_path, "no-settings", started(), STOPPED)
    no_settings.config_file.unlink()
    running = make(tmp_path, "running", started())
    with running.locked():
        for name in ("failed", "stopped", "interrupted", "new"):
            found = run_list.newest_interrupted(tmp_path)
            assert found
            assert found.name == name
            shutil.rmtree(found.path)
        assert run_list.newest_interrupted(tmp_path) is None
    assert runs.IN_MEMORY == api.IN_MEMORY


def test_the_newest_running_run_has_a_living_owner(tmp_path: Path) -> None:
    old, new = make(tmp_path, "old", started()), make(tmp_path, "new", started(), events.Paused(step=0))
    assert run_list.newest_running(tmp_path) is None
    with old.locked():
        found = run_list.newest_running(tmp_path)
        assert found
        assert found.name == "old"
        with new.locked():
            found = run_list.newest_running(tmp_path)
            assert found
            assert found.name == "new"


def test_two_hundred_runs_are_listed(tmp_path: Path) -> None:
    for number in range(200):
        make(tmp_path, f"run-{number:03d}", started(), evaluation(0, 3.0), *map(step, range(1, 20)), STOPPED)
    found = run_list.all_runs(tmp_path)
    assert [run.name for run in found] == [f"run-{number:03d}" for number in reversed(range(200))]
    assert {(run.state, run.step, run.loss_before) for run in found} == {("stopped", 42, 3.0)}


def test_a_run_gets_another_name(tmp_path: Path) -> None:
    run = make(tmp_path, "old", started(), STOPPED)
    settings_before = recipes.load(str(run.config_file)).config
    renamed = run_edit.rename(run, "new")
    assert renamed.path == tmp_path / "new"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert renamed.owner() is None
    assert renamed.state() == "stopped"
    assert recipes.load(str(renamed.config_file)).config == settings_before
    assert renamed.config_file.read_text().splitlines()[:3] == [
        "# new: the settings of this run", "#", f"# ftk --preset {renamed.config_file}",
    ]  # fmt: skip
    assert str(run.path) not in renamed.config_file.read_text()


def test_a_name_that_is_taken_or_none_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    run = make(tmp_path, "old", started())
    make(tmp_path, "taken", started())
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("taken", "empty", "link", "old"):
        with pytest.raises(UsageError, match="exists; nothing was changed"):
            run_edit.rename(run, name)
    for name in ("", "..", "a/b", ".hidden", "a b", "\x00", "x" * 65):
        with pytest.raises(UsageError, match="cannot name a run"):
            run_edit.rename(run, name)
    with run.locked(), pytest.raises(RunError, match="being written by process"):
        run_edit.rename(RunFolder(run.path), "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "link", "old", "taken"]
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_deleted_run_is_gone_with_all_it_held(tmp_path: Path) -> None:
    run, other = make(tmp_path / "runs", "a", started()), make(tmp_path / "runs", "b", started())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    (run.path / "checkpoints").symlink_to(outside)
    (run.path / "notes").mkdir()
    (run.path / "notes" / "link").symlink_to(outside / "kept")
    left = tmp_path / "runs" / ".deleted-0123"  # of a process that was killed while it deleted
    left.mkdir()
    (left / "run.json").write_text("{}")
    run_edit.delete(run)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [other.name]
    assert (outside / "kept").read_text() == "x"


def test_a_run_that_somebody_writes_is_not_deleted(tmp_path: Path) -> None:
    run = make(tmp_path, "a", started())
    with run.locked():
        for refuse in (run_edit.check_deletable, run_edit.delete):
            with pytest.raises(RunError, match="being written by process"):
                refuse(RunFolder(run.path))
    run_edit.check_deletable(run)
    assert run.state() == "interrupted"
    run_edit.delete(run)
    assert list(tmp_path.iterdir()) == []


def test_a_run_can_be_deleted_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path, "a", started())

    def no_space(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomic", no_space)
    run_edit.delete(run)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_is_not_deleted(tmp_path: Path) -> None:
    run = make(tmp_path, "real", started())
    (tmp_path / "link").symlink_to(run.path)
    for name, content in (("empty", None), ("foreign", "weights.pt"), ("strange", "config.yaml")):
        (tmp_path / name).mkdir()
        if content:
            (tmp_path / name / content).write_text("x")
    (tmp_path / "strange" / "thesis.tex").write_text("years of work")
    (tmp_path / "strange" / "run.json").write_text('{"by": "another program"}')
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    for name in ("empty", "foreign", "strange", "link"):
        with pytest.raises(RunError, match="was not deleted"):
            run_edit.delete(RunFolder(tmp_path / name))
    with pytest.raises(RunError, match="was not renamed"):
        run_edit.rename(RunFolder(tmp_path / "link"), "other")
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_a_damaged_run_and_what_was_left_of_one_can_be_deleted(tmp_path: Path) -> None:
    torn = make(tmp_path, "torn", started())
    torn.provenance_file.write_text('{"form')
    left = make(tmp_path, "left", started())
    left.provenance_file.unlink()
    for name in ("torn", "left"):
        run_edit.delete(run_edit.find(name, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_found_by_its_name_or_a_path_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = tmp_path / "runs"
    run = make(parent, "my-first-run")
    make(tmp_path / "elsewhere", "other")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alias").symlink_to(parent)
    for name in ("my-first-run", str(run.path), "runs/my-first-run", "runs/my-first-run/", "alias/my-first-run"):
        assert run_edit.find(name, parent).path == run.path
    (parent / "an odd name\x1b").mkdir()
    assert run_edit.find("an odd name\x1b", parent).path.is_dir()
    with pytest.raises(RunError, match="Did you mean 'my-first-run'"):
        run_edit.find("my-frist-run", parent)
    for name in ("elsewhere/other", str(tmp_path / "elsewhere" / "other"), "runs/..", "..", ".", "", "/", "runs"):
        with pytest.raises(RunError, match="There is no run"):
            run_edit.find(name, parent)


NASTY = ["..", ".", "", "/", "~", "../outside", "../outside/run", "runs/../outside/run", "link", "link/run", "a/../a",
         "a/", "./a", "a\x00", "a\n", "a b", "-rf", "*", "$(touch x)", ".deleted-1", "A" * 300, "run.json",
         "a/checkpoints", "\ud800", "\u202ea"]  # fmt: skip
NAMES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(NASTY),
    st.lists(st.sampled_from([*NASTY, "a", "outside", "run", "runs"]), max_size=4).map("/".join),
)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(NAMES, NAMES)
def test_no_name_reaches_a_file_outside_the_folder_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    place = tmp_path / "place"
    shutil.rmtree(place, ignore_errors=True)
    parent = place / "runs"
    (place / "outside" / "run").mkdir(parents=True)
    for name in ("run.json", "config.yaml"):
        (place / "outside" / "run" / name).write_text('{"format": 1}')
    (parent / "a").mkdir(parents=True)
    (parent / "a" / "run.json").write_text('{"format": 1}')
    (parent / "link").symlink_to(place / "outside" / "run")
    monkeypatch.chdir(place)
    for name in (one, str(place / one.replace("\x00", ""))):
        for do in (lambda run: run_edit.rename(run, other), run_edit.delete):
            try:
                do(run_edit.find(name, parent))
            except FtkError:
                continue
    assert sorted(str(path.relative_to(place)) for path in place.rglob("*") if parent not in path.parents) == [
        "outside", "outside/run", "outside/run/config.yaml", "outside/run/run.json", "runs",
    ]  # fmt: skip
    assert (place / "outside" / "run" / "run.json").read_text() == '{"format": 1}'
    inside = {path.name for path in parent.iterdir()}
    assert inside <= {"a", "link", other}
    assert len(inside) <= 2


def test_the_lock_of_a_renamed_run_moves_with_it(tmp_path: Path) -> None:
    run = make(tmp_path, "old", started())
    with run.locked() as lock:
        run.path.rename(tmp_path / "new")
        lock.folder = tmp_path / "new"
        with pytest.raises(RunError, match="being written"), RunFolder(tmp_path / "new").locked():
            pass
    assert run_lock.read_owner(tmp_path / "new") is None
