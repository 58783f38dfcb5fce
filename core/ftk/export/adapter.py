"""Export the adapter alone: small, and of use to everybody who can get the base model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ExportError
from ..models.loading import silent
from ..models.sources import Progress
from . import card, loading, probe, target
from .source import WEIGHTS, Trained
from .target import Exported

_NOT_SHIPPED = {"README.md", "training_args.bin"}


def export(trained: Trained, folder: Path, *, force: bool = False, progress: Progress = silent) -> Exported:
    """Write an adapter with tokenizer, chat template, licence note and model card, and load it once from there.

    Args:
        trained: What to export.
        folder: The folder to make.
        force: Replace an earlier export there.
        progress: Told what goes on.

    Raises:
        ModelError: the adapter is damaged, or its base is gone or another one.
        ExportError: there is no adapter, or the folder cannot be written.

    """
    loading.need_adapter(trained, "--to adapter")
    target.check(folder, force=force)
    shipped = [path for path in sorted(trained.folder.iterdir()) if path.is_file() and path.name not in _NOT_SHIPPED]
    target.need_room(folder, sum(path.stat().st_size for path in shipped))
    notes = [] if trained.hub else [_no_base(trained)]
    with target.made(folder, force=force) as staging:
        progress("write", folder.name, None, None)
        for path in shipped:
            shutil.copyfile(path, staging / path.name)
        _point_to_base(staging / "adapter_config.json", trained)
        checks = _checked(trained, staging, progress)
        (staging / "LICENCE_NOTE.md").write_text(card.licence_note(trained) + "\n", encoding="utf-8")
        (staging / "README.md").write_text(card.write(trained, "adapter", checks), encoding="utf-8")
        target.mark(staging, trained, "adapter", checks)
    return Exported(folder, "adapter", checks, notes)


def _point_to_base(path: Path, trained: Trained) -> None:
    """Name the base model so that others find it: by its id on the Hub and its commit."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if trained.hub:
        values["base_model_name_or_path"] = trained.hub
        values["revision"] = trained.revision
    values["inference_mode"] = True
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _no_base(trained: Trained) -> str:
    return (
        f"The base model is {trained.config.model}, which is only on this machine: whoever gets the adapter needs that "
        "too. --to merged makes a model that stands alone."
    )


def _checked(trained: Trained, staging: Path, progress: Progress) -> list[str]:
    """Load what was written onto the base; returns what was seen.

    Raises:
        ExportError: it is not what the run trained.

    """
    if files.sha256(staging / WEIGHTS) != files.sha256(trained.folder / WEIGHTS):
        raise ExportError(f"{staging / WEIGHTS} does not read back as it was written.", hint="Is the disk broken?")
    progress("check", "base and adapter", None, None)
    loaded = loading.load(trained, progress=progress, folder=staging)
    found = probe.logits(loaded.model, probe.probes(loaded.tokenizer))
    if not all(part.isfinite().all() for part in found):
        raise ExportError("The exported adapter gives numbers that are not finite.", hint="Take another --checkpoint.")
    tokens = probe.answer(loaded.model, loaded.tokenizer)
    return [f"Loaded from this folder onto its base model: finite logits, and an answer of {len(tokens)} characters."]
