"""Fixtures for all tests: a clean home for every test, tiny models made once a session."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models, and a worker on each core: more threads only wait
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test away from the user's caches, presets, runs, tokens and network; all share what is compiled."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(shared / "compiled"))
    for name in ("FTK_CACHE", "FTK_CONFIG", "FTK_RUNS", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    if constants := sys.modules.get("huggingface_hub.constants"):  # it keeps what it read when it was imported
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf_hub_cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: refuses at once
    for name in ("COLUMNS", "LINES", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folders of tiny models, made once: ``model_folder("gpt2", chat=False)``."""
    made: dict[tuple[str, bool], Path] = {}

    def folder(architecture: str = "llama", *, chat: bool = True) -> Path:
        key = (architecture, chat)
        if key not in made:
            made[key] = tiny.save(tmp_path_factory.mktemp(f"tiny-{architecture}") / "model", architecture, chat=chat)
        return made[key]

    return folder
