"""Checkpoints: everything a run needs to go on, in one step on disk or not at all.

A checkpoint is a folder ``step-000123`` of safetensors and JSON; no pickle is written or read. It is staged
under another name, synced, and takes its name last. ``manifest.json`` holds size and SHA-256 of every file,
and a checkpoint is used only if they match.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from .. import files
from ..errors import TrainingError
from ..models import adapters
from ..models.adapters import is_adapted
from .optim import AdapterOptimizer

_OPTIMIZER, _STATE, _MANIFEST = "optimizer.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Progress:
    """How far a run is: updates done, tokens seen, losses so far, seconds of training."""

    step: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0
    loss_before: float | None = None
    best_loss: float | None = None
    bad_evaluations: int = 0


@dataclass(frozen=True)
class Saved:
    """A checkpoint on disk: its folder, bytes, and the seconds it took."""

    path: Path
    bytes: int
    seconds: float


def save(
    folder: Path,
    model: Any,
    tokenizer: Any,
    tensors: dict[str, torch.Tensor],
    progress: Progress,
) -> Saved:
    """Write a checkpoint of this moment.

    Args:
        folder: The run's folder of checkpoints.
        model: The model with its adapter.
        tokenizer: Saved with the adapter, so that any checkpoint can be used as it is.
        tensors: The optimiser's state, and the best adapter so far as ``best.N``.
        progress: How far the run is.

    Raises:
        OSError: the disk is full or not writable; nothing half-written stays.

    """
    begin = time.monotonic()
    target = folder / f"step-{progress.step:06d}"
    if target.exists():
        shutil.rmtree(target)
    with files.staged_dir(target) as staging:
        adapters.save(model, tokenizer, staging / ("adapter" if is_adapted(model) else "model"))
        save_file(tensors | _random_tensors(), staging / _OPTIMIZER)
        (staging / _STATE).write_text(json.dumps(asdict(progress)), encoding="utf-8")
        size = sum(file.stat().st_size for file in _files(staging))
        listed = {str(f.relative_to(staging)): [f.stat().st_size, files.sha256(f)] for f in _files(staging)}
        (staging / _MANIFEST).write_text(json.dumps(listed, indent=1), encoding="utf-8")
    return Saved(target, size, time.monotonic() - begin)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _random_tensors() -> dict[str, torch.Tensor]:
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"random.cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def intact(path: Path) -> bool:
    """Whether every file of a checkpoint is there with the size and hash of its manifest."""
    try:
        listed = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        if not listed:
            return False
        for name, (size, digest) in listed.items():
            file = path / name
            if file.stat().st_size != size or files.sha256(file) != digest:
                return False
        return True
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def newest(folder: Path) -> tuple[Path | None, list[Path]]:
    """The newest intact checkpoint by step, and the damaged ones that are newer."""
    damaged: list[Path] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        if intact(path):
            return path, damaged
        damaged.append(path)
    return None, damaged


def restore(path: Path, model: Any, optimizer: AdapterOptimizer) -> tuple[Progress, list[torch.Tensor]]:
    """Bring model, optimiser and random states back to the moment of a checkpoint.

    Returns:
        How far the run was, and the weights of the best adapter so far (empty if none was kept).

    Raises:
        TrainingError: the checkpoint belongs to another adapter.

    """
    tensors = load_file(path / _OPTIMIZER)
    states = {key: tensors.pop(key) for key in list(tensors) if key.startswith("random.")}
    best = {int(key[5:]): tensors.pop(key) for key in list(tensors) if key.startswith("best.")}
    if is_adapted(model):
        weights = load_file(path / "adapter" / "adapter_model.safetensors")
        if missing := _load_adapter(model, weights):
            raise TrainingError(f"{path} lacks weights of this adapter: {', '.join(missing[:3])}.")
    optimizer.load_state(tensors)  # holds every trained weight
    torch.set_rng_state(states["random.cpu"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if (state := states.get(f"random.cuda.{index}")) is not None:
                torch.cuda.set_rng_state(state, index)
    progress = Progress(**json.loads((path / _STATE).read_text(encoding="utf-8")))
    return progress, [best[index].to(optimizer.masters[index].device) for index in sorted(best)]


def _load_adapter(model: Any, weights: dict[str, torch.Tensor]) -> list[str]:
    from peft import set_peft_model_state_dict

    result = set_peft_model_state_dict(model, weights)
    return [key for key in result.missing_keys if "lora_" in key]


def rotate(folder: Path, keep: int) -> None:
    """Remove all but the `keep` newest checkpoints, by step."""
    for path in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(path, ignore_errors=True)
