"""A closed formula for what a trace would find: for an answer at once, and where a model's code cannot be traced.

It describes the decoders of today (norm, attention, norm, a gated product or a plain one) by their widths and counts
what ftk's passes keep of each layer. The factors were read off traces, and the tests hold the two against each other.
"""

from __future__ import annotations

from typing import Any

from ..models.adapters import default_targets
from . import timeline
from .card import Card
from .models import Described
from .settings import Settings
from .sizes import Sizes, sizes_of
from .stages import Census, Stage, Trace
from .stored import int8_bytes, nf4_bytes
from .timeline import Peak

_CHUNK = 2**24
"""Logits of a chunk of the loss, as `training.fast.head` has it."""
_CACHED = 2**19
"""Logits that a processor works on at once, as `training.fast.head` has it."""
_NORM_BACK = 20
"""Bytes for each number of the width that the backward pass of a norm in float32 takes at once."""


def census(model: Described, settings: Settings) -> Census:
    """What the tensors of a model take, from its widths alone."""
    sizes = sizes_of(model)
    linears = sizes.linears
    embedding = sizes.vocabulary * sizes.hidden
    in_layers = sizes.layers * sum(inside * out for _, inside, out in linears)
    experts = sizes.layers * (sizes.experts - 1) * (3 if sizes.gated else 2) * sizes.hidden * sizes.inner
    norms = (sizes.layers * sizes.norms + 1) * sizes.hidden
    counted = embedding * (1 if sizes.tied else 2) + in_layers + experts + norms + sizes.places * sizes.hidden
    parameters = model.entry.weights if model.entry else counted
    item, packed = settings.item, 0
    if settings.quantization == "nf4":
        packed = sizes.layers * sum(nf4_bytes(inside * out) for _, inside, out in linears)
    elif settings.quantization == "8bit":
        packed = sizes.layers * sum(int8_bytes(out, inside * out) for _, inside, out in linears)
    plain = parameters - (in_layers if packed else 0)
    trained = _trained(sizes, model.architecture, settings, parameters)
    return Census(
        weights=packed + item * plain,
        unpacked=item * sizes.layers * sum(inside * out for _, inside, out in _unpacked(sizes, model, settings)),
        adapters=item * sum(trained) if settings.method == "lora" else 0,
        trained=trained,
        copied=trained if item < 4 else (),
        parameters=parameters,
        packed=in_layers if packed else 0,
    )


def _trained(sizes: Sizes, architecture: str, settings: Settings, parameters: int) -> tuple[int, ...]:
    """The number of weights of every trained tensor."""
    if settings.method == "full":
        linears = [inside * out for _, inside, out in sizes.linears] * sizes.layers
        embeddings = [sizes.vocabulary * sizes.hidden] * (1 if sizes.tied else 2)
        return (*linears, *embeddings, max(0, parameters - sum(linears) - sum(embeddings)))
    found: list[int] = []
    for _, inside, out in _adapted(sizes, architecture, settings):
        found += [settings.lora_rank * inside, settings.lora_rank * out]
        found += [out] if settings.lora_dora else []
    return tuple(found * sizes.layers)


def _adapted(sizes: Sizes, architecture: str, settings: Settings) -> list[tuple[str, int, int]]:
    """The linear layers that get an adapter."""
    if settings.method == "full":
        return []
    targets: Any = settings.lora_targets or default_targets(architecture)
    if isinstance(targets, str):
        return sizes.linears
    names = {target.rsplit(".", 1)[-1] for target in targets}
    return [linear for linear in sizes.linears if linear[0] in names]


def _unpacked(sizes: Sizes, model: Described, settings: Settings) -> list[tuple[str, int, int]]:
    """The 4-bit layers that may be kept in plain numbers too: those whose adapter `training.fast.lora` fuses."""
    fuses = settings.quantization == "nf4" and not settings.lora_dora and not settings.lora_dropout
    return _adapted(sizes, model.architecture, settings) if fuses else []


def peak(model: Described, settings: Settings, card: Card | None, *, unpacked: bool) -> Peak:
    """The moment of the most, from the widths alone."""
    return timeline.peak(trace(model, settings, card, unpacked=unpacked))


def trace(model: Described, settings: Settings, card: Card | None, *, unpacked: bool) -> Trace:
    """The stages of a micro-batch as the formula sees them; all layers are alike to it.

    Args:
        model: Which one.
        settings: What is done.
        card: The card; None for a processor.
        unpacked: Whether 4-bit weights are kept in plain numbers too, so that none is unpacked in between.

    """
    sizes = sizes_of(model)
    item, rows, length = settings.item, settings.batch_size, settings.max_length
    tokens = rows * length
    stream = tokens * item * sizes.hidden
    fast = settings.fast and (card is None or (card.packs_rows and item == 2 and not sizes.capped))
    kept = tokens * _kept(sizes, model.architecture, settings) + (0 if fast else rows * _padded(sizes, settings))
    passing = tokens * max(2 * item * sizes.inner * sizes.used, _NORM_BACK * sizes.hidden)
    forward = tokens * (item + (0 if item == 4 else 2)) * sizes.hidden * (2 if sizes.norms > 2 else 1)
    plain = _unpacked(sizes, model, settings) if unpacked else []
    in_turn = [linear for linear in sizes.linears if linear not in plain]
    if settings.quantization != "none" and in_turn:
        widest = item * max(inside * out for _, inside, out in in_turn)
        passing, forward = passing + widest, forward + widest
    passed = tokens * item * (9 * sizes.inner * sizes.used + 16 * (sizes.hidden + sizes.queries))
    stays = stream if settings.gradient_checkpointing else kept
    gradients = item * sum(_trained(sizes, model.architecture, settings, 0)[:-1]) // sizes.layers
    if settings.method == "full":
        gradients = item * sum(inside * out for _, inside, out in sizes.linears)
    mask = 0 if fast else rows * length * length * (1 + item)
    loss = _loss(sizes, settings, card, tokens)
    output = item * sizes.vocabulary * sizes.hidden if settings.method == "full" else 0
    stages = [
        Stage("begin", stream + mask, stream + mask),
        Stage("forward all", kept + forward, stays),
        Stage("loss", loss, 2 * stream),
        Stage("turn", 5 * stream + 2 * output, output - 2 * stream, 10 * stream + 3 * output),
        Stage("backward all", (kept if settings.gradient_checkpointing else 0) + passing, gradients - stays, passed),
    ]
    left = {"backward all": gradients, "turn": output}
    return Trace(("all",) * sizes.layers, {stage.name: stage for stage in stages}, left)


def _kept(sizes: Sizes, architecture: str, settings: Settings) -> int:
    """Bytes of each token that the forward pass of a layer keeps for the backward pass."""
    item, hidden, keys, queries = settings.item, sizes.hidden, sizes.keys, sizes.queries
    inputs = 2 * hidden + 2 * queries + 2 * keys + (4 if sizes.gated else 5) * sizes.inner * sizes.used
    if architecture in ("gpt2", "phi3"):  # values stay a part of what the fused matmul gave
        inputs += queries + keys
    if architecture == "gpt2":
        inputs -= 2 * queries  # and so do queries and keys, which nothing turns
    if settings.method == "full":
        inputs += sizes.norms * hidden  # the weights of the norms are trained too
    norms = (item if sizes.plain_norms else 4) * sizes.norms * hidden
    if sizes.head_norms:
        norms += 4 * (queries + keys)
    ranks = settings.lora_rank * len(_adapted(sizes, architecture, settings))
    return item * (inputs + ranks) + norms + 4 * sizes.heads


def _padded(sizes: Sizes, settings: Settings) -> int:
    """Bytes of each row that a layer keeps besides where rows are padded: keys for every query, scores if capped."""
    item, length = settings.item, settings.max_length
    if sizes.capped:
        return (4 + 4 * item) * sizes.heads * length * length
    return item * length * (3 * sizes.queries - 2 * sizes.keys if sizes.queries > sizes.keys else sizes.queries)


def _loss(sizes: Sizes, settings: Settings, card: Card | None, tokens: int) -> int:
    """Bytes that the loss takes at most: a chunk's logits, and the logarithms of those worked on at once; or all."""
    item = settings.item
    targets = max(1, round(tokens * settings.supervised))
    rest = int(2 * item * targets * sizes.hidden + item * tokens * sizes.hidden)
    bent = item if sizes.capped else 0
    if not settings.fast:
        return int(targets * sizes.vocabulary * ((8 if item == 4 else 10) + bent)) + rest
    chunk = min(targets, max(1, _CHUNK // sizes.vocabulary))
    if card is None:
        few = min(chunk, max(1, _CACHED // sizes.vocabulary))
        return sizes.vocabulary * (chunk * item + few * ((4 if item == 4 else 8) + 2 * bent)) + rest
    return sizes.vocabulary * chunk * (item + 4 + 2 * bent) + rest
