"""Export one whole model that needs neither peft nor ftk: safetensors, tokenizer, model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ExportError
from ..models import loading as models
from ..models.sources import Progress, Source
from . import card, merging, probe, target
from .merging import BaseWeights, Merged
from .source import Trained
from .target import Exported

_SHARD = "4GB"


def export(
    trained: Trained,
    folder: Path,
    *,
    base: BaseWeights = "dequantised",
    precision: str = "auto",
    force: bool = False,
    progress: Progress = models.silent,
) -> Exported:
    """Merge, write, load it once more from the new folder, compare, and let it answer.

    Args:
        trained: What to export.
        folder: The folder to make.
        base: See `merging`.
        precision: Number format of the weights; ``auto``: that of the stored base.
        force: Replace an earlier export there.
        progress: Told what goes on.

    Raises:
        ModelError: see `loading.load`.
        ExportError: the result is not what was trained, or cannot be written.

    """
    target.check(folder, force=force)
    merged = merging.merge(trained, base=base, precision=precision, progress=progress)
    target.need_room(folder, bytes_of(merged.model))
    with target.made(folder, force=force) as staging:
        progress("write", folder.name, None, None)
        write(merged, staging, trained)
        checks = [_told(trained, merged), _reloaded(merged, staging, trained, progress)]
        (staging / "LICENCE_NOTE.md").write_text(card.licence_note(trained) + "\n", encoding="utf-8")
        (staging / "README.md").write_text(card.write(trained, "merged", checks), encoding="utf-8")
        target.mark(staging, trained, "merged", checks, difference=merged.difference, precision=merged.precision)
    return Exported(folder, "merged", checks, merged.notes)


def bytes_of(model: Any) -> int:
    """What a model's weights take on disk."""
    return sum(weight.numel() * weight.element_size() for weight in {id(w): w for w in model.parameters()}.values())


def write(merged: Merged, staging: Path, trained: Trained) -> None:
    """Write a merged model and its tokenizer; no path of this machine stays in its configuration."""
    model = merged.model
    model.config._name_or_path = model.name_or_path = trained.hub or ""
    model.save_pretrained(str(staging), safe_serialization=True, max_shard_size=_SHARD)
    merged.tokenizer.save_pretrained(str(staging))


def _told(trained: Trained, merged: Merged) -> str:
    what = "the model as it was trained" if trained.whole else "base and adapter as they were trained"
    return f"Next to {what}: {merged.difference}."


def _reloaded(merged: Merged, staging: Path, trained: Trained, progress: Progress) -> str:
    """Read the written model as anybody would; returns what was seen. The model in memory is given up for it.

    Raises:
        ExportError: it is not the model that was written.

    """
    progress("check", "read again", None, None)
    device, size = str(merged.model.device), bytes_of(merged.model)
    merged.model = None
    merging.let_go(size)
    source = Source(trained.name, "folder", staging, None, None)
    precision: Any = merged.precision
    again = models.load(source, precision=precision, device=device)
    apart = probe.difference(merged.logits, probe.logits(again.model, merged.rows))
    if probe.probes(again.tokenizer) != merged.rows:
        raise ExportError("The written tokenizer makes other tokens than the one of the run.")
    if apart.relative > 1e-3:
        raise ExportError(f"The written model is not the merged one: {apart}.", hint="Is the disk broken?")
    text = probe.answer(again.model, again.tokenizer)
    return (
        f"Read again from this folder: the same logits to {apart.largest:.1g}, and an answer of {len(text)} characters."
    )
