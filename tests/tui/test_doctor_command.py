"""`ftk doctor`: a line a finding, for people and for programs, with the driver that a machine has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftk import doctor, hardware
from ftk.doctor import Check, Finding
from ftk_tui import cli
from tests.nvml.builder import T4, StubDriver, cut, h100
from tests.pseudo_terminal import PseudoTerminal

ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@pytest.fixture
def stub(tmp_path: Path) -> StubDriver:
    return StubDriver(tmp_path)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces the checks."""

    def install(*findings: Finding, heavy: bool = False) -> None:
        def ask() -> Iterator[Finding]:
            yield from findings

        monkeypatch.setattr(doctor.examination, "CHECKS", made := (Check("made", ask, heavy=heavy),))
        monkeypatch.setattr(doctor, "CHECKS", made)

    return install


def told(stub: StubDriver, **variables: str) -> dict[str, list[dict[str, Any]]]:
    """What `ftk doctor --quick --json` says, by check."""
    done = stub.run("-m", "ftk_tui", "doctor", "--quick", "--json", **variables)
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == int(any(finding["level"] == "failure" for finding in findings)), done.stderr
    assert all(finding["level"] in ("ok", "warning", "failure") for finding in findings)
    assert all(finding["text"] for finding in findings)
    by_check: dict[str, list[dict[str, Any]]] = {}
    for finding in findings:
        by_check.setdefault(finding["check"], []).append(finding)
    assert list(by_check) == [check.name for check in doctor.CHECKS if not check.heavy]
    return by_check


def test_a_machine_without_a_card_is_well(stub: StubDriver) -> None:
    stub.tell("error|in=nvmlInitWithFlags|code=12")
    (gpu,) = told(stub)["gpu"]
    assert gpu["level"] in ("ok", "warning")  # a machine may have a card on its bus


def test_a_card_is_told_and_torchs_build_is_compared_with_it(stub: StubDriver) -> None:
    stub.tell(T4)
    found = told(stub)
    assert "cuda:0 Tesla T4" in found["gpu"][0]["text"]
    assert found["gpu"][0]["details"]["power"] == 30.5
    fits = hardware.torch_build().kind == "cuda"
    assert (found["cuda"][0]["level"] == "failure") == (not fits)


def test_eight_cards_are_eight_lines(stub: StubDriver) -> None:
    stub.tell(*(h100(number) for number in range(8)))
    assert [finding["details"]["device"] for finding in told(stub)["gpu"]] == [f"cuda:{n}" for n in range(8)]
    shown = told(stub, CUDA_VISIBLE_DEVICES="5,9")["gpu"]
    assert [finding["level"] for finding in shown] == ["ok", "warning"]
    assert shown[0]["details"]["slot"] == 5
    assert "'9'" in shown[1]["text"]


def test_a_slice_is_told_with_what_others_there_are(stub: StubDriver) -> None:
    stub.tell(*cut(0, 7))
    card, remark = told(stub)["gpu"]
    assert "MIG 1g.10gb" in card["text"]
    assert "of 7 that are visible" in remark["text"]


@pytest.mark.parametrize(
    ("code", "mend"), [(18, "Restart the machine"), (4, "/dev/nvidia"), (9, "modprobe"), (999, "nvidia-smi")]
)
def test_a_driver_that_does_not_start_is_told_with_its_mend(stub: StubDriver, code: int, mend: str) -> None:
    stub.tell(T4, f"error|in=nvmlInitWithFlags|code={code}")
    (found,) = told(stub)["gpu"]
    assert found["level"] == "failure" or code == 9
    assert mend in found["mend"]


def test_a_card_that_fell_off_is_told_beside_the_others(stub: StubDriver) -> None:
    stub.tell(h100(0), h100(1), "lost|gpu=0|after=0")
    card, remark = told(stub)["gpu"]
    assert (card["details"]["slot"], remark["level"]) == (1, "warning")
    assert "Card 0 does not answer" in remark["text"]


def test_it_reads_well_on_a_small_terminal_without_colour(stub: StubDriver) -> None:
    stub.tell(T4)
    environment = stub.environment(NO_COLOR="1", TERM="dumb", LC_ALL="C.UTF-8")
    with PseudoTerminal(["doctor", "--quick"], environment) as terminal:
        code = terminal.wait()
        terminal.hang_up()
        output = terminal.output
    assert "\x1b" not in output
    lines = output.splitlines()
    longest = max((line for line in lines if str(Path.cwd()) not in line), key=len)  # a path is not broken
    assert len(longest) <= 80
    begun = [line.split()[:2] for line in lines if line[:1] not in ("", " ")]
    assert begun[0] == ["ok", "python"]
    assert all(level in ("ok", "warning", "failure") for level, _ in begun[:-1])
    assert ["warning", "terminal"] in begun
    assert "export TERM=xterm-256color" in output
    assert lines[-1].startswith(f"{sum(level == 'ok' for level, _ in begun)} ok, ")
    assert code == int("\nfailure" in output)


def test_it_says_on_a_terminal_what_is_under_way_and_takes_that_back() -> None:
    with PseudoTerminal(["doctor", "--quick"], {"NO_COLOR": "", "LC_ALL": "C.UTF-8"}) as terminal:
        terminal.wait()
        terminal.hang_up()
        output = terminal.output
    begun = output.index("...      python")
    assert output[begun:].startswith("...      python\r\x1b[K")
    assert "\x1b[32mok" in output
    for line in ESCAPES.sub("", output).splitlines():
        assert len(line.rpartition("\r")[2]) <= 80


def test_the_exit_code_says_whether_anything_failed(checks: Any, capsys: pytest.CaptureFixture[str]) -> None:
    checks(Finding("made", "ok", "fine"), Finding("made", "warning", "so so", "mend it"))
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1:3] == ["warning  made         so so", " " * 22 + "-> mend it"]
    assert out.endswith("1 ok, 1 warning, 0 failures.\n")
    checks(Finding("made", "failure", "broken", "mend it"))
    assert cli.main(["doctor"]) == 1
    assert cli.main(["doctor", "--json"]) == 1


def test_heavy_checks_can_be_left_out(checks: Any, capsys: pytest.CaptureFixture[str]) -> None:
    checks(Finding("made", "failure", "broken"), heavy=True)
    assert cli.main(["doctor", "--quick"]) == 0
    assert "Left out: made." in capsys.readouterr().out


def test_foreign_text_is_shown_and_not_sent(checks: Any, capsys: pytest.CaptureFixture[str]) -> None:
    checks(Finding("made", "failure", "a card \x1b[2J[red]named[/red]", "do\x07 that"))
    cli.main(["doctor"])
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "\x07" not in out
    assert "[red]named[/red]" in out


def test_what_a_trial_said_is_shown_on_demand(checks: Any, capsys: pytest.CaptureFixture[str]) -> None:
    checks(Finding("made", "failure", "broken", details={"log": "line one\nline two"}))
    cli.main(["doctor"])
    assert "line two" not in capsys.readouterr().out
    cli.main(["doctor", "--debug"])
    assert "line one\nline two\n" in capsys.readouterr().out
