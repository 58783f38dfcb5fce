"""`ftk attach`: a run of another process on a terminal, in a pipe and as JSON; keys; requests; every way to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftk import requests
from ftk.events import Answered, CheckpointSaved, Failed, Finished, Paused, Proceeded, Started, Step, Stopped
from ftk.runs import Journal, RunFolder
from ftk.training.control import Control
from ftk_tui.attach_command import Tail
from ftk_tui.cli import main
from ftk_tui.displays import Course
from tests.pseudo_terminal import HANG, PseudoTerminal, until

ATTACH = [sys.executable, "-m", "ftk_tui", "attach"]


def step(number: int, total: int = 50) -> Step:
    return Step(
        step=number, total_steps=total, epoch=0.1, loss=5.0 - number / 100, learning_rate=1e-3, grad_norm=1.0,
        tokens=9 * number, supervised_tokens=5 * number, tokens_per_s=100.0, eta_s=1.0, elapsed_s=1.0,
        memory_bytes=2**30,
    )  # fmt: skip


class Written:
    """A run whose events the test writes."""

    def __init__(self, name: str = "mine") -> None:
        self.run = RunFolder.create(name, "gpt2")
        self.run.write_provenance({})
        self.write = Journal(self.run)
        self.control = Control()

    def begin(self, resumed_from: int = 0) -> None:
        folder = str(self.run.path)
        started = Started(run=self.run.name, folder=folder, model="gpt2", data="x.jsonl", version="0")
        self.write(started if not resumed_from else Started(**{**vars(started), "resumed_from": resumed_from}))

    def finished(self) -> Finished:
        return Finished(
            step=50, adapter=str(self.run.adapter), loss_before=5.0, loss_after=4.0, train_loss=4.1, seconds=9.0,
            training_s=5.0, tokens=99, peak_memory_bytes=2**30,
        )  # fmt: skip

    def stopped(self) -> Stopped:
        return Stopped(step=7, reason="on request", checkpoint=str(self.run.checkpoints / "step-000007"))


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def owned(written: Written) -> Iterator[Written]:
    """A run that this process carries out, in so far as it takes requests."""
    with written.run.locked(), requests.listening(written.run, written.control):
        written.begin()
        yield written


def test_a_finished_run_is_shown_with_its_summary(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    written.begin()
    for number in range(1, 51):
        written.write(step(number))
    written.write(Answered(prompt="[bold]Why?\x1b[31m", base="no", tuned="yes"))
    written.write(written.finished())
    assert main(["attach", "mine"]) == 0
    out = capsys.readouterr().out
    assert "step 50/50  loss 4.5" in out
    assert "> [bold]Why?\\x1b[31m" in out
    assert "Held-out loss  5.0000 before, 4.0000 after" in out


def test_every_ending_has_its_words_and_its_exit_code(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attach", "mine"]) == 75
    assert "has not begun" in capsys.readouterr().err
    written.begin()
    written.write(step(7))
    assert main(["attach", "mine"]) == 75
    err = capsys.readouterr().err
    assert "was interrupted" in err
    assert "ftk resume mine" in err
    written.write(written.stopped())
    assert main(["attach", "mine"]) == 75
    out = capsys.readouterr().out
    assert "Stopped at step 7: on request." in out
    assert "ftk resume mine" in out
    written.begin(resumed_from=7)
    written.write(Failed(step=7, error="TrainingError", message="It broke [/x].", hint="Mend it."))
    assert main(["attach", "mine"]) == 1
    captured = capsys.readouterr()
    assert "It broke [/x]." in captured.err
    assert "Mend it." in captured.err
    assert "on from step 7" in captured.out
    assert "Stopped at" not in captured.out  # that was before it was resumed


def test_json_is_the_journal(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    written.begin()
    written.write(step(1))
    written.write(written.finished())
    assert main(["attach", "mine", "--json"]) == 0
    assert capsys.readouterr().out == written.run.journal_file.read_text()


def test_a_run_that_was_renamed_or_moved_leads_to_where_it_is_now(
    written: Written, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    written.begin()
    written.write(CheckpointSaved(step=7, path=str(written.run.checkpoints / "step-000007"), bytes=1, seconds=0.1))
    written.write(written.stopped())
    written.run.path.rename(written.run.path.with_name("other"))
    assert main(["attach", "other"]) == 75
    out = capsys.readouterr().out
    assert "mine" not in out
    assert "ftk resume other" in out
    moved = tmp_path / "elsewhere" / "third"
    moved.parent.mkdir()
    written.run.path.with_name("other").rename(moved)
    assert main(["attach", str(moved)]) == 75
    assert f"ftk resume {moved}" in capsys.readouterr().out


def test_nothing_heavy_is_imported(written: Written) -> None:
    written.begin()
    written.write(written.finished())
    code = (
        "import sys, ftk_tui.cli as c\n"
        "assert c.main(['attach', 'mine']) == 0\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'numpy', 'textual'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_newest_running_run_is_taken_by_default(owned: Written, capsys: pytest.CaptureFixture[str]) -> None:
    Written("another").begin()
    assert main(["attach", "--send", "save"]) == 0
    assert "mine was asked to save" in capsys.readouterr().out
    until(owned.control.take_save)


def test_without_a_running_run_it_says_so(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attach"]) == 1
    assert "No run is going on in" in capsys.readouterr().err
    assert main(["attach", "mine", "--send", "stop"]) == 1
    assert "No process is running 'mine'" in capsys.readouterr().err
    assert main(["attach", "mine", "--send", "stopp"]) == 2
    assert "Did you mean 'stop'?" in capsys.readouterr().err


def test_scripts_can_ask_for_everything(owned: Written, capsys: pytest.CaptureFixture[str]) -> None:
    control = owned.control
    for word, done in (
        ("pause", lambda: control.paused),
        ("proceed", lambda: not control.paused),
        ("save", control.take_save),
        ("abort", lambda: control.stopping and not control.saves),
    ):
        assert main(["attach", "mine", "--send", word, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"run": "mine", "sent": word}
        until(done)


def test_lines_come_as_they_are_written_and_torn_ones_when_they_are_whole(owned: Written) -> None:
    with subprocess.Popen([*ATTACH, "mine", "--json"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["event"] == "started"
        for number in range(1, 4):
            owned.write(step(number))
            assert json.loads(process.stdout.readline())["step"] == number
        line = step(4).to_json()
        with owned.run.journal_file.open("a") as file:
            file.write(line[:50])
            file.flush()
            time.sleep(0.6)  # long enough to be looked at
            file.write(line[50:] + "\n")
        assert process.stdout.readline() == line + "\n"
        owned.write(owned.finished())
        assert json.loads(process.stdout.readline())["event"] == "finished"
        assert process.wait(HANG) == 0


def test_a_run_on_another_host_is_followed_without_asking_for_its_process(written: Written) -> None:
    (written.run.path / "owner.json").write_text(json.dumps({"pid": 1, "host": "another-host", "started": 0.0}))
    written.begin()
    with subprocess.Popen([*ATTACH, "mine", "--json"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["event"] == "started"
        time.sleep(2.5)  # several times as long as it takes to ask
        assert process.poll() is None
        written.write(written.stopped())
        assert json.loads(process.stdout.readline())["event"] == "stopped"
        assert process.wait(HANG) == 75


def test_a_process_that_is_killed_is_noticed(written: Written) -> None:
    written.begin()
    code = (
        "import sys, time; from pathlib import Path; from ftk.runs import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('mine', flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(written.run.path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    owner.stdout.readline()
    process = subprocess.Popen([*ATTACH, "mine"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert "Run mine" in process.stdout.readline()
    owner.kill()
    owner.communicate()
    _, err = process.communicate(timeout=HANG)
    assert process.returncode == 75
    assert "was interrupted: its process is gone" in err
    assert "ftk resume mine" in err


def test_keys_pause_save_and_stop_and_the_terminal_is_as_before(owned: Written) -> None:
    control = owned.control
    with PseudoTerminal(["attach", "mine"]) as terminal:
        before = terminal.modes
        until(lambda: "q leave it alone" in terminal.output)
        until(lambda: terminal.modes != before)  # keys without Enter
        owned.write(step(3))
        until(lambda: "step 3/50" in terminal.output)
        terminal.press("p")
        until(lambda: control.paused)
        owned.write(Paused(step=3))
        until(lambda: "Paused after step 3" in terminal.output)
        terminal.press("\x1b[A")  # an arrow is no key of ours, nor are its letters
        terminal.press("p")
        until(lambda: not control.paused)
        owned.write(Proceeded(step=3))
        terminal.press("s")
        until(control.take_save)
        terminal.press("?")
        until(lambda: "Ctrl-C leave it alone" in terminal.output)
        terminal.press("x")
        until(lambda: "Save and stop mine? y/N" in terminal.output)
        terminal.press("n")
        terminal.press("s")  # taken after the n: so the n is done
        until(control.take_save)
        assert not control.stopping
        terminal.press("xy")
        until(lambda: control.stopping)
        assert control.saves
        owned.write(owned.stopped())
        assert terminal.wait() == 75
        assert terminal.modes == before
        until(lambda: "Go on with:  ftk resume mine" in terminal.output)
        assert terminal.output.rindex("\x1b[?25h") > terminal.output.rindex("\x1b[?25l")  # the cursor is back


@pytest.mark.parametrize(("way", "code"), [("q", 0), ("\x03", 0), ("\x04", 0), (signal.SIGTERM, 143)])
def test_leaving_leaves_the_run_and_the_terminal_alone(owned: Written, way: str | int, code: int) -> None:
    with PseudoTerminal(["attach"]) as terminal:
        before = terminal.modes
        until(lambda: terminal.modes != before and "leave it alone" in terminal.output)
        if isinstance(way, str):
            terminal.press(way)
        else:
            os.kill(terminal.pid, way)
        assert terminal.wait() == code
        assert terminal.modes == before
        assert ("goes on without you" in terminal.output) == (code == 0)
        assert "Traceback" not in terminal.output
    assert not owned.control.stopping
    assert not owned.control.paused


def test_a_line_that_is_cut_ends_only_the_watching(owned: Written) -> None:
    with PseudoTerminal(["attach", "mine"]) as terminal:
        until(lambda: "leave it alone" in terminal.output)
        terminal.hang_up()
        assert terminal.wait() in (1, 128 + signal.SIGHUP)  # whichever comes first: a write that fails, or the signal
    assert not owned.control.stopping


def test_a_terminal_in_the_background_is_only_written_to(owned: Written) -> None:
    """A shell's `ftk attach &`: setting modes or reading from there would stop the process."""
    script = f"set -m; {sys.executable} -m ftk_tui attach mine & wait $!; echo code $?"
    with PseudoTerminal(["-c", script], command=["/bin/bash"]) as terminal:
        until(lambda: "Run mine" in terminal.output)
        owned.write(step(3))
        until(lambda: "step 3/50" in terminal.output)
        owned.write(owned.finished())
        assert terminal.wait() == 0
        until(lambda: "code 0" in terminal.output)


def test_a_tail_reads_on_where_it_was(written: Written) -> None:
    tail = Tail(written.run.path / "missing")
    assert list(tail.new()) == []
    tail = Tail(written.run.journal_file)
    assert list(tail.new()) == []
    written.write(step(1))
    assert list(tail.new()) == list(written.run.events())
    assert list(tail.new()) == []
    with written.run.journal_file.open("a") as file:
        file.write("no event\n{\n" + step(2).to_json())
    assert list(tail.new()) == []
    with written.run.journal_file.open("a") as file:
        file.write("\n")
    assert [event.step for event in tail.new() if isinstance(event, Step)] == [2]


def test_the_course_of_a_long_run_stays_short_and_true() -> None:
    course = Course()
    for number in range(100_000):
        course.add(float(number))
    course.add(float("nan"))
    assert 256 <= len(course.means) <= 512
    assert course.means == sorted(course.means)
    each = (course.means[1] - course.means[0]) or 1
    assert course.means[0] == (each - 1) / 2  # the mean of as many as all the others hold
    length = len(course.means)
    course.keep(0.5)
    assert len(course.means) == round(length / 2)
    course.add(-1.0)
    assert course.means[-1] == -1.0
    course.keep(2.0)
    assert course.means[-1] == -1.0
