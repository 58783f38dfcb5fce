"""Runs of tiny models, trained once for a module of tests and copied for each test that may change them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk import QuickTrainer
from tests import tiny
from tests.core.training.helpers import DEFAULTS

SETTINGS: dict[str, Any] = {
    **DEFAULTS, "max_steps": 12, "save_steps": 6, "learning_rate": 3e-2, "eval_fraction": 0.25, "eval_steps": 12,
}  # fmt: skip
"""Enough that the tuned model answers something else than its base."""


def rows_file(folder: Path) -> Path:
    """A file with the rows of `tiny.ROWS`."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
    return path


def train(folder: Path, model: Path, name: str, **settings: Any) -> Path:
    """Train a run in a folder of its own caches; returns the folder of the run."""
    with pytest.MonkeyPatch.context() as patch:
        for key in ("FTK_CACHE", "HF_HOME", "HF_HUB_CACHE"):
            patch.setenv(key, str(folder / key.lower()))
        data = settings.pop("data", None) or rows_file(folder)
        values = {**SETTINGS, **settings, "name": name}
        trainer = QuickTrainer(
            str(model), data if isinstance(data, list) else str(data), runs_dir=folder / "runs", **values
        )
        run = trainer.train().run
    assert run is not None
    return run.path


def copied(run: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """A copy of a run among the runs of this test, under the same name."""
    target = home / "ftk_runs" / run.name
    shutil.copytree(run, target)
    return target


Runs = Callable[[str], Path]
