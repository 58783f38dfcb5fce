"""Attention of rows without padding on a CPU: the fused kernel for float32, matmuls over blocks for the rest.

Which one wins depends on the number format. In float32 torch's fused kernel is as fast as the matmuls or up to a
third faster for rows of 100 to 500 tokens (two AVX2 cores). In bfloat16 plain matmuls use the processor's
matrix units and the fused kernel's backward pass does not; a rough earlier loop was 1.4 times as fast with matmuls
(two AMX cores; not measured with these kernels). Soft caps and windows only the matmuls know. The choice depends on
nothing that is measured at run time, so that a resumed run makes it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 256
"""Queries of a block. Smaller ones skip more of the upper triangle, larger ones make better matmuls."""

_FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Form(NamedTuple):
    """What a score goes through besides the scale: a window of the last tokens (0: all), a soft cap (0: none)."""

    scale: float
    window: int
    cap: float


def forward(query: Tensor, key: Tensor, value: Tensor, starts: list[int], form: Form) -> tuple[Tensor, Tensor]:
    """Attention within each row: the output, and what the backward pass of the fused kernel needs (else empty).

    Args:
        query: (tokens, heads, width).
        key: (tokens, key heads, width); each serves heads / key heads queries in turn.
        value: (tokens, key heads, width).
        starts: Where rows begin, and the end of the last one.
        form: What the scores go through.

    """
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    if not fused(query, form):
        for rows, keys in _blocks(starts, form.window):
            weights, _ = _weights(_grouped(query[rows], key), key[keys], rows, keys, form)
            mixed = torch.bmm(weights, value[keys].transpose(0, 1))
            _heads_of(out[rows], key).copy_(mixed.view(_heads_of(out[rows], key).shape))
        return out, query.new_empty(0)
    sums = query.new_empty(query.shape[:2])
    for row in map(slice, starts, starts[1:]):
        found, logs = _FUSED(*_wide(query[row], key[row], value[row]), 0.0, True, scale=form.scale)
        out[row] = found[0].transpose(0, 1)
        sums[row] = logs[0].transpose(0, 1)
    return out, sums


def backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, sums: Tensor, starts: list[int], form: Form
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value (FlashAttention, arXiv:2205.14135, appendix B.4, by blocks of queries)."""
    grad_query = torch.empty_like(query, memory_format=torch.contiguous_format)
    grad_key = torch.zeros_like(key, memory_format=torch.contiguous_format)
    grad_value = torch.zeros_like(value, memory_format=torch.contiguous_format)
    if sums.numel():
        for row in map(slice, starts, starts[1:]):
            parts = _wide(query[row], key[row], value[row])
            result, logs = (t[row].transpose(0, 1)[None] for t in (out, sums))
            wanted = grad[row].transpose(0, 1)[None]
            found = _FUSED_BACKWARD(wanted, *parts, result, logs, 0.0, True, scale=form.scale)
            grad_query[row] = found[0][0].transpose(0, 1)
            for whole, part in ((grad_key, found[1]), (grad_value, found[2])):
                torch.sum(part[0].unflatten(0, (key.shape[1], -1)), 1, out=whole[row].transpose(0, 1))
        return grad_query, grad_key, grad_value
    inner = torch.linalg.vecdot(grad, out)[..., None]
    for rows, keys in _blocks(starts, form.window):
        queries, wanted = _grouped(query[rows], key), _grouped(grad[rows], key)
        weights, bent = _weights(queries, key[keys], rows, keys, form)
        grad_value[keys] += torch.bmm(weights.transpose(1, 2), wanted).transpose(0, 1)
        scores = torch.bmm(wanted, value[keys].permute(1, 2, 0)).sub_(_grouped(inner[rows], key)).mul_(weights)
        if bent is not None:
            scores.mul_(bent)
        found = _scaled(scores, key[keys].transpose(0, 1), form.scale)
        _heads_of(grad_query[rows], key).copy_(found.view(_heads_of(grad_query[rows], key).shape))
        grad_key[keys] += _scaled(scores.transpose(1, 2), queries, form.scale).transpose(0, 1)
    return grad_query, grad_key, grad_value


def fused(query: Tensor, form: Form) -> bool:
    """Whether the fused kernel can and should compute rows of this kind."""
    return query.dtype == torch.float32 and not form.cap and not form.window


def _wide(query: Tensor, *others: Tensor) -> list[Tensor]:
    """A row as the fused kernel takes it, (1, heads, tokens, width), keys and values repeated to the queries' heads."""
    times = query.shape[1] // others[0].shape[1]
    repeated = [other.repeat_interleave(times, 1) if times > 1 else other for other in others]
    return [part.transpose(0, 1)[None] for part in (query, *repeated)]


def _blocks(starts: list[int], window: int) -> Iterator[tuple[slice, slice]]:
    """Queries and the keys that they may see, block by block and row by row."""
    for start, end in pairwise(starts):
        for first in range(start, end, _BLOCK):
            last = min(first + _BLOCK, end)
            yield slice(first, last), slice(max(start, first - window + 1) if window else start, last)


def _heads_of(part: Tensor, key: Tensor) -> Tensor:
    """(tokens, heads, width) seen as (key heads, heads of each, tokens, width)."""
    groups = key.shape[1]
    return part.unflatten(1, (groups, part.shape[1] // groups)).permute(1, 2, 0, 3)


def _grouped(part: Tensor, key: Tensor) -> Tensor:
    """(tokens, heads, width) as (key heads, heads of each x tokens, width): one matmul a key head."""
    return _heads_of(part, key).reshape(key.shape[1], -1, part.shape[2])


def _weights(queries: Tensor, keys: Tensor, rows: slice, seen: slice, form: Form) -> tuple[Tensor, Tensor | None]:
    """The attention weights of a block (key heads, heads of each x queries, keys), and the cap's derivative."""
    scores = _scaled(queries, keys.permute(1, 2, 0), form.scale)
    bent = None
    if form.cap:
        bent = torch.tanh(scores.div_(form.cap))
        scores = bent * form.cap
        bent = bent.square_().neg_().add_(1)
    groups, _, width = scores.shape
    count = rows.stop - rows.start
    table = scores.view(groups, -1, count, width)
    if form.window and width > form.window:
        places = torch.arange(rows.start, rows.stop)[:, None] - torch.arange(seen.start, seen.stop)
        table.masked_fill_((places < 0) | (places >= form.window), -math.inf)
    else:  # only the square at the end of the block holds keys that come after their query
        table[..., width - count :].add_(_LATER[table.dtype][:count, :count])
    return torch.softmax(scores, -1), bent


def _scaled(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """The products of two batches of matrices times a number, which the matmul itself takes account of."""
    return torch.baddbmm(left.new_empty(()), left, right, beta=0, alpha=scale)


_LATER = {
    kind: torch.full((_BLOCK, _BLOCK), -math.inf, device="cpu").triu(1).to(kind)
    for kind in (torch.float32, torch.bfloat16, torch.float16)
}
"""What hides the keys that come after their query. To add it takes a quarter of the time that filling in takes."""
