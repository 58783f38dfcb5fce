"""Several processes train one adapter to the same result as one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny


@pytest.mark.slow
def test_two_processes_compute_the_losses_of_one(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
    settings = [
        "--model", str(model_folder()), "--data", str(data), "--max-steps", "4", "--precision", "float32",
        "--device", "cpu", "--learning-rate", "1e-2", "--eval-fraction", "0.25", "--compare", "none", "--json",
    ]  # fmt: skip
    one = _events([sys.executable, "-m", "ftk_tui", *settings, "--batch-size", "4"], tmp_path / "one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # accelerate's own launcher starts several processes on GPUs only; on CPUs its state comes from torchrun's
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    two = _events([*launch, "-m", "ftk_tui", *settings, "--batch-size", "2"], tmp_path / "two")
    losses = [[event["loss"] for event in events if event["event"] == "step"] for events in (one, two)]
    held_out = [[event["loss"] for event in events if event["event"] == "evaluation"] for events in (one, two)]
    assert len(losses[0]) == 4
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert held_out[1] == pytest.approx(held_out[0], abs=1e-4)
    assert len(list((tmp_path / "two").iterdir())) == 1  # one run, written by one process


def _events(command: list[str], runs: Path) -> list[dict[str, object]]:
    environment = {**os.environ, "FTK_RUNS": str(runs), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
