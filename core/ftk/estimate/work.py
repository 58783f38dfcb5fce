"""What there is to compute: operations and bytes of a micro-batch, and how long they take at given rates.

A LoRA step takes four operations for every weight of the base and token: two forward, two backward to the activations
(frozen weights need no gradient); recomputing takes two more. The output layer sees supervised tokens only. Around the
matmuls everything reads and writes activations, and each layer has its hundreds of small operations, which is what
counts where the model is tiny. The factors were fitted to ftk's own loop on a processor (docs/estimate.md); those of
cards are usual values.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..memory import Settings
from ..memory.models import Described
from ..memory.sizes import Sizes, sizes_of
from .rates import Rates

_MATMUL_CPU = {4: 0.95, 2: 0.90}
_MATMUL_GPU = 0.80
"""Part of the rate of a large matmul that a model's reach, where there are tokens enough; by the bytes of a number."""
_FEW_TOKENS_GPU = 200
"""Tokens of a micro-batch with which a card reaches half of that: small matmuls leave it idle."""
_ATTENTION = {4: 1.0, 2: 0.42}
"""The same for attention, by the bytes of a number; a card skips the half that is masked."""
_ATTENTION_GPU = 0.7
_PASSES_CPU = {4: 95.0, 2: 160.0}
_PASSES_GPU = 20.0
"""How often a number of each width is read or written, forward and backward, besides the matmuls. On a processor most
of that happens in caches and the exponentials count more, but the sum goes with its bandwidth all the same."""
_LOGITS_CPU, _LOGITS_GPU = 40.0, 10.0
"""The same for the logits of the supervised tokens, in float32."""
_OPERATIONS_CPU = {4: 2000, 2: 4500}
_OPERATIONS_GPU = 500
"""Small operations of a layer, forward and backward, that nothing hides (on a card: that it waits for)."""
_COMPILED_CPU, _COMPILED_GPU = 0.9, 0.6
"""What of both is left in compiled layers: on a processor between nothing saved and a quarter, by the kind of it."""
_PLAIN = 1.08
"""The plain path against the fast one: padding, and the adapters' operations one by one."""
_UNPACKING = 0.6
"""Part of the bandwidth that unpacking 4-bit weights reaches."""
_EVALUATION = 0.38
"""The forward pass alone, as a part of forward and backward."""


@dataclass(frozen=True)
class Load:
    """What a step is made of: rows and tokens, on average.

    `tokens` are those of a micro-batch, `row` those of a row, `supervised` the part that the loss counts, and
    `micro_batches` how many make up a step.
    """

    tokens: float
    row: float
    supervised: float
    micro_batches: int


@dataclass(frozen=True)
class Cost:
    """Seconds of a step, and of a held-out token; `operations` is the floating-point work of a step."""

    step: float
    evaluated_token: float
    operations: float


def cost(model: Described, settings: Settings, load: Load, rates: Rates, *, on_gpu: bool) -> Cost:
    """How long a step takes.

    Args:
        model: Which one.
        settings: How it is stored and trained.
        load: The rows.
        rates: The device's.
        on_gpu: Whether it is a card, which computes while the processor goes ahead.

    """
    sizes = sizes_of(model)
    matmul, attention = _operations(sizes, settings, load)
    reached = _MATMUL_CPU[settings.item]
    if on_gpu:
        reached = _MATMUL_GPU * load.tokens / (load.tokens + _FEW_TOKENS_GPU)
    attending = _ATTENTION_GPU if on_gpu else _ATTENTION[settings.item]
    computing = matmul / (rates.matmul * reached) + attention / (rates.matmul * attending)
    moving = _bytes(sizes, settings, load, on_gpu=on_gpu) / rates.bandwidth
    starting = sizes.layers * (_OPERATIONS_GPU if on_gpu else _OPERATIONS_CPU[settings.item]) * rates.operation
    starting *= _compiled(settings, on_gpu=on_gpu)
    once = max(computing + moving, starting) if on_gpu else computing + moving + starting
    once *= 1.0 if settings.fast else _PLAIN
    step = load.micro_batches * once + _update(sizes, settings) / rates.bandwidth
    return Cost(step, _EVALUATION * once / load.tokens, load.micro_batches * (matmul + attention))


def _operations(sizes: Sizes, settings: Settings, load: Load) -> tuple[float, float]:
    """Floating-point operations of a micro-batch: in matmuls and in attention."""
    layer = sum(inside * out for _, inside, out in sizes.linears)
    if sizes.experts > 1:  # a token goes through some of them only
        layer += (sizes.used - 1) * (3 if sizes.gated else 2) * sizes.hidden * sizes.inner
    full = settings.method == "full"
    times = (6 if full else 4) + (2 if settings.gradient_checkpointing else 0)
    adapters = 0 if full else 6 * settings.lora_rank * sum(inside + out for _, inside, out in sizes.linears)
    head = (6 if full else 4) * sizes.vocabulary * sizes.hidden * load.supervised
    attention = 14 + (4 if settings.gradient_checkpointing else 0)
    matmul = load.tokens * (sizes.layers * (times * layer + adapters) + head)
    return matmul, load.tokens * sizes.layers * attention * load.row * sizes.queries


def _bytes(sizes: Sizes, settings: Settings, load: Load, *, on_gpu: bool) -> float:
    """Bytes that a micro-batch moves besides what its matmuls keep in caches: activations, weights, unpacking."""
    width = sizes.hidden + sizes.inner * sizes.used + (sizes.hidden if settings.lora_dora else 0)
    passes = _PASSES_GPU if on_gpu else _PASSES_CPU[settings.item]
    passes *= _compiled(settings, on_gpu=on_gpu)
    passes *= 4 / 3 if settings.gradient_checkpointing else 1.0
    activations = load.tokens * sizes.layers * width * settings.item * passes
    logits = load.tokens * load.supervised * sizes.vocabulary * 4
    activations += logits * (_LOGITS_GPU if on_gpu else _LOGITS_CPU)
    weights = sizes.layers * sum(inside * out for _, inside, out in sizes.linears) * sizes.experts
    readings = 3 if settings.gradient_checkpointing else 2
    if settings.quantization == "none" or not on_gpu:  # a processor keeps them unpacked where it has room
        return activations + readings * weights * settings.item
    packed = 1.0 if settings.quantization == "8bit" else 0.52
    return activations + readings * weights * (packed + 2 * settings.item) / _UNPACKING


def _compiled(settings: Settings, *, on_gpu: bool) -> float:
    if not settings.compile:
        return 1.0
    return _COMPILED_GPU if on_gpu else _COMPILED_CPU


def _update(sizes: Sizes, settings: Settings) -> float:
    """Bytes that the optimiser moves in an update: weights, gradients and moments of all that is trained."""
    layer = sum(inside * out for _, inside, out in sizes.linears)
    if settings.method == "full":
        return 28.0 * (sizes.layers * layer + sizes.vocabulary * sizes.hidden)
    return 28.0 * settings.lora_rank * sizes.layers * sum(inside + out for _, inside, out in sizes.linears)
