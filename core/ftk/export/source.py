"""What is exported: the result of a run or one of its checkpoints, looked at before torch is loaded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import catalog, recipes
from ..catalog import CatalogModel
from ..config import RunConfig
from ..errors import ExportError, ModelError
from ..runs import RunFolder

WEIGHTS = "adapter_model.safetensors"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")
_STEP = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class Trained:
    """What a run trained.

    `folder` holds the adapter, or with `whole` the model all of whose weights were trained; `step` is that of a
    checkpoint, None for the run's result. `hub` is the base model's id on the Hub, where it has one.
    """

    run: RunFolder
    folder: Path
    config: RunConfig
    provenance: dict[str, Any]
    step: int | None
    whole: bool

    @property
    def name(self) -> str:
        """What it is called: the run's name, and the step where it is a checkpoint."""
        return self.run.name if self.step is None else f"{self.run.name}-step{self.step}"

    @property
    def entry(self) -> CatalogModel | None:
        """The base model's entry in the catalogue."""
        return catalog.find(self.config.model) or catalog.find(str(self._base.get("name") or ""))

    @property
    def hub(self) -> str | None:
        """The base model's id on the Hub; None for a folder or a file of this machine that the catalogue lacks."""
        if self.entry:
            return self.entry.hub
        return self.config.model if self._base.get("source") in ("hub", "cache") else None

    @property
    def revision(self) -> str | None:
        """The commit of the base model on the Hub, where the run knows it."""
        found = self._base.get("revision")
        return found if isinstance(found, str) and self.hub else None

    @property
    def _base(self) -> dict[str, Any]:
        found = self.provenance.get("model")
        return found if isinstance(found, dict) else {}


def find(name: str, checkpoint: int | None = None, runs_dir: Path | None = None) -> Trained:
    """What a run trained.

    Args:
        name: The run's name or folder.
        checkpoint: The step of a checkpoint; the run's result by default.
        runs_dir: The folder of the runs; `files.runs_dir()` by default.

    Raises:
        RunError: there is no such run.
        ExportError: it has no result, or no such checkpoint.
        ModelError: what it trained is damaged.

    """
    run = RunFolder.open(name, runs_dir)
    provenance = run.provenance()
    config = recipes.load(str(run.config_file)).config
    whole = config.method == "full"
    parent = run.path if checkpoint is None else _checkpoint(run, checkpoint)
    folder = parent / ("model" if whole else "adapter")
    if not folder.is_dir():
        raise ExportError(
            f"The run {run.name!r} has no result yet: it is {run.state()}.",
            hint=f"Finish it: ftk resume {run.name}.{_offered(run)}",
        )
    _check(folder, whole=whole)
    return Trained(run, folder, config, provenance, checkpoint, whole)


def steps(run: RunFolder) -> list[int]:
    """The steps of a run's checkpoints, in order."""
    if not run.checkpoints.is_dir():
        return []
    return sorted(int(match[1]) for path in run.checkpoints.iterdir() if (match := _STEP.fullmatch(path.name)))


def _offered(run: RunFolder) -> str:
    known = steps(run)
    return f" Or take a checkpoint: --checkpoint {', '.join(map(str, known))}" if known else ""


def _checkpoint(run: RunFolder, step: int) -> Path:
    from ..training import checkpoint

    path = run.checkpoints / f"step-{step:06d}"
    if not path.is_dir():
        raise ExportError(f"The run {run.name!r} has no checkpoint of step {step}.", hint=_offered(run).strip() or None)
    if not checkpoint.intact(path):
        raise ExportError(
            f"The checkpoint of step {step} is damaged: its files are not those of its manifest.",
            hint=_offered(run).strip(),
        )
    return path


def _check(folder: Path, *, whole: bool) -> None:
    """See that a folder is complete as far as that can be told without reading the weights.

    Raises:
        ModelError: something is missing or cannot be read.

    """
    needed = ("config.json",) if whole else ("adapter_config.json", WEIGHTS)
    for name in needed:
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is incomplete: {name} is missing.", hint="Take a checkpoint: --checkpoint N.")
    try:
        if not isinstance(json.loads((folder / needed[0]).read_text(encoding="utf-8")), dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder / needed[0]} is damaged: {error}.", hint="Take a checkpoint: --checkpoint N."
        ) from None
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ModelError(
            f"{folder} holds no tokenizer.",
            hint="Copy tokenizer.json and tokenizer_config.json there, from a checkpoint or from the base model.",
        )
