"""Finished runs whose adapter is made up: the same folders as training leaves, in a fraction of the time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftk.config import build
from ftk.events import Evaluation, Finished, Started
from ftk.runs import Journal, RunFolder
from tests import tiny


def save_base(folder: Path, architecture: str) -> Path:
    """Write a tiny model whose norms and biases are no mere ones and noughts, as those of real models are."""
    import torch
    from transformers import AutoModelForCausalLM

    config = tiny.config(architecture)
    if hasattr(config, "query_pre_attn_scalar"):
        config.query_pre_attn_scalar = config.head_dim  # as in the models of the catalogue
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def make(
    parent: Path, name: str, base: Path, *, seed: int = 1, provenance: dict[str, Any] | None = None, **settings: Any
) -> RunFolder:
    """A finished run on the model of a folder, with an adapter of random weights, or with all weights changed.

    Args:
        parent: The folder of the runs.
        name: The run's name.
        base: The folder of the base model.
        seed: Of the weights.
        provenance: What `run.json` says besides.
        settings: Keys of `RunConfig`.

    """
    given = {
        "model": str(base), "data": "/home/somebody/secret/rows.jsonl", "name": name, "lora_rank": 4, "lora_alpha": 8.0,
        "precision": "float32", "quantization": "none", "device": "cpu", "learning_rate": 1e-3, "max_steps": 6,
        "compare": ["what I asked in private"],
    }  # fmt: skip
    config = build({**given, **settings})
    run = RunFolder.create(name, str(base), parent)
    run.config_file.write_text(config.to_yaml())
    _train(run, base, config, seed)
    journal = Journal(run)
    journal(Started(run=name, folder=str(run.path), model=str(base), data="rows.jsonl", version="1"))
    journal(
        Evaluation(step=0, loss=3.0, perplexity=20.0, rows=1, supervised_tokens=9, best=True, seconds=0.1)
    )  # fmt: skip
    journal(Evaluation(step=6, loss=1.25, perplexity=3.49, rows=1, supervised_tokens=9, best=True, seconds=0.1))
    journal(
        Finished(
            step=6, adapter=str(run.trained), loss_before=3.0, loss_after=1.25, train_loss=1.5, seconds=1.0,
            training_s=1.0, tokens=1234, peak_memory_bytes=1,
        )
    )  # fmt: skip
    journal.close()
    run.write_provenance(
        {
            "model": {"name": str(base), "source": "folder", "revision": None},
            "data": {"name": "/home/somebody/secret/rows.jsonl", "rows": 16, "sha256": "ab" * 32},
            "packages": {"torch": "2", "peft": None},
            "config": json.loads(config.model_dump_json()),
            **(provenance or {}),
        }
    )
    return run


def _train(run: RunFolder, base: Path, config: Any, seed: int) -> None:
    import torch

    from ftk.models import adapters, loading
    from ftk.models.sources import Source

    loaded = loading.load(Source(str(base), "folder", base, None, None))
    torch.manual_seed(seed)
    if config.method == "full":
        model, target = loaded.model, run.model
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.05 * torch.randn_like(weight)
    else:
        model, target = adapted(loaded.model, loaded.info.architecture, config), run.adapter
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.2)
                elif "magnitude" in name:
                    weight *= 1.1
    adapters.save(model, loaded.tokenizer, target)


def adapted(model: Any, architecture: str, config: Any) -> Any:
    """The model with a fresh adapter."""
    from ftk.models import adapters

    return adapters.add(
        model, rank=config.lora_rank, alpha=config.lora_alpha, dropout=0.0,
        targets=adapters.default_targets(architecture), rslora=config.lora_rslora, dora=config.lora_dora,
    )  # fmt: skip


def checkpoint(run: RunFolder, step: int, *, base: str = "") -> Path:
    """A checkpoint of a run: its adapter or model, with a manifest that is right."""
    import shutil

    from ftk import files

    folder = run.checkpoints / f"step-{step:06d}"
    shutil.copytree(run.trained, folder / run.trained.name)
    (folder / "optimizer.safetensors").write_bytes(b"state")
    (folder / "state.json").write_text(json.dumps({"step": step, "base": base}))
    listed = {
        str(file.relative_to(folder)): [file.stat().st_size, files.sha256(file)]
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    (folder / "manifest.json").write_text(json.dumps(listed))
    return folder
