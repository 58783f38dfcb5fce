"""Export a GGUF file, for llama.cpp, LM Studio or Ollama; read back and compared before it is called done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...errors import ExportError, UsageError, did_you_mean
from ...models.loading import silent
from ...models.sources import Progress
from .. import card, merging, ollama, probe, target
from ..merging import BaseWeights, Merged
from ..source import Trained
from ..target import Exported
from . import llama_cpp, reading, weights, writing

TYPES = (*weights.WRITTEN, *llama_cpp.QUANTISATIONS)
_FAR = {"f32": 0.05, "f16": 0.05, "bf16": 0.1, "q8_0": 0.25}
"""Average difference, as a part of the logits' spread, from which a file counts as broken; fewer bits have no limit.

SmolLM2-135M has 0.002 in f16 and 0.06 in q8_0, and 0.005 and 0.1 in llama.cpp; rows in a wrong order have over 1.
"""
_IN_LLAMA_CPP = 2  # times as far, because it computes in other formats


@dataclass(frozen=True)
class Options:
    """How a GGUF file is made.

    Args:
        kind: One of `TYPES`.
        modelfile: Whether a Modelfile for Ollama lies beside it.
        base: Into which weights an adapter that was trained on quantised ones is merged, see `merging`.
        llama_cpp: The folder in which llama.cpp was built, where it is not on the PATH.

    """

    kind: str = "f16"
    modelfile: bool = False
    base: BaseWeights = "dequantised"
    llama_cpp: str | None = None


def export(
    trained: Trained,
    folder: Path,
    options: Options | None = None,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Merge, write as GGUF, read it back with other code, compare tokens and logits.

    Args:
        trained: What to export.
        folder: The folder to make.
        options: How.
        force: Replace an earlier export there.
        progress: Told what goes on.

    Raises:
        ModelError: see `loading.load`.
        ExportError: the model cannot be said in GGUF, the file is not the model, or it cannot be written.
        UsageError: there is no such type.

    """
    options = options or Options()
    if options.kind not in TYPES:
        raise UsageError(
            f"There is no GGUF type {options.kind!r}.{did_you_mean(options.kind, TYPES)}",
            hint=f"Written by ftk: {', '.join(weights.WRITTEN)}; by llama.cpp: {', '.join(llama_cpp.QUANTISATIONS)}.",
        )
    target.check(folder, force=force)
    quantise = llama_cpp.quantiser(options.llama_cpp) if options.kind in llama_cpp.QUANTISATIONS else None
    merged = merging.merge(trained, base=options.base, precision="run", progress=progress)  # rounded once, when written
    own = options.kind if quantise is None else "f16"
    size, context = writing.size_of(merged.model, own), _context(merged.model.config)
    target.need_room(folder, size if quantise is None else 2 * size)
    kind = "ollama" if options.modelfile else "gguf"
    with target.made(folder, force=force) as staging:
        path = staging / f"{trained.name}-{options.kind}.gguf"
        plain = path if quantise is None else staging / "plain.gguf"
        _write(trained, merged, plain, own, progress)
        if quantise:
            progress("quantise", options.kind, None, None)
            quantise(plain, path, options.kind)
            plain.unlink()
        checks = [_merge_told(trained, merged), *_checked(path, merged, options.kind, progress)]
        notes = merged.notes + (_modelfile(trained, merged.tokenizer, path, context) if options.modelfile else [])
        (staging / "README.md").write_text(card.write(trained, kind, checks, file=path.name), encoding="utf-8")
        (staging / "LICENCE_NOTE.md").write_text(card.licence_note(trained) + "\n", encoding="utf-8")
        target.mark(staging, trained, kind, checks, type=options.kind)
    return Exported(folder, kind, checks, notes)


def _write(trained: Trained, merged: Merged, path: Path, kind: str, progress: Progress) -> None:
    about = {"base": trained.hub} if trained.hub else {}
    if trained.entry:
        about["license"] = trained.entry.license
    writing.write(
        path, merged.model, merged.tokenizer, kind, name=trained.name, about=about,
        progress=lambda done, total: progress("write", path.name, done, total),
    )  # fmt: skip


def _merge_told(trained: Trained, merged: Merged) -> str:
    return (
        f"The merged model, next to {'the trained one' if trained.whole else 'base and adapter'}: {merged.difference}."
    )


def _checked(path: Path, merged: Merged, kind: str, progress: Progress) -> list[str]:
    """Read a file as others would; returns what was seen. The model in memory is given up for it.

    Raises:
        ExportError: the file is not the model.

    """
    progress("check", path.name, None, None)
    reading.check_tokens(path, merged.tokenizer, probe.texts())
    config, dtype = merged.model.config, getattr(torch, merged.precision)
    size = sum(weight.nbytes for weight in merged.model.parameters())
    merged.model = None
    merging.let_go(size)
    apart = probe.difference(merged.logits, probe.logits(reading.model(path, config, dtype), merged.rows))
    if apart.relative > _FAR.get(kind, 1e9):
        raise ExportError(f"{path.name} does not hold the merged model: {apart}.", hint="Try --type bf16 or f32.")
    return [
        f"Read back by transformers' reader: the same tokens, {apart}.",
        _llama_cpp(path, merged, kind) if llama_cpp.installed() else "llama.cpp itself was not asked: "
        "llama-cpp-python is not installed.",
    ]  # fmt: skip


def _llama_cpp(path: Path, merged: Merged, kind: str) -> str:
    opinion = llama_cpp.Opinion(path)
    try:
        for text in probe.texts():
            if opinion.tokens(text) != merged.tokenizer(text, add_special_tokens=False)["input_ids"]:
                raise ExportError(f"llama.cpp makes other tokens of {text[:40]!r} than the model learnt.")
        apart = probe.difference(merged.logits, opinion.logits(merged.rows))
    finally:
        opinion.close()
    if apart.relative > _IN_LLAMA_CPP * _FAR.get(kind, 1e9):
        raise ExportError(f"llama.cpp computes something else from {path.name}: {apart}.")
    return f"Loaded by llama.cpp: the same tokens, {apart}."


def _context(config: Any) -> int:
    return int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 0)


def _modelfile(trained: Trained, tokenizer: Any, path: Path, context: int) -> list[str]:
    """Write the Modelfile beside a GGUF file; returns what has to be said about it."""
    text, notes = ollama.modelfile(tokenizer, path.name, trained.config.system_prompt, context)
    path.with_name("Modelfile").write_text(text, encoding="utf-8")
    return notes
