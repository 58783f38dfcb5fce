"""`ftk compare`: what it asks, what it prints where, what it keeps, what it refuses and how."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ftk.evaluation import comparisons
from ftk.evaluation.comparisons import read
from ftk_tui import cli
from tests import tiny
from tests.core.evaluation.trained_runs import train
from tests.pseudo_terminal import PseudoTerminal, until

Folder = Callable[..., Path]
SHORT = ["--max-tokens", "10"]
QUESTION = "What comes after one?"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_folder: Folder) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(folder, model_folder(), "mine", max_steps=30)
    train(folder, model_folder(), "other", seed=5)
    return folder / "runs"


@pytest.fixture
def runs(trained: Path, home: Path) -> Path:
    target = home / "ftk_runs"
    shutil.copytree(trained, target)
    return target


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["compare", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def kept(runs: Path, name: str = "mine") -> list[comparisons.Record]:
    return [read(path) for path in sorted((runs / name / "comparisons").iterdir())]


def test_held_out_rows_are_answered_by_both_and_kept(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    code, out, err = run(capsys, "mine", "--rows", "2", *SHORT)
    assert (code, err) == (0, "")
    (record,) = kept(runs)
    assert len(record.answers) == 2
    for line in record.answers:
        assert line["prompt"] in out
        assert f"reference: {line['reference']}" in out
        assert {"prompt": line["prompt"], "response": line["reference"]} in tiny.ROWS
    assert "[1/2] " in out
    assert "  base: " in out
    assert f"  mine: {record.answers[0]['answers']['mine']['text']}" in out
    assert record.about["prompts"] == "rows.jsonl, held out"
    assert f"Kept in {runs / 'mine' / 'comparisons'}" in out
    assert "\x1b" not in out


def test_json_is_an_object_a_prompt_and_nothing_else(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    code, out, err = run(capsys, "mine", "other", "--prompt", QUESTION, "--prompt", "Grüße 🙂", "--json", *SHORT)
    assert code == 0
    first, second = map(json.loads, out.splitlines())
    assert first["prompt"] == QUESTION
    assert second["prompt"] == "Grüße 🙂"
    assert list(first["answers"]) == ["base", "mine", "other"]
    assert first["answers"]["mine"]["text"] != first["answers"]["base"]["text"]
    assert kept(runs)[0].answers == [first, second]
    assert "Kept in" in err


def test_prompts_come_from_a_file_and_from_standard_input(
    capsys: pytest.CaptureFixture[str], runs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    (home / "p.jsonl").write_text(f'{{"prompt": "{QUESTION}", "response": "two"}}\n{{"prompt": "b"}}\n')
    code, out, _ = run(capsys, "mine", "--prompts", "p.jsonl", "--rows", "1", *SHORT)
    assert code == 0
    assert "reference: two" in out
    assert "[1/1]" in out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    assert run(capsys, "mine", "--prompts", "-", "--no-base", "24", *SHORT)[0] == 0
    assert [line["prompt"] for line in kept(runs)[-1].answers] == ["one", "two"]
    assert kept(runs)[-1].labels == ["mine", "mine@24"]


def test_several_adapters_answer_together(capsys: pytest.CaptureFixture[str], runs: Path, home: Path) -> None:
    names = ("mine", "24", "--ensemble", "--weights", "3,1")
    code, out, err = run(capsys, *names, "--prompt", "What comes after two?", "--to", "page.html", *SHORT)
    assert code == 0, err
    assert "\n  ensemble: " in out
    assert kept(runs)[-1].labels == ["base", "mine", "mine@24", "ensemble"]
    assert "the adapters together" in (home / "page.html").read_text()
    assert "mine 0.75, mine@24 0.25" in (home / "page.html").read_text()


def test_pages_are_written_and_never_replaced_unasked(
    capsys: pytest.CaptureFixture[str], runs: Path, home: Path
) -> None:
    for name in ("page.html", "page.md"):
        code, out, _ = run(capsys, "mine", "--prompt", QUESTION, "--to", name, *SHORT)
        assert code == 0
        assert f"Written to {name}" in out
        assert QUESTION in (home / name).read_text()
    before = (home / "page.html").read_text()
    count = len(kept(runs))
    code, _, err = run(capsys, "mine", "--prompt", "other", "--to", "page.html", *SHORT)
    assert code == 2
    assert "--force replaces it" in err
    assert len(kept(runs)) == count  # refused before anything was asked
    assert (home / "page.html").read_text() == before
    assert run(capsys, "mine", "--prompt", "other", "--to", "page.html", "--force", *SHORT)[0] == 0
    assert (home / "page.html").read_text() != before


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["mien"], 1, "Did you mean 'mine'?"),
        (["mine", "--prompts", "none.txt"], 1, "none.txt could not be read"),
        (["mine", "--rows", "0"], 2, "--rows: 0 is not accepted"),
        (["mine", "--batch-size", "-1"], 2, "--batch-size: -1"),
        (["mine", "--temperature", "-1"], 2, "--temperature: -1.0 is not accepted"),
        (["mine", "--top-p", "7"], 2, "--top-p: 7.0"),
        (["mine", "--max-tokens", "many"], 2, "invalid int value"),
        (["mine", "--no-base"], 2, "only one model"),
        (["mine", "--blind"], 2, "no terminal"),
        (["mine", "--ensemble"], 2, "two runs or checkpoints"),
        (["mine", "24", "--ensemble", "--weights", "1"], 2, "takes 2 weights"),
        (["mine", "24", "--ensemble", "--weights", "a,b"], 2, "no list of numbers"),
        (["mine", "24", "--weights", "1,2"], 2, "--weights goes with --ensemble"),
        (["mine", "--to", "page.pdf"], 2, "says no format"),
        (["mine", "--model", "./nowhere"], 1, "is gone"),
        ([], 2, "RUN"),
    ],
)
def test_what_cannot_be_is_said(
    capsys: pytest.CaptureFixture[str], runs: Path, arguments: list[str], code: int, told: str
) -> None:
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert told in err
    assert "Traceback" not in err
    assert not (runs / "mine" / "comparisons").exists()


def test_text_of_models_and_data_is_shown_and_not_sent(
    capsys: pytest.CaptureFixture[str], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftk.evaluation import generate

    monkeypatch.setattr(generate, "decoded", lambda tokenizer, tokens: "a\x1b[2J[red]b\u202e\nc")
    code, out, _ = run(capsys, "mine", "--prompt", "x\x07y", *SHORT)
    assert code == 0
    assert r"mine: a\x1b[2J[red]b\u202e" in out
    assert "\n    c" in out
    assert r"x\x07y" in out


def test_a_record_that_cannot_be_kept_is_told_after_the_answers(
    capsys: pytest.CaptureFixture[str], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs / "mine" / "comparisons").write_text("in the way")
    code, out, err = run(capsys, "mine", "--prompt", QUESTION, "--to", "page.md", *SHORT)
    assert code == 1
    assert QUESTION in out
    assert "cannot be kept" in err
    assert Path("page.md").is_file()


@pytest.mark.parametrize(("columns", "side_by_side"), [("80", True), ("60", False)])
def test_on_a_terminal_answers_grow_side_by_side_or_below_each_other(
    runs: Path, columns: str, side_by_side: bool
) -> None:
    with PseudoTerminal(["compare", "mine", "other", "--prompt", QUESTION, *SHORT], {"COLUMNS": columns}) as terminal:
        assert terminal.wait() == 0
        until(lambda: "Kept in" in terminal.output)
        (record,) = kept(runs)
    assert QUESTION in terminal.output
    assert "being answered" in terminal.output
    assert ("╭" in terminal.output) == side_by_side
    assert len(record.answers[0]["answers"]["base"]["text"]) > 0
    assert "\x1b[?25h" in terminal.output.rpartition("\x1b[?25l")[2]  # the cursor is back
    if side_by_side:
        borders = [line for line in terminal.output.splitlines() if line.lstrip("\x1b[0123456789;mK").startswith("╰")]
        assert borders


def test_ctrl_c_ends_the_answers_and_keeps_what_there_is(runs: Path) -> None:
    asked = [part for number in range(30) for part in ("--prompt", f"{QUESTION} {number}")]
    arguments = ["compare", "mine", *asked, "--max-tokens", "200", "--temperature", "2", "--batch-size", "1"]
    with PseudoTerminal(arguments) as terminal:
        until(lambda: "[2/30]" in terminal.output)
        terminal.press("\x03")
        assert terminal.wait() == 1
        until(lambda: "Kept in" in terminal.output)
    (record,) = kept(runs)
    assert 1 <= len(record.answers) < 30
    assert "Traceback" not in terminal.output


def test_blindly_two_answers_are_judged_without_their_names(runs: Path) -> None:
    asked = [part for row in tiny.ROWS[:4] for part in ("--prompt", row["prompt"])]
    with PseudoTerminal(["compare", "mine", "--blind", *asked, *SHORT]) as terminal:
        for number, key in enumerate(("a", "x=", "b"), 1):
            until(lambda number=number: terminal.output.count("Which is better?") == number)  # type: ignore[misc]
            assert "mine" not in terminal.output.partition("Putting on the adapter mine")[2].replace("mine\r", "")
            terminal.press(key)
        until(lambda: terminal.output.count("Which is better?") == 4)
        terminal.press("q")
        assert terminal.wait() == 0
        until(lambda: "Kept in" in terminal.output)
    (record,) = kept(runs)
    first, second, third = record.verdicts
    assert first["better"] == first["order"][0]
    assert second["better"] is None
    assert third["better"] == third["order"][1]
    assert sorted(first["order"]) == ["base", "mine"]
    assert "no difference: 1" in terminal.output
    assert "if neither was better" in terminal.output


def test_help_names_what_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["compare", "--help"])
    out = capsys.readouterr().out
    for flag in (
        "--prompts",
        "--prompt",
        "--rows",
        "--temperature",
        "--seed",
        "--max-tokens",
        "--json",
        "--to",
        "--blind",
    ):
        assert f"{flag} " in out
    assert max(map(len, out.splitlines())) <= 100
