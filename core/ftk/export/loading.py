"""The model that a run trained, in memory: the base as it was, with the adapter, both seen to be the right ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import autoconfig
from ..errors import ExportError, ModelError
from ..models import adapters, fingerprint, loading, sources
from ..models.loading import LoadedModel
from ..models.sources import Progress, Source
from ..training import checkpoint
from .source import WEIGHTS, Trained


def load(
    trained: Trained,
    *,
    quantization: Any = None,
    precision: Any = None,
    progress: Progress = loading.silent,
    folder: Path | None = None,
) -> LoadedModel:
    """Load what a run trained, ready to answer.

    Args:
        trained: What.
        quantization: How the base is stored; as in the run by default.
        precision: The number format; as in the run by default.
        progress: Told what goes on.
        folder: Another folder of the same adapter or model.

    Returns:
        The base with its adapter on, or the model all of whose weights were trained.

    Raises:
        ModelError: the base is gone or another one, or the adapter is damaged or does not fit.

    """
    folder = folder or trained.folder
    if trained.whole:
        return _whole(trained, folder, precision, progress)
    base = load_base(trained, quantization=quantization, precision=precision, progress=progress)
    return put_on(base, folder)


def load_base(
    trained: Trained, *, quantization: Any = None, precision: Any = None, progress: Progress = loading.silent
) -> LoadedModel:
    """Load the base model of a run, and see that it is the one that the run had.

    Raises:
        ModelError: it is gone, or another one.

    """
    config, stored = trained.config, _fixed(quantization or trained.config.quantization, "none")
    base = loading.load(
        sources.fetch(_located(trained), progress),
        quantization=stored,
        precision=_fixed(precision or config.precision, "float32"),
        device=device_of(config.device),
        progress=progress,
    )
    if stored == config.quantization == "none":  # packing is not the same everywhere
        _check_base(trained, base.model)
    return base


def put_on(base: LoadedModel, folder: Path) -> LoadedModel:
    """A base model with the adapter of a folder, and with the tokenizer that lies beside that.

    Raises:
        ModelError: the adapter is damaged or does not fit.

    """
    from peft import get_peft_model_state_dict

    stored = check_adapter(folder)
    model = adapters.load(base.model, folder)
    known = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if odd := sorted(stored - known):  # what is missing was seen by `adapters.load`
        raise ModelError(f"{folder / WEIGHTS} does not fit: this model has no {odd[0]} ({len(odd)} such in all).")
    model.eval()
    return LoadedModel(model, load_tokenizer(folder), base.info)


def check_adapter(folder: Path) -> set[str]:
    """Read an adapter's weights; returns their names.

    Raises:
        ModelError: the file is cut or damaged, or holds what is not a number.

    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    hint = "Take a checkpoint: --checkpoint N."
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged: {' '.join(str(error).split())[:160]}", hint=hint) from None
    if broken := [name for name, weight in weights.items() if not weight.isfinite().all()]:
        raise ModelError(f"{path} is damaged: {broken[0]} holds numbers that are not finite.", hint=hint)
    return set(weights)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder.

    Raises:
        ModelError: it cannot be read.

    """
    return loading.load_tokenizer(Source(str(folder), "folder", folder, None, None))


def run_precision(trained: Trained) -> str:
    """The number format in which a run computed."""
    return str(_fixed(trained.config.precision, "float32"))


def stored_precision(trained: Trained) -> str:
    """The number format in which the base model is stored; that of the run where nobody says.

    Raises:
        ModelError: the base is gone.

    """
    folder = trained.folder if trained.whole else sources.fetch(_located(trained), loading.silent).path
    assert folder is not None
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read: {error}.") from None
    text = values.get("text_config") or {}
    found = values.get("dtype") or values.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    return str(found) if found in ("float32", "bfloat16", "float16") else run_precision(trained)


def device_of(device: str) -> str:
    """The device that a run was made on if this machine has it, else ``cpu``."""
    import torch

    kind = device.partition(":")[0]
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}.get(kind, lambda: False)
    return device if there() else "cpu"


def _located(trained: Trained) -> Source:
    """Where the base model is now.

    Raises:
        ModelError: nowhere.

    """
    config = trained.config
    if trained.revision and not config.revision and (path := sources.cached_path(str(trained.hub), trained.revision)):
        return Source(config.model, "cache", path, trained.hub, trained.entry, revision=trained.revision)
    try:
        return autoconfig.located(config)
    except ModelError as error:
        known = _noted_base(trained)
        if known and Path(known).is_dir():
            return sources.locate(known, trust_remote_code=config.trust_remote_code)
        raise ModelError(
            f"The base model of {trained.run.name!r} cannot be had: {error.message}", hint=error.hint
        ) from error


def _noted_base(trained: Trained) -> str:
    found = json.loads((trained.folder / "adapter_config.json").read_text(encoding="utf-8"))
    return str(found.get("base_model_name_or_path") or "")


def known_base(trained: Trained) -> str:
    """The fingerprint of the base that a run had; empty where nobody noted it."""
    path, _ = checkpoint.newest(trained.run.checkpoints)
    if path:
        return checkpoint.read_progress(path).base
    combined = trained.provenance.get("combined")
    return str(combined.get("base") or "") if isinstance(combined, dict) else ""


def _check_base(trained: Trained, model: Any) -> None:
    if fingerprint.differ(known_base(trained), fingerprint.fingerprint(model)):
        raise ModelError(
            f"The base model is not the one that {trained.run.name!r} was trained on: its weights differ.",
            hint="Put the old model back: an adapter fits only the weights that it was trained with.",
        )


def _fixed(value: Any, otherwise: str) -> Any:
    """A setting, or what takes its place in a recipe that leaves it open."""
    return otherwise if value == "auto" else value


def _whole(trained: Trained, folder: Path, precision: Any, progress: Progress) -> LoadedModel:
    sources.check_folder(folder)
    loaded = loading.load(
        Source(trained.config.model, "folder", folder, None, trained.entry),
        precision=_fixed(precision or trained.config.precision, "float32"),
        device=device_of(trained.config.device),
        progress=progress,
    )
    if broken := [name for name, weight in loaded.model.named_parameters() if not weight.isfinite().all()]:
        raise ModelError(f"{folder} is damaged: {broken[0]} holds numbers that are not finite.")
    return loaded._replace(info=replace(loaded.info, quantization="none"))


def need_adapter(trained: Trained, what: str) -> None:
    """Raise `ExportError` where there is no adapter because all weights were trained."""
    if trained.whole:
        raise ExportError(
            f"{what} needs an adapter, and {trained.run.name!r} trained every weight of its model.",
            hint="Use --to merged, gguf or ollama: they take the whole model.",
        )
