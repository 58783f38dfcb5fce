"""Combine the adapters of several runs into one; the result is a run like any other, which was not trained.

``linear`` is the exact weighted sum of what the adapters add to the model: their matrices are put side by side (peft's
``cat``), and the rank is the sum of theirs. peft's own ``linear`` adds A to A and B to B, whose product has cross terms
that nobody asked for. ``ties`` (arXiv:2306.01708) and ``dare`` (arXiv:2311.03099) work on the matrices one by one and
need equal ranks.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from .. import dataspec, hardware
from .._version import __version__
from ..errors import ExportError, UsageError
from ..events import Event, Finished, Started
from ..models import fingerprint
from ..models.loading import silent
from ..models.sources import Progress
from ..runs import Journal, RunFolder
from ..training import provenance, trained
from . import loading, probe
from .source import Trained

Method = Literal["linear", "ties", "dare", "dare-ties"]
METHODS: tuple[Method, ...] = get_args(Method)
_IN_PEFT = {"linear": "cat", "ties": "ties", "dare": "dare_linear", "dare-ties": "dare_ties"}


@dataclass(frozen=True)
class Recipe:
    """How adapters are combined.

    Args:
        weights: How much of each; equal parts that add up to 1 by default.
        method: See the module.
        density: Part of the numbers that ``ties`` and ``dare`` keep, from above 0 to 1; ``linear`` keeps all.
        seed: Of what ``dare`` leaves out at random.
        name: The new run's name; made of the model, date and time by default.

    """

    weights: Sequence[float] = ()
    method: Method = "linear"
    density: float = 0.5
    seed: int = 0
    name: str | None = None


@dataclass(frozen=True)
class Combined:
    """The run that came out, and what has to be said about it."""

    run: RunFolder
    notes: list[str]


def combine(
    parts: Sequence[Trained], recipe: Recipe, *, runs_dir: Path | None = None, progress: Progress = silent
) -> Combined:
    """Make a run whose adapter is a combination of others.

    Args:
        parts: What is combined; the first decides settings, tokenizer and chat template.
        recipe: How.
        runs_dir: The folder of the runs; `files.runs_dir()` by default.
        progress: Told what goes on.

    Raises:
        UsageError: the recipe does not fit the parts.
        ExportError: the adapters do not belong together.
        ModelError: the base is gone, or an adapter is damaged.

    """
    begin = time.monotonic()
    weights = _checked(parts, recipe)
    _same_base(parts)
    base = loading.load_base(parts[0], progress=progress)
    mark = fingerprint.fingerprint(base.model)
    tokenizer = loading.load_tokenizer(parts[0].folder)
    notes = _tokenizers(parts, tokenizer)
    progress("merge", ", ".join(part.name for part in parts), None, None)
    model, rank = _combined(base.model, parts, weights, recipe)
    if not all(part.isfinite().all() for part in probe.logits(model, probe.probes(tokenizer))):
        raise ExportError("The combined adapter gives numbers that are not finite.", hint="Try smaller --weights.")
    run = RunFolder.create(recipe.name, parts[0].config.model, runs_dir)
    about = {
        "runs": [part.name for part in parts], "weights": weights, "method": recipe.method, "seed": recipe.seed,
        "density": None if recipe.method == "linear" else recipe.density,
    }  # fmt: skip
    try:
        _write(run, parts[0], model, tokenizer, rank, about | {"base": mark}, time.monotonic() - begin)
    except BaseException as error:
        shutil.rmtree(run.path, ignore_errors=True)  # it was made just now, by this call
        if isinstance(error, OSError):
            raise ExportError(f"{run.path} could not be written: {error.strerror or error}.") from error
        raise
    return Combined(run, notes)


def _checked(parts: Sequence[Trained], recipe: Recipe) -> list[float]:
    """The weights of the parts.

    Raises:
        UsageError: they are too few or too many, or a number is out of range.

    """
    if len(parts) < 2:
        raise UsageError("Combining takes two runs or more.", hint="ftk merge RUN_A RUN_B --weights 0.7,0.3")
    if recipe.method not in METHODS:
        raise UsageError(f"There is no method {recipe.method!r}.", hint=f"Known: {', '.join(METHODS)}.")
    weights = list(recipe.weights) or [1 / len(parts)] * len(parts)
    if len(weights) != len(parts) or not all(map(math.isfinite, weights)) or not any(weights):
        raise UsageError(f"{len(parts)} runs take {len(parts)} weights that are numbers, and not all 0: {weights}.")
    if not 0 < recipe.density <= 1:
        raise UsageError(f"density: {recipe.density} is not accepted: must be above 0 and at most 1.")
    for part in parts:
        loading.need_adapter(part, "ftk merge")
    return weights


def _same_base(parts: Sequence[Trained]) -> None:
    """See that all adapters belong to one base model.

    Raises:
        ExportError: they do not.

    """
    first = parts[0]
    for other in parts[1:]:
        one, two = _mark(first), _mark(other)
        if fingerprint.differ(one, two) and first.config.quantization == other.config.quantization == "none":
            raise ExportError(
                f"{first.name!r} and {other.name!r} were trained on different weights of {first.config.model}.",
                hint="Adapters can be combined only where their base model is one and the same.",
            )
        if _base(first) != _base(other) and not (one and one == two):
            raise ExportError(
                f"{first.name!r} was trained on {_base(first)}, and {other.name!r} on {_base(other)}.",
                hint="Adapters can be combined only where their base model is one and the same.",
            )


def _base(part: Trained) -> str:
    return part.hub or str(dataspec.expanded(part.config.model).absolute())


def _mark(part: Trained) -> str:
    """The fingerprint of the base that a run was trained on; empty where it is not known."""
    return loading.known_base(part)


def _tokenizers(parts: Sequence[Trained], first: Any) -> list[str]:
    notes = []
    for part in parts[1:]:
        other = loading.load_tokenizer(part.folder)
        if other.get_vocab() != first.get_vocab():
            raise ExportError(f"The tokenizers of {parts[0].name!r} and {part.name!r} differ.")
        if other.chat_template != first.chat_template:
            notes.append(f"{part.name} was trained with another chat template; that of {parts[0].name} is taken.")
    return notes


def _combined(base: Any, parts: Sequence[Trained], weights: list[float], recipe: Recipe) -> tuple[Any, int]:
    """The base with the combined adapter on it, and its rank.

    Raises:
        ExportError: the adapters are of kinds that cannot be combined.

    """
    import torch
    from peft import PeftModel

    names = [f"part{number}" for number in range(len(parts))]
    for part in parts:
        loading.check_adapter(part.folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = PeftModel.from_pretrained(base, str(parts[0].folder), names[0], local_files_only=True)
            for name, part in zip(names[1:], parts[1:], strict=True):
                model.load_adapter(str(part.folder), name, local_files_only=True)
    except Exception as error:
        raise ExportError(f"The adapters do not fit one model: {' '.join(str(error).split())[:200]}") from error
    configs = [model.peft_config[name] for name in names]
    if any(config.use_dora for config in configs):
        raise ExportError("Adapters with DoRA cannot be combined: they also hold lengths, which do not add up.")
    ranks = [config.r for config in configs]
    if recipe.method != "linear" and len(set(ranks)) > 1:
        raise ExportError(
            f"--method {recipe.method} needs adapters of one rank; these have {', '.join(map(str, ranks))}.",
            hint="--method linear takes any ranks.",
        )
    for config in configs:  # the new adapter gets those of the first
        config.use_rslora, config.init_lora_weights, config.eva_config = False, True, None
    density = {} if recipe.method == "linear" else {"density": recipe.density}
    torch.manual_seed(recipe.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.add_weighted_adapter(names, weights, "default", combination_type=_IN_PEFT[recipe.method], **density)
    model.set_adapter("default")
    for name in names:
        model.delete_adapter(name)
    dtype = base.get_input_embeddings().weight.dtype
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.to(dtype)
    return model.eval(), int(model.peft_config["default"].r)


def _write(
    run: RunFolder, first: Trained, model: Any, tokenizer: Any, rank: int, about: dict[str, Any], seconds: float
) -> None:
    """Write the run: settings, adapter, journal, and last of all its `run.json`."""
    config = first.config.merged(
        {"name": run.name, "lora_rank": rank, "lora_alpha": float(rank), "lora_rslora": False, "lora_init": "random"}
    )
    header = f"{run.name}: combined from {', '.join(about['runs'])}\n\nftk --preset {run.config_file}"
    run.config_file.write_text(config.to_yaml(header=header), encoding="utf-8")
    trained.write(model, tokenizer, run.adapter)
    data = first.provenance.get("data") or {}
    happened: list[Event] = [
        Started(
            run=run.name, folder=str(run.path), model=config.model, data=str(data.get("name") or config.data),
            version=__version__,
        ),
        Finished(
            step=0, adapter=str(run.adapter), loss_before=None, loss_after=None, train_loss=None,
            seconds=round(seconds, 3), training_s=0.0, tokens=0, peak_memory_bytes=hardware.peak_process_memory(),
            reason=f"combined from {', '.join(about['runs'])}",
        ),
    ]  # fmt: skip
    journal = Journal(run)
    with contextlib.closing(journal):
        for event in happened:
            journal(event)
    run.write_provenance(
        {
            "ftk": __version__,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "packages": provenance.versions(),
            "model": first.provenance.get("model"),
            "data": data,
            "seed": about["seed"],
            "config": config.model_dump(),
            "combined": about,
        }
    )
