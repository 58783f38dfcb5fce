"""Checkpoints: everything a run needs to go on, in one step on disk or not at all.

A checkpoint is a folder ``step-000123`` of safetensors and JSON; no pickle is written or read. It is staged
under another name, synced, and takes its name last. ``manifest.json`` holds size and SHA-256 of every file,
and a checkpoint is used only if they match.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files
from ..errors import TrainingError
from ..models import adapters
from ..models.adapters import is_adapted
from ..models.fingerprint import differ

if TYPE_CHECKING:  # a look at what is on disk needs no torch
    from torch import Tensor

    from .optim import AdapterOptimizer

_OPTIMIZER, _STATE, _MANIFEST = "optimizer.safetensors", "state.json", "manifest.json"
_NAME = re.compile(r"step-(\d{6,})")
_ROOM_LEFT = 64 << 20
"""Bytes that a checkpoint leaves free: for the journal, and for whatever else writes on the disk."""


@dataclass(frozen=True)
class Progress:
    """How far a run is, and whatever decides how it goes on.

    Steps done, tokens seen, seconds of training; the evaluations; what came together since the last report; updates
    left out in a row, the scale of float16 gradients, the tokens that a micro-batch may hold, what `NumberWatch` knows.
    """

    step: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0
    loss_before: float | None = None
    best_loss: float | None = None
    last_loss: float | None = None
    evaluated: int = -1
    bad_evaluations: int = 0
    losses: Sequence[float] = ()
    sum_loss: float = 0.0
    sum_targets: int = 0
    skipped: int = 0
    scale: float = 1.0
    budget: int = 0
    numbers: Sequence[float] = ()
    base: str = ""
    journal_bytes: int = 0


@dataclass(frozen=True)
class Snapshot:
    """A moment of a run, ready to be written."""

    model: Any
    weights: dict[str, Tensor]
    tensors: dict[str, Tensor]
    progress: Progress

    @property
    def bytes(self) -> int:
        """What its tensors take."""
        return sum(tensor.nbytes for tensor in (*self.weights.values(), *self.tensors.values()))

    def copied(self) -> Snapshot:
        """The same in memory of its own, so that training can go on while it is written."""
        weights, tensors = (
            {k: t.detach().to("cpu", copy=True) for k, t in d.items()} for d in (self.weights, self.tensors)
        )
        return Snapshot(self.model, weights, tensors, self.progress)


def capture(model: Any, tensors: dict[str, Tensor], progress: Progress) -> Snapshot:
    """The present moment; its tensors change with the next update unless they are `copied`.

    Args:
        model: The model with its adapter.
        tensors: The optimiser's state, random states, and the best adapter so far as ``best.N``.
        progress: How far the run is.

    """
    if is_adapted(model):
        weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    else:
        weights = model.state_dict()
    return Snapshot(model, weights, tensors, progress)


@dataclass(frozen=True)
class Saved:
    """A checkpoint on disk: its folder, step, bytes, and the seconds it took."""

    path: Path
    step: int
    bytes: int
    seconds: float


def write(folder: Path, tokenizer: Any, snapshot: Snapshot) -> Saved:
    """Write a checkpoint, read it back, and only then take its word.

    Args:
        folder: The run's folder of checkpoints.
        tokenizer: Saved with the adapter, so that any checkpoint can be used as it is.
        snapshot: What to write. If an intact checkpoint of its step is there, that stays.

    Raises:
        OSError: the disk is full or not writable, or does not give back what was written; what was there stays.

    """
    begin = time.monotonic()
    target = folder / f"step-{snapshot.progress.step:06d}"
    if not intact(target):
        files.sweep(target, alone=True)  # before the room is asked for: half a checkpoint may be what fills the disk
        _check_room(folder, snapshot.bytes)
        if target.exists():
            shutil.rmtree(target)  # damaged: nobody could go on from it
        with files.staged_dir(target, alone=True) as staging:
            _fill(staging, tokenizer, snapshot)
        if not intact(target):
            shutil.rmtree(target, ignore_errors=True)
            raise OSError(f"{target.name} does not read back as it was written")
    size = sum(file.stat().st_size for file in _files(target))
    return Saved(target, snapshot.progress.step, size, time.monotonic() - begin)


def _check_room(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < size + _ROOM_LEFT:
        raise OSError(f"{size / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free")


def _fill(staging: Path, tokenizer: Any, snapshot: Snapshot) -> None:
    from safetensors.torch import save_file

    model = snapshot.model
    adapters.save(model, tokenizer, staging / ("adapter" if is_adapted(model) else "model"), snapshot.weights)
    save_file({key: tensor.contiguous() for key, tensor in snapshot.tensors.items()}, staging / _OPTIMIZER)
    (staging / _STATE).write_text(json.dumps(asdict(snapshot.progress)), encoding="utf-8")
    listed = {str(f.relative_to(staging)): [f.stat().st_size, files.sha256(f)] for f in _files(staging)}
    (staging / _MANIFEST).write_text(json.dumps(listed, indent=1), encoding="utf-8")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def intact(path: Path) -> bool:
    """Whether every file of a checkpoint is there with the size and hash of its manifest."""
    try:
        listed = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        if not {_OPTIMIZER, _STATE} <= set(listed):
            return False
        for name, (size, digest) in listed.items():
            file = path / name
            if file.stat().st_size != size or files.sha256(file) != digest:
                return False
        return True
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def _all(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints of a run by step, whatever the times of their files say."""
    if not folder.is_dir():
        return []
    return sorted((int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name)))


def newest(folder: Path) -> tuple[Path | None, list[Path]]:
    """The newest intact checkpoint by step, and the damaged ones that are newer."""
    damaged: list[Path] = []
    for _, path in reversed(_all(folder)):
        if intact(path):
            return path, damaged
        damaged.append(path)
    return None, damaged


def read_progress(path: Path) -> Progress:
    """How far a run was at a checkpoint; what this version does not know is left out."""
    known = {item.name for item in fields(Progress)}
    values = json.loads((path / _STATE).read_text(encoding="utf-8"))
    return Progress(**{key: value for key, value in values.items() if key in known})


@dataclass(frozen=True)
class Restored:
    """What a checkpoint gave back besides the weights: progress, the best adapter so far, the random states."""

    progress: Progress
    best: list[Tensor]
    random: dict[str, Tensor] = field(default_factory=dict)


def restore(path: Path, model: Any, optimizer: AdapterOptimizer, base: str) -> Restored:
    """Bring model and optimiser back to the moment of a checkpoint.

    Args:
        path: An intact checkpoint.
        model: The model with an adapter of the same shape.
        optimizer: Of that model.
        base: The fingerprint of the base model that was loaded now.

    Raises:
        TrainingError: the checkpoint belongs to another adapter or base model, or holds what is not a number.

    """
    from safetensors.torch import load_file

    progress = read_progress(path)
    if differ(progress.base, base):
        raise TrainingError(
            f"The base model is not the one that {path.parent.parent.name!r} was started with: its weights differ.",
            hint="Put the old model back, or start a new run.",
        )
    tensors = load_file(path / _OPTIMIZER)
    if broken := [key for key, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]:
        raise TrainingError(f"{path} holds numbers that are not finite ({', '.join(broken[:3])}).")
    random = {key: tensors.pop(key) for key in list(tensors) if key.startswith("random.")}
    best = {int(key[5:]): tensors.pop(key) for key in list(tensors) if key.startswith("best.")}
    optimizer.load_state(tensors)  # holds every trained weight
    return Restored(progress, [best[i].to(optimizer.masters[i].device) for i in sorted(best)], random)


def rotate(folder: Path, keep: int) -> None:
    """Remove all but the `keep` newest checkpoints, by step, and the one of the lowest held-out loss."""
    found = [path for _, path in _all(folder)]
    if len(found) <= keep:
        return
    best = min(found, key=_held_out_loss)
    for path in found[:-keep]:
        if path != best or _held_out_loss(path) == float("inf"):
            shutil.rmtree(path, ignore_errors=True)


def _held_out_loss(path: Path) -> float:
    """The held-out loss that was measured at a checkpoint's own step; infinite where none was."""
    try:
        progress = read_progress(path)
    except (OSError, ValueError, TypeError):
        return float("inf")
    loss = progress.last_loss if progress.evaluated == progress.step else None
    return loss if loss is not None and math.isfinite(loss) else float("inf")
