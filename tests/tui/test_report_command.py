"""`ftk report`: what it prints, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftk_tui import cli
from tests import run_folders
from tests.core.evaluation.reported_runs import full


def test_the_file_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = full(home / "ftk_runs")
    assert cli.main(["report", "shop"]) == 0
    assert capsys.readouterr().out == "ftk_runs/shop/report.html\n"
    assert cli.main(["report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(run.path / "report.html")}
    assert cli.main(["report", str(run.path), "--to", "card.md", "--examples", "1"]) == 0
    assert capsys.readouterr().out == "card.md\n"
    assert (home / "card.md").read_text().count("**Prompt**") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["report", "none"], "There is no run"),
        (["report", "shop", "--to", "x.docx"], "ends with .html or .md"),
        (["report", "shop", "--examples", "-1"], "must be 0 or more"),
        (["report"], "No run here has a result"),
    ],
)
def test_what_cannot_be_is_told(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    run_folders.make(home / "ftk_runs", "shop")
    assert cli.main(arguments) in (1, 2)
    assert told in capsys.readouterr().err
