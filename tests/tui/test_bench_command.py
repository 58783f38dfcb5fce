"""`ftk bench`: a table for people that fits the terminal, an object a model for programs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ftk_tui import cli
from tests.core.evaluation.trained_runs import train

Folder = Callable[..., Path]
QUICK = ["--max-tokens", "2", "--repeats", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_folder: Folder) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(folder, model_folder(), "mine", max_steps=2)
    train(folder, model_folder(), "whole", method="full", max_steps=2)
    return folder / "runs"


@pytest.fixture(autouse=True)
def runs(trained: Path, home: Path) -> Path:
    target = home / "ftk_runs"
    shutil.copytree(trained, target)
    return target


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["bench", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_table_has_a_line_for_base_adapter_and_merged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(capsys, "mine", *QUICK)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    for name in ("base ", "mine ", "mine, merged "):
        assert sum(line.startswith(name) for line in lines) == 1
    for heading in ("first token", "at 1 ", "at 4 ", "at 16 ", "memory"):
        assert heading in lines[0]
    assert max(map(len, lines)) <= 80
    assert "Medians of 1" in out


def test_json_is_an_object_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "whole", "mine", "--batch-sizes", "2,1,2", "--json", *QUICK)
    assert code == 0
    found = {line["model"]: line for line in map(json.loads, out.splitlines())}
    assert list(found) == ["base", "mine", "mine, merged", "whole"]
    for line in found.values():
        assert list(line["tokens_per_s"]) == ["2", "1"]
        assert line["tokens_per_s"]["1"]["median"] > 0
        assert line["first_token_s"]["low"] <= line["first_token_s"]["high"]
        assert line["peak_memory_bytes"] > 0
    code, out, _ = run(capsys, "mine", "--no-base", "--no-merged", "--batch-sizes", "1", "--json", *QUICK)
    assert [json.loads(line)["model"] for line in out.splitlines()] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["mine", "--batch-sizes", "1,x"], 2, "--batch-sizes: '1,x' is not accepted"),
        (["mine", "--batch-sizes", "0"], 2, "--batch-sizes: '0'"),
        (["mine", "--repeats", "0", "--batch-sizes", "1"], 2, "must be 1 or more"),
        (["mien"], 1, "Did you mean 'mine'?"),
    ],
)
def test_what_cannot_be_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str) -> None:
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert told in err
