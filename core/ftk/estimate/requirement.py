"""What a model asks of a card, as the catalogue states it."""

from __future__ import annotations

import math

from .. import memory
from ..catalog import CatalogModel
from ..memory import Settings

_CARD = "l4"
"""The card whose context and attention are assumed; others differ by some hundred MiB."""
_RECOMPUTED_FROM = 2_000_000_000
"""Weights from which activations are recomputed in the comfortable setting too."""


def vram(model: CatalogModel) -> tuple[float, float]:
    """Minimum and recommended GPU memory in GiB, rounded up to a tenth: what the catalogue states.

    Minimum: NF4, one row of 512 tokens, activations recomputed. Recommended: 16-bit weights, four rows of 512
    tokens, activations recomputed from 2 billion weights.
    """
    common = {"precision": "bfloat16", "lora_rank": model.lora.rank}
    least = Settings(quantization="nf4", batch_size=1, gradient_checkpointing=True, **common)  # type: ignore[arg-type]
    big = model.weights >= _RECOMPUTED_FROM
    best = Settings(batch_size=4, gradient_checkpointing=big, **common)  # type: ignore[arg-type]
    sizes = [memory.estimate(model, settings, _CARD, trace=False).process for settings in (least, best)]
    return tuple(math.ceil(size / 2**30 * 10) / 10 for size in sizes)  # type: ignore[return-value]
