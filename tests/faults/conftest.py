"""What the tests of faults share: a run that is the same whoever begins it, and what it comes to undisturbed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftk.events import Step
from ftk.runs import RunFolder
from tests import tiny

from .nursery import Nursery

STEPS = 24
SETTINGS = {
    "max-steps": STEPS, "batch-size": 2, "gradient-accumulation": 2, "lora-rank": 4, "lora-dropout": 0.1,
    "learning-rate": 0.01, "precision": "float32", "device": "cpu", "max-length": 128, "eval-fraction": 0.25,
    "eval-steps": 4, "save-steps": 3, "log-steps": 1, "compile": "false", "compare": "none",
}  # fmt: skip


class Bench:
    """A model, rows, a folder of runs, and a nursery for the commands on them."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.runs = folder, folder / "runs"
        self._rows = folder / "rows.jsonl"
        self._rows.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS * 2))
        self._model = model
        self.nursery = Nursery(folder)

    def arguments(self, name: str, **changes: object) -> list[str]:
        """The command that begins the run."""
        settings = {**SETTINGS, **changes}
        flags = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        return ["--model", str(self._model), "--data", str(self._rows), "--name", name, *flags]

    def run(self, name: str) -> RunFolder:
        """A run that was begun."""
        return RunFolder.open(name, self.runs)

    def result(self, name: str) -> tuple[bytes, list[tuple[int, float, float]]]:
        """What a finished run came to: its adapter, and step, loss and gradient norm of every update."""
        run = self.run(name)
        steps = [(e.step, e.loss, e.grad_norm) for e in run.history() if isinstance(e, Step)]
        return (run.adapter / "adapter_model.safetensors").read_bytes(), steps


@pytest.fixture(scope="package")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One for all tests of this folder."""
    folder = tmp_path_factory.mktemp("faults")
    made = Bench(folder, tiny.save(folder / "model"))
    yield made
    made.nursery.close()


@pytest.fixture(scope="package")
def undisturbed(bench: Bench) -> tuple[bytes, list[tuple[int, float, float]]]:
    """What the run comes to if nothing happens to it."""
    assert bench.nursery.run(bench.arguments("undisturbed")) == 0, bench.nursery.output.read_text()
    return bench.result("undisturbed")
