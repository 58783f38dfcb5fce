"""Fixtures of the export tests: finished runs on tiny models, made without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk.export import source
from ftk.export.source import Trained

from . import runs_for_tests


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of tiny models none of whose weights is 0 or 1, made once: ``bases("gemma")``."""
    made: dict[str, Path] = {}

    def folder(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = runs_for_tests.save_base(tmp_path_factory.mktemp(architecture) / "model", architecture)
        return made[architecture]

    return folder


@pytest.fixture
def run(bases: Callable[[str], Path], home: Path) -> Callable[..., Trained]:
    """What finished runs trained: ``run("llama", name="a", seed=1)``; other arguments are settings."""

    def make(architecture: str = "llama", *, name: str = "tuned", seed: int = 1, **settings: Any) -> Trained:
        runs_for_tests.make(home / "ftk_runs", name, bases(architecture), seed=seed, **settings)
        return source.find(name)

    return make
