"""Names of runs, presets, models and data sets, whatever they are: nothing outside of ftk's folders is touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ftk import dataspec, files, recipes, run_edit
from ftk.config import check_run_name
from ftk.data.dataset import load_dataset
from ftk.errors import DataError, FtkError, UsageError
from ftk.models import sources
from ftk.runs import RunFolder
from ftk_tui.cli import main

PARTS = st.sampled_from(
    ["..", ".", "", "a", "outside", "precious", "runs", "mine", "~", "~root", "$HOME", "$(touch x)", "`touch x`", ";ls",
     "-rf", "--", "%2e%2e", "\0", "\n", "\x1b[2J", "\u202e", "\\", "C:", "CON", "*", "[/foo]", "x" * 300, "ä", ".x",
     ".deleted-0", ".a.staging-1", "etc", "passwd", ":", "{name}", "%s", " "]
)  # fmt: skip
NAMES = st.one_of(
    st.text(max_size=80),
    st.lists(PARTS, min_size=1, max_size=5).map("/".join),
    st.lists(PARTS, min_size=1, max_size=3).map("".join),
    st.lists(PARTS, max_size=3).map(lambda parts: "/" + "/".join(parts)),
)
FOLDERS = ("runs", "config", "cache", "hub")
some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ftk's folders, something precious beside and above them, and a folder to be in."""
    for name in FOLDERS:
        (home / "in" / name).mkdir(parents=True)
    for name, key in (("runs", "FTK_RUNS"), ("config", "FTK_CONFIG"), ("cache", "FTK_CACHE"), ("hub", "HF_HOME")):
        monkeypatch.setenv(key, str(home / "in" / name))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "in" / "hub" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("precious", "in/precious", "in/outside/precious", "outside/precious"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text("x")
    RunFolder.create("mine", "m", home / "in" / "runs").write_provenance({})
    (home / "in" / "here").mkdir()
    monkeypatch.chdir(home / "in" / "here")
    return home


def outside(world: Path) -> list[tuple[str, int, int]]:
    """Everything but ftk's own folders, as it is."""
    found = []
    for path in sorted(world.rglob("*")):
        parts = path.relative_to(world).parts
        if not (parts[0] == "in" and len(parts) > 1 and parts[1] in FOLDERS):
            state = path.lstat()
            found.append((str(path), state.st_mtime_ns, state.st_size))
    return found


def inside(folder: str) -> set[str]:
    return {path.name for path in (Path(os.environ[folder])).iterdir()}


@some
@given(name=NAMES)
@example(name="../outside")
@example(name="/etc/passwd")
def test_a_run_is_made_in_the_folder_of_the_runs_or_not_at_all(world: Path, name: str) -> None:
    before, runs = outside(world), inside("FTK_RUNS")
    try:
        run = RunFolder.create(name, "m")
    except FtkError:
        assert inside("FTK_RUNS") == runs
    else:
        assert run.path.parent == files.runs_dir()
        assert inside("FTK_RUNS") == runs | {run.name}
        assert check_run_name(run.name) == run.name
        shutil.rmtree(run.path)
    assert outside(world) == before


@some
@given(model=NAMES)
def test_a_run_that_is_named_after_its_model_has_a_plain_name(world: Path, model: str) -> None:
    before = outside(world)
    run = RunFolder.create(None, model)
    assert run.path.parent == files.runs_dir()
    assert check_run_name(run.name) == run.name
    shutil.rmtree(run.path)
    assert outside(world) == before


@some
@given(name=NAMES, new=NAMES)
@example(name="mine", new="../outside/mine")
@example(name="mine", new="")
@example(name="../../outside", new="x")
@example(name=".", new="x")
@example(name="..", new="x")
@example(name="../" + "x" * 300, new="x")
def test_runs_are_found_renamed_and_deleted_only_in_their_folder(world: Path, name: str, new: str) -> None:
    before, runs = outside(world), inside("FTK_RUNS")
    with suppress(FtkError):
        run = run_edit.find(name)
        assert run.path.parent == files.runs_dir()
        renamed = run_edit.rename(run, new)
        assert renamed.path.parent == files.runs_dir()
        run_edit.rename(renamed, run.name)
    with suppress(FtkError):
        run_edit.rename(RunFolder.open("mine"), new)
        run_edit.rename(RunFolder.open(new), "mine")
    with suppress(FtkError):
        RunFolder.open(name)
    if name != "mine" and "mine" not in Path(name).parts:
        with suppress(FtkError):
            run_edit.delete(run_edit.find(name))
    assert inside("FTK_RUNS") == runs
    assert outside(world) == before


def test_a_run_that_is_a_link_takes_nothing_along(world: Path) -> None:
    link = files.runs_dir() / "link"
    link.symlink_to(world / "outside")
    before = outside(world)
    for action in (lambda run: run_edit.delete(run), lambda run: run_edit.rename(run, "other")):
        with pytest.raises(FtkError):
            action(run_edit.find("link"))
    with pytest.raises(UsageError):
        RunFolder.create("link", "m")
    assert link.is_symlink()
    assert outside(world) == before


@some
@given(name=NAMES)
@example(name="../precious")
@example(name="/etc/passwd")
@example(name="./precious.yaml")
def test_presets_are_looked_up_and_change_nothing(world: Path, name: str) -> None:
    before = outside(world)
    with suppress(FtkError):
        preset = recipes.load(name)
        assert preset.name in recipes.available()
    assert outside(world) == before
    assert inside("FTK_CONFIG") == set()


@some
@given(name=NAMES)
@example(name="../../precious")
@example(name="..")
@example(name="~root")
def test_models_are_looked_for_and_nothing_is_written(world: Path, name: str) -> None:
    before = outside(world)
    with suppress(FtkError):
        source = sources.locate(name)
        assert source.entry is not None  # of the catalogue; nothing else is here
    assert outside(world) == before


@some
@given(name=NAMES)
@example(name="../../in/precious")
@example(name="sample:../../x")
@example(name="a/b/../../..")
@example(name="~\0")
def test_data_sets_are_looked_for_and_nothing_is_written_elsewhere(world: Path, name: str) -> None:
    before = outside(world)
    if name.strip() == "-" or not _of(world, name):  # standard input; folders of this machine, with all their files
        return
    with suppress(FtkError):
        load_dataset(name)
    assert outside(world) == before


def _of(world: Path, name: str) -> bool:
    """Whether a name, taken for a path, lies in the folder of the test; what can be no path does too."""
    try:
        return dataspec.expanded(name).resolve().is_relative_to(world)
    except (OSError, ValueError, RuntimeError):
        return True


@pytest.mark.parametrize("name", ["..", "...", "a b", "$(touch x)", "-x", "ä" * 60, "x" * 200, "%s", "a\nb"])
def test_copies_in_the_cache_lie_in_the_cache(world: Path, name: str) -> None:
    from ftk.models import quantised

    folder = world / "in" / "here" / "m" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    assert quantised.place(folder, "nf4", "float32").parent == files.cache_dir() / "quantised"


@pytest.fixture
def hostile_words() -> Iterator[list[str]]:
    yield ["; touch ran", "$(touch ran)", "`touch ran`", "| touch ran", "\n touch ran", "&& touch ran", "-- touch ran"]


def test_no_word_of_a_command_reaches_a_shell(
    world: Path, hostile_words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    before = outside(world)
    for word in hostile_words:
        for arguments in (
            ["--model", word, "--dry-run"], ["--data", word, "--dry-run"], ["--name", word, "--dry-run"],
            ["--preset", word], ["presets", "show", word], ["models", word], ["resume", word], ["attach", word],
            ["runs", "show", word], ["runs", "delete", word, "--yes"], ["runs", "rename", "mine", word],
            ["runs", "open", word],
        ):  # fmt: skip
            main(arguments)
            capfd.readouterr()
    assert outside(world) == before
    assert inside("FTK_RUNS") == {"mine"}
    assert not list(world.rglob("ran"))


def test_a_saved_data_set_names_files_of_its_own_folder_alone(world: Path) -> None:
    (world / "in" / "here" / "rows.arrow").write_text("x")
    saved = world / "in" / "here" / "saved"
    saved.mkdir()
    (saved / "state.json").write_text('{"_data_files": [{"filename": "../rows.arrow"}]}')
    with pytest.raises(DataError, match="saved"):
        load_dataset(str(saved))


def test_a_whole_disk_is_no_data_set(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftk.data.gather._MANY_ENTRIES", 3)
    with pytest.raises(DataError, match="more than 3 files"):
        load_dataset(str(world))
