"""One model out of base and adapter, and how far it is from the two.

An adapter that was trained on 4-bit weights has learnt around their rounding. Merged into those very weights
(``dequantised``) the model stays what was trained and measured; merged into the ``original`` ones, which are finer, it
becomes another model: often as good, but not the one whose losses are in the run. The difference is measured.
"""

from __future__ import annotations

import gc
import warnings
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ExportError
from ..models import adapters, loading
from ..models.sources import Progress
from . import loading as our
from . import probe
from .probe import Difference
from .source import Trained

BaseWeights = Literal["dequantised", "original"]
_LARGE = 1 << 29
_ROUGH = 0.05
"""Average difference from which a person is told that rounding matters."""
_FAR = 0.2
"""Average difference, as a part of the logits' spread, from which a merge into the same weights counts as broken."""


@dataclass
class Merged:
    """A merged model in memory.

    `difference` tells how far it is from base and adapter as they were trained; `rows` are the probes and `logits`
    what the merged model makes of them; `precision` is the number format of its weights.
    """

    model: Any
    tokenizer: Any
    difference: Difference
    rows: list[list[int]]
    logits: list[Any]
    precision: str
    notes: list[str]


def merge(
    trained: Trained,
    *,
    base: BaseWeights = "dequantised",
    precision: str = "auto",
    progress: Progress = loading.silent,
) -> Merged:
    """Merge what a run trained into one model, and compare it with what was trained.

    Args:
        trained: What; where all weights were trained there is nothing to merge, and the model is taken as it is.
        base: Into which weights, where the adapter was trained on quantised ones.
        precision: Number format of the result; ``auto``: that in which the base is stored, 16 bits for most; ``run``:
            that in which the run computed.
        progress: Told what goes on.

    Raises:
        ModelError: see `loading.load`.
        ExportError: the result is not what was trained.

    """
    loaded = our.load(trained, progress=progress)
    tokenizer, quantization = loaded.tokenizer, loaded.info.quantization
    rows = probe.probes(tokenizer)
    progress("compare", "base and adapter", None, None)
    reference = probe.logits(loaded.model, rows)
    wanted = {"auto": our.stored_precision, "run": our.run_precision}.get(precision, lambda _: precision)(trained)
    model = loaded.model
    del loaded  # two models at a time would be one too many
    progress("merge", trained.name, None, None)
    if quantization != "none":
        model = _with_whole_weights(trained, model, base, progress)
    if not trained.whole:
        model = _merged(model)
    _round(model, wanted)
    difference = probe.difference(reference, probe.logits(model, rows))  # of the weights: both compute in one format
    model = _in_format(model, wanted)
    logits = probe.logits(model, rows)
    _check(difference, exact=quantization == "none" or base == "dequantised")
    notes = [] if quantization == "none" else [_explained(quantization, base)]
    if precision == "auto" and quantization == "none" and difference.relative > _ROUGH:
        notes.append(f"{wanted} rounds these weights noticeably; --precision float32 keeps them as they were trained.")
    return Merged(model, our.load_tokenizer(trained.folder), difference, rows, logits, wanted, notes)


def _with_whole_weights(trained: Trained, model: Any, base: BaseWeights, progress: Progress) -> Any:
    """Base and adapter with whole weights in place of quantised ones, in the format in which the run computed."""
    import torch

    plain = model.unload()
    del model
    if base == "original":
        size = sum(weight.nbytes for weight in plain.parameters())
        del plain
        let_go(size)
        return our.load(trained, quantization="none", progress=progress).model
    precision = our.run_precision(trained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = plain.dequantize(getattr(torch, precision))
    return adapters.load(_in_format(plain, precision), trained.folder)


def _merged(model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's remarks on tied weights: no adapter of ftk lies on the embedding
        return model.merge_and_unload(safe_merge=True)


def let_go(size: int) -> None:
    """Give the memory of a model back that nobody holds any more; of a small one it can wait.

    Args:
        size: Its bytes.

    """
    if size > _LARGE:
        gc.collect()


def _round(model: Any, precision: str) -> None:
    """Give the weights the values that they have in a number format, and leave them in their own."""
    import torch

    for weight in model.parameters():
        weight.data = weight.data.to(getattr(torch, precision)).to(weight.dtype)


def _in_format(model: Any, precision: str) -> Any:
    """The model with weights of a number format; its buffers (the angles of positions) keep theirs, as when loaded."""
    import torch

    model.config.dtype = dtype = getattr(torch, precision)
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)
    return model.eval()


def _explained(quantization: str, base: BaseWeights) -> str:
    if base == "original":
        return (
            f"The adapter was trained on {quantization} weights and is merged into the original ones: finer weights, "
            "but not those that the adapter learnt around; the difference tells how far the result is from what was "
            "trained. --base dequantised keeps to what was trained."
        )
    return (
        f"The adapter was trained on {quantization} weights and is merged into these very weights, unpacked: the "
        "result is the model that was trained and measured. --base original takes the original weights."
    )


def _check(difference: Difference, *, exact: bool) -> None:
    if difference.relative == float("inf") or (exact and difference.relative > _FAR):
        raise ExportError(
            f"The merged model is not what was trained: {difference}.",
            hint="Try --precision float32; where that does not help, this is a fault of ftk or of peft.",
        )
