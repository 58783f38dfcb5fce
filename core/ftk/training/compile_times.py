"""What compiling a model's layers took on this machine, kept beside the compiled code for the next run's estimate."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import files
from ..config import RunConfig
from ..memory import Settings
from ..memory.models import Described
from ..memory.sizes import sizes_of
from .fast import compiling

_AGAIN = 5.0
"""Seconds that it takes at most the second time, when only what was kept is looked up: 3 were measured."""
_MOST = 500
"""Models and settings that are remembered."""
_DECIDES = ("quantization", "precision", "method", "lora_rank", "lora_targets", "lora_dropout", "lora_dora")
_DECIDES_TOO = ("gradient_checkpointing", "fast")


def key(model: Described, config: RunConfig) -> str:
    """A name for all that decides what code is compiled: widths, settings, device, version of torch."""
    settings = asdict(Settings.of(config))
    decisive: dict[str, Any] = {name: settings[name] for name in (*_DECIDES, *_DECIDES_TOO)}
    decisive |= {"sizes": asdict(sizes_of(model)), "kind": model.architecture, "torch": metadata.version("torch")}
    decisive["device"] = config.device.split(":")[0]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def expected(name: str) -> float | None:
    """Seconds that compiling will take; None if it was never done here, or what came of it is gone."""
    seconds = _kept().get(name)
    return None if seconds is None else min(seconds, _AGAIN)


def note(name: str, seconds: float) -> None:
    """Keep what it took; where that cannot be, the next estimate is too high."""
    kept = _kept()
    kept.pop(name, None)
    newest = dict([*kept.items(), (name, round(seconds, 2))][-_MOST:])
    try:
        files.write_atomic(_path(), json.dumps(newest))
    except OSError:
        return


def _path() -> Path:
    return compiling.folder() / "ftk-seconds.json"


def _kept() -> dict[str, float]:
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): float(took) for name, took in found.items() if isinstance(took, int | float)}
