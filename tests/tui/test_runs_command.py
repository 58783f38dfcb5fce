"""`ftk runs`: what it prints, what it asks, what it refuses and how."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ftk import events
from ftk.runs import Journal, RunFolder
from ftk_tui import cli, runs_report
from tests.run_folders import FAILED, STOPPED, evaluation, finished, make, started, step

LONG = "a-name-as-long-as-a-name-may-be-" * 2


@pytest.fixture
def parent(home: Path) -> Path:
    """The folder of the runs, not made yet."""
    return home / "ftk_runs"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["runs", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def on_terminal(arguments: Sequence[str], typed: bytes) -> tuple[int, str]:
    """Run `ftk runs` on a terminal of its own where something is typed; returns exit code and what was shown."""
    leader, follower = pty.openpty()
    program = [sys.executable, "-m", "ftk_tui", "runs", *arguments]
    with subprocess.Popen(program, stdin=follower, stdout=follower, stderr=follower) as process:
        os.close(follower)
        os.write(leader, typed)
        shown = b""
        try:
            while part := os.read(leader, 10_000):
                shown += part
        except OSError:  # what reading gives when the program has ended
            pass
    os.close(leader)
    return process.returncode, shown.decode()


def test_where_nothing_is_it_says_how_to_begin(capsys: pytest.CaptureFixture[str], parent: Path) -> None:
    code, out, _ = run(capsys)
    assert code == 0
    assert f"No runs in {parent} yet. Begin with: ftk --preset smollm2" in out
    assert run(capsys, "--json")[:2] == (0, "")
    assert not parent.exists()


def test_the_list_tells_every_run_and_fits_eighty_columns(
    capsys: pytest.CaptureFixture[str], parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(parent, "first", started(), evaluation(0, 3.0), step(1), evaluation(20, 2.0), step(21))
    make(parent, "second", started(), step(3, 1.25))
    make(parent, LONG, started(), evaluation(0, 12.3456), step(100), evaluation(100, 11.9876), finished())
    make(parent, "new")
    make(parent, "broken").provenance_file.write_text("{")
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert run(capsys)[1] == out
    lines = out.splitlines()
    assert max(map(len, lines[:-4])) <= 80
    assert lines[0].split() == ["name", "state", "step", "loss", "age", "size"]
    (first,) = [line for line in lines if line.startswith("first ")]
    assert "interrupted" in first
    assert "21/100" in first
    assert "3.000 → 2.000" in first
    assert first.rstrip().endswith("KiB")
    (second,) = [line for line in lines if line.startswith("second ")]
    assert "train 1.250" in second
    places = [number for number, line in enumerate(lines) if line.startswith("a-name")]
    assert "".join(line.split()[0] for line in lines[places[0] :] if line and line[0] in "a-n")[:64] == LONG
    assert "100/100" in lines[places[0]]
    assert f"broken: {parent / 'broken' / 'run.json'}" in out
    monkeypatch.setenv("COLUMNS", "50")
    assert max(map(len, run(capsys)[1].splitlines()[:8])) <= 50


def test_the_list_as_json_is_one_run_a_line(capsys: pytest.CaptureFixture[str], parent: Path) -> None:
    make(parent, "a", started(), step(3, float("nan")))
    make(parent, "b", started(), FAILED)
    code, out, err = run(capsys, "--json")
    assert (code, err) == (0, "")
    second, first = map(json.loads, out.splitlines())
    assert (second["name"], second["state"], second["reason"]) == ("b", "failed", "no memory")
    assert (first["name"], first["step"], first["loss"], first["model"]) == ("a", 3, None, "gpt2")
    assert first["path"] == str(parent / "a")


def test_a_run_is_shown_in_full(capsys: pytest.CaptureFixture[str], parent: Path) -> None:
    made = make(parent, "a", started(), evaluation(0, 3.0), step(1, 2.9), step(2, 2.5), evaluation(2, 2.0), STOPPED)
    made.provenance_file.write_text(
        json.dumps(made.provenance() | {"reasons": {"learning_rate": "a small model bears much"}})
    )
    (made.checkpoints / "step-000042").mkdir(parents=True)
    (made.checkpoints / "step-000042" / "weights").write_bytes(b"x" * 3_000_000)
    (made.checkpoints / ".step-000043.staging-1-a").mkdir()
    code, out, _ = run(capsys, "show", "a")
    assert code == 0
    for part in (
        "stopped: Ctrl-C", "gpt2", "rows.jsonl", "42 of 100", "held out 3.0000 before, 2.0000 after; training 2.5000",
        "█▁", "trained 0:01", "step-000042 (2.9 MiB)", "none yet", "learning_rate", "0.001", "a small model bears much",
        f"{Path('ftk_runs/a')}, 2.9 MiB", "Next         ftk resume a",
    ):  # fmt: skip
        assert part in out
    assert "staging" not in out
    assert "batch_size" not in out  # as by default
    code, out, _ = run(capsys, "show", "a", "--json")
    told = json.loads(out)
    assert told["settings"] == {"model": "gpt2", "data": "rows.jsonl", "learning_rate": 0.001}
    assert told["checkpoints"] == [str(made.checkpoints / "step-000042")]
    assert (told["state"], told["result"], told["next"]) == ("stopped", None, "ftk resume a")


def test_what_is_next_depends_on_the_state(capsys: pytest.CaptureFixture[str], parent: Path) -> None:
    done = make(parent, "done", started(), finished())
    done.adapter.mkdir()
    broken = make(parent, "broken", started())
    broken.provenance_file.write_text("{")
    failed = make(parent, "failed", started(), FAILED)
    held = make(parent, "held", started(), events.Paused(step=3))
    for name, parts in {
        "done": [f"Result       {Path('ftk_runs/done/adapter')}", "ftk --preset ftk_runs/done/config.yaml --data YOUR"],
        "broken": ["damaged: ", "run.json", "Next         ftk runs delete broken"],
        failed.name: ["failed: no memory", "Next         ftk resume failed"],
    }.items():
        code, out, _ = run(capsys, "show", name)
        assert code == 0
        for part in parts:
            assert part in out
    with held.locked():
        journal = Journal(held)
        journal(events.Paused(step=3))
        journal.close()
        out = run(capsys, "show", "held")[1]
    assert "State        paused" in out
    assert "Next         ftk attach held" in out


def test_settings_that_cannot_be_read_are_no_error(capsys: pytest.CaptureFixture[str], parent: Path) -> None:
    for number, text in enumerate([b"model: [", b"modell: gpt2", b"\xff\xfe", b"a: &x 1\nb: *x", None]):
        made = make(parent, f"r{number}", started())
        made.config_file.unlink()
        if text is not None:
            made.config_file.write_bytes(text)
        code, out, err = run(capsys, "show", made.name)
        assert (code, err) == (0, "")
        assert "Settings     " in out


def test_hostile_names_and_texts_are_shown_and_not_sent(capsys: pytest.CaptureFixture[str], parent: Path) -> None:
    name = "a[bold]\x1b[31m\nb\u202e"
    made = make(parent, "ok", started(), events.Failed(step=1, error="E", message="\x1b]0;x\x07[red]\nmore"))
    made.path.rename(parent / name)
    for arguments in (["list"], ["show", name], ["delete", "--yes", name]):
        code, out, err = run(capsys, *arguments)
        assert (code, err) == (0, "")
        assert not {"\x1b", "\x07", "\u202e"} & set(out)
        flat = out.replace("\n", "").replace(" ", "")
        assert r"a[bold]\x1b[31m\nb\u202e" in flat
    assert list(parent.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["shwo", "a"], ["'shwo' is not one of", "Did you mean 'show'?"]),
        (["show"], ["`ftk runs show` takes RUN, and got none"]),
        (["show", "a", "b"], ["takes RUN, and got 2"]),
        (["rename", "a"], ["takes RUN NEW, and got 1"]),
        (["delete"], ["takes RUN ..., and got none"]),
        (["list", "a"], ["takes no name"]),
        (["rename", "my-first-run", "a/b"], ["'a/b' cannot name a run"]),
        (["rename", "my-first-run", "other"], ["other exists; nothing was changed"]),
        (["delete", "my-first-run"], ["there is no terminal to ask on", "--yes deletes unasked"]),
        (["delete", "my-first-run", "--force"], ["Unknown argument '--force'"]),
    ],
)
def test_wrong_usage_is_answered_with_what_to_do(
    capsys: pytest.CaptureFixture[str], parent: Path, arguments: list[str], told: list[str]
) -> None:
    make(parent, "my-first-run", started())
    make(parent, "other", started())
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    for part in told:
        assert part in err
    assert sorted(path.name for path in parent.iterdir()) == ["my-first-run", "other"]


@pytest.mark.parametrize("action", ["show", "delete", "open", "rename"])
def test_an_unknown_run_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str], parent: Path, action: str
) -> None:
    make(parent, "my-first-run", started())
    more = {"rename": ["new"], "delete": ["--yes"]}.get(action, [])
    code, out, err = run(capsys, action, "my-frist-run", *more)
    assert (code, out) == (1, "")
    assert "Did you mean 'my-first-run'?" in err
    assert "`ftk runs` lists the runs" in err


def test_a_run_is_renamed(capsys: pytest.CaptureFixture[str], parent: Path) -> None:
    make(parent, "old", started())
    assert run(capsys, "rename", "old", "new")[:2] == (0, "old is now new.\n")
    assert run(capsys, "rename", "new", "newer", "--json")[1] == json.dumps(
        {"renamed": "new", "name": "newer", "path": str(parent / "newer")}
    ) + "\n"  # fmt: skip
    assert RunFolder.open("newer").state() == "interrupted"


def test_runs_that_are_being_written_are_neither_renamed_nor_deleted(
    capsys: pytest.CaptureFixture[str], parent: Path
) -> None:
    held, free = make(parent, "held", started()), make(parent, "free", started())
    with held.locked():
        for arguments in (["rename", "held", "new"], ["delete", "free", "held", "--yes"]):
            code, out, err = run(capsys, *arguments)
            assert (code, out) == (1, "")
            assert f"'held' is being written by process {os.getpid()}" in err
            assert "`ftk attach held`" in err
    assert held.path.is_dir()
    assert free.path.is_dir()  # of several, all or none are begun with


def test_scripts_delete_without_being_asked(capsys: pytest.CaptureFixture[str], parent: Path) -> None:
    for name in ("a", "b", "c"):
        make(parent, name, started())
    assert run(capsys, "delete", "a", "--yes", "b", "a")[:2] == (0, "Deleted a.\nDeleted b.\n")
    assert run(capsys, "delete", "--yes", "--json", "c")[1] == '{"deleted": "c"}\n'
    assert list(parent.iterdir()) == []


def test_deleting_says_what_is_lost_and_asks(parent: Path) -> None:
    made = make(parent, "a", started(), step(9), STOPPED)
    made.adapter.mkdir()
    (made.checkpoints / "step-000042").mkdir(parents=True)
    (made.checkpoints / "step-000042" / "weights").write_bytes(b"x" * 3_000_000)
    for answer in (b"n\n", b"\n", b"\x04", b"yikes\n"):
        code, shown = on_terminal(["delete", "a"], answer)
        assert code == 0
        assert "a: stopped, step 42 of 100, the trained adapter, 1 checkpoint; 2.9 MiB" in shown
        assert "Delete it for good? [y/N]" in shown
        assert "Nothing was deleted." in shown
        assert made.path.is_dir()
    make(parent, "b", started())
    code, shown = on_terminal(["delete", "a", "b"], b"y\n")
    assert code == 0
    assert "Delete these 2 runs (2.9 MiB) for good? [y/N]" in shown
    assert "Deleted a." in shown
    assert "Deleted b." in shown
    assert list(parent.iterdir()) == []


def test_open_prints_the_folder_and_opens_it_on_a_desktop(
    capsys: pytest.CaptureFixture[str], parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    made = make(parent, "a", started())
    opener = tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$#" "$@" > {tmp_path / "part"}; mv {tmp_path / "part"} {tmp_path / "told"}\n'
    )
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", str(opener.parent), prepend=os.pathsep)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert run(capsys, "open", "a")[:2] == (0, f"{made.path}\n")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert run(capsys, "open", "a", "--json")[1] == json.dumps({"path": str(made.path)}) + "\n"
    odd = parent / "$(touch x) ; y"
    made.path.rename(odd)
    assert run(capsys, "open", odd.name)[:2] == (0, f"{odd}\n")
    while not (tmp_path / "told").exists():  # the test's own limit of time ends it
        time.sleep(0.01)
    assert (tmp_path / "told").read_text() == f"1\n{odd}\n"
    assert not (tmp_path / "x").exists()
    monkeypatch.setenv("PATH", "")
    assert run(capsys, "open", odd.name)[:2] == (0, f"{odd}\n")


def test_show_and_open_take_the_folder_of_a_run_that_lies_elsewhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(tmp_path / "elsewhere", "a", started())
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert run(capsys, "open", "elsewhere/a")[1] == f"{made.path}\n"
    assert "State        interrupted" in run(capsys, "show", "elsewhere/a")[1]
    code, _, err = run(capsys, "delete", "elsewhere/a", "--yes")
    assert code == 1
    assert "There is no run 'elsewhere/a'" in err
    assert made.path.is_dir()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (150_000, "146 KiB"), (3 * 2**20, "3.0 MiB"),
     (2.5 * 2**30, "2.5 GiB"), (5 * 2**40, "5.0 TiB")],
)  # fmt: skip
def test_sizes_are_said_in_a_unit_that_suits(number: float, text: str) -> None:
    assert runs_report.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (86_400, "1d")]
)
def test_ages_are_said_in_a_unit_that_suits(seconds: float, text: str) -> None:
    assert runs_report.age(seconds) == text


def test_looking_at_runs_loads_no_torch() -> None:
    code = (
        "import sys; from ftk_tui.cli import main; main(['runs']);"
        "print([name for name in ('torch', 'peft') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.endswith("[]\n")
