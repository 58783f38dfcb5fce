"""What a run was: its settings as a preset, and everything that is needed to know, later, how it came about."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import files
from .._version import __version__
from ..autoconfig import Plan
from ..data.dataset import load_dataset
from ..events import Warned
from ..runs import RunFolder

_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "safetensors", "tokenizers")


def begin(plan: Plan, runs_dir: Path | None = None, *, hold: bool = False) -> RunFolder:
    """Make the folder of a new run and write into it what the run will be.

    Args:
        plan: What will be done.
        runs_dir: The folder of the runs; `files.runs_dir()` by default.
        hold: Keep the lock on it: this process will write the run, and no other shall come before it.

    Raises:
        FtkError: see `RunFolder.create`.

    """
    run = RunFolder.create(plan.config.name, plan.config.model, runs_dir)
    files.write_atomic(run.config_file, config_text(run, plan))
    run.write_provenance(collect(plan), hold=hold)  # last: a folder without it is no run
    return run


def config_text(run: RunFolder, plan: Plan) -> str:
    """The resolved settings of a run as a preset that can be used again."""
    header = f"{run.name}: the settings of this run\n\nftk --preset {run.config_file}"
    return plan.config.to_yaml(header=header)


def collect(plan: Plan) -> dict[str, Any]:
    """Versions, hardware, model, data hash, seed, and the reasons of the plan; no secret is among them."""
    return {
        "ftk": __version__,
        "created": _now(),
        "python": platform.python_version(),
        "packages": versions(),
        "hardware": plan.hardware.to_dict(),
        "model": {"name": plan.config.model, "source": plan.source.kind, "revision": plan.source.revision},
        "data": data(plan),
        "seed": plan.config.seed,
        "reasons": plan.reasons,
        "config": plan.config.model_dump(),
    }


def data(plan: Plan) -> dict[str, Any]:
    """What the rows of a run are, those held out in a file of their own too: names, and hashes of their content."""
    config, found = plan.config, plan.dataset
    known: dict[str, Any] = {"name": found.name, "rows": len(found), "sha256": found.fingerprint}
    if config.eval_data:  # read before, and kept: this looks only whether the file is the same
        held_out = load_dataset(config.eval_data, columns=config.columns, skip_bad=config.skip_bad)
        known |= {"eval_rows": len(held_out), "eval_sha256": held_out.fingerprint}
    return known


def renew(run: RunFolder, plan: Plan, remarks: Sequence[Warned]) -> None:
    """Write into a resumed run what is different from now on; what it was begun with stays told beside it.

    Args:
        run: The run, held for writing.
        plan: The plan of its rest.
        remarks: What differs, in words.

    """
    known = run.provenance()
    settings, rows = plan.config.model_dump(), data(plan)
    if known.get("config") == settings and known.get("data") == rows:
        return
    changes = [*known.get("changes", []), {"time": _now(), "what": [remark.message for remark in remarks]}]
    files.write_atomic(run.config_file, config_text(run, plan))
    run.write_provenance({**known, "config": settings, "data": rows, "changes": changes})


def versions() -> dict[str, str | None]:
    """The packages that the numbers of a run come from, with their versions."""
    return {name: _version(name) for name in _PACKAGES}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
