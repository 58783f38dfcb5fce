"""`ftk estimate`: the tables, the JSON, and what it refuses; no torch for a model of the catalogue."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftk import memory
from ftk_tui.cli import main
from tests import tiny


@pytest.fixture
def rows(home: Path) -> str:
    path = home / "my.json"
    path.write_text(json.dumps(tiny.ROWS * 20))
    return str(path)


def answers(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["estimate", "--json", *arguments]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_card_that_is_not_here_is_answered_for_with_every_way_and_every_card(
    capsys: pytest.CaptureFixture[str], rows: str
) -> None:
    found = answers(capsys, "--model", "mistral-7b", "--data", rows, "--gpu", "t4", "--max-steps", "500")
    assert found["machine"] == "t4"
    assert found["steps"] == 500
    assert found["chosen"]["quantization"] == "nf4"
    assert found["chosen"]["fits"] is True
    assert found["chosen"]["dollars"] == pytest.approx(found["chosen"]["seconds"] / 3600 * 0.526, rel=0.01)
    assert found["chosen"]["seconds_low"] < found["chosen"]["seconds"] < found["chosen"]["seconds_high"]
    assert sum(found["time"].values()) == pytest.approx(found["chosen"]["seconds"], abs=1)
    assert sum(found["memory"].values()) == found["chosen"]["memory_bytes"]
    assert {option["quantization"] for option in found["choices"]} == {"none", "nf4"}
    assert not any(option["fits"] for option in found["choices"] if option["quantization"] == "none")
    assert [option["chosen"] for option in found["choices"]].count(True) == 1
    assert [option["card"] for option in found["cards"]] == [card.id for card in memory.cards()]
    by_card = {option["card"]: option for option in found["cards"]}
    assert by_card["h100"]["seconds"] < by_card["a10"]["seconds"] < by_card["t4"]["seconds"]


def test_people_get_tables(capsys: pytest.CaptureFixture[str], rows: str) -> None:
    assert main(["estimate", "--model", "gpt2", "--data", rows, "--gpu", "T4", "--price", "0.36/h"]) == 0
    told = capsys.readouterr().out
    for words in ("NVIDIA T4, 14.6 GiB (not here)", "$0.36 an hour, as you said", "rtx6000-ada", "not measured"):
        assert words in told
    assert "GPT" not in told.split("Data")[1].split("\n")[0]
    assert max(map(len, told.split("Speed")[0].splitlines()[6:])) <= 80


def test_this_machine_is_not_measured_unless_wanted(capsys: pytest.CaptureFixture[str], rows: str, home: Path) -> None:
    found = answers(capsys, "--model", "gpt2", "--data", rows, "--device", "cpu", "--no-measure", "--max-steps", "3")
    assert "guessed" in found["chosen"]["basis"]
    assert found["chosen"]["dollars"] is None
    assert not (home / "ftk_cache" / "rates.json").exists()
    priced = answers(
        capsys, "--model", "gpt2", "--data", rows, "--device", "cpu", "--no-measure", "--price", "3600/h",
        "--max-steps", "3",
    )  # fmt: skip
    assert priced["chosen"]["dollars"] == pytest.approx(priced["chosen"]["seconds"], rel=0.01)


def test_the_flag_of_a_run_asks_the_same(
    capsys: pytest.CaptureFixture[str], rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftk.estimate.rates._measured", lambda device, precision: {
        "matmul": 1e11, "bandwidth": 1e10, "operation": 1e-6})  # fmt: skip
    assert (
        main(["--model", "gpt2", "--data", rows, "--device", "cpu", "--max-steps", "3", "--estimate-time", "--json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert "0.1 TFLOP/s measured here" in found["chosen"]["basis"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--gpu", "h10"], "no card 'h10'"),
        (["--gpu", "t4", "--price", "cheap"], "is no price"),
        (["--model", "gtp2", "--gpu", "t4"], "Did you mean 'gpt2'"),
        (["--data", "none.json", "--gpu", "t4"], "none.json"),
    ],
)
def test_what_cannot_be_answered_is_said(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", *arguments]) != 0
    assert told in capsys.readouterr().err


def test_no_torch_is_imported_for_a_model_of_the_catalogue(rows: str) -> None:
    code = (
        "import sys; from ftk_tui.cli import main; "
        f"main(['estimate', '--json', '--model', 'llama3.1-8b', '--gpu', 't4', '--data', {rows!r}]); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
