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
_STEP = 32
"""What blocks are filled up to where sizes should come again; 64 would cost a third more products for rows of 200."""

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
        for block in _blocks(starts, form.window, query.dtype):
            weights, _ = _weights(_grouped(query, key, block), _seen(key, block), block, form)
            _put(out, torch.bmm(weights, _seen(value, block).transpose(0, 1)), key, block)
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
    for block in _blocks(starts, form.window, query.dtype):
        queries, wanted = _grouped(query, key, block), _grouped(grad, key, block)
        keys, values = _seen(key, block), _seen(value, block)
        weights, bent = _weights(queries, keys, block, form)
        grad_value[block.keys] += _heads_last(torch.bmm(weights.transpose(1, 2), wanted), block)
        scores = torch.bmm(wanted, values.permute(1, 2, 0)).sub_(_grouped(inner, key, block)).mul_(weights)
        if bent is not None:
            scores.mul_(bent)
        _put(grad_query, _scaled(scores, keys.transpose(0, 1), form.scale), key, block)
        grad_key[block.keys] += _heads_last(_scaled(scores.transpose(1, 2), queries, form.scale), block)
    return grad_query, grad_key, grad_value


def fused(query: Tensor, form: Form) -> bool:
    """Whether the fused kernel can and should compute rows of this kind."""
    return query.dtype == torch.float32 and not form.cap and not form.window


def _wide(query: Tensor, *others: Tensor) -> list[Tensor]:
    """A row as the fused kernel takes it, (1, heads, tokens, width), keys and values repeated to the queries' heads."""
    times = query.shape[1] // others[0].shape[1]
    repeated = [other.repeat_interleave(times, 1) if times > 1 else other for other in others]
    return [part.transpose(0, 1)[None] for part in (query, *repeated)]


class _Block(NamedTuple):
    """Queries of a row and the keys that they may see; `filling` empty ones follow both."""

    queries: slice
    keys: slice
    filling: int

    @property
    def height(self) -> int:
        """Queries with the empty ones."""
        found: int = self.queries.stop - self.queries.start + self.filling
        return found

    @property
    def width(self) -> int:
        """Keys with the empty ones."""
        found: int = self.keys.stop - self.keys.start + self.filling
        return found


def _blocks(starts: list[int], window: int, kind: torch.dtype) -> Iterator[_Block]:
    """Queries and the keys that they may see, block by block and row by row."""
    step = size_step(kind)
    for start, end in pairwise(starts):
        for first in range(start, end, _BLOCK):
            last = min(first + _BLOCK, end)
            keys = slice(max(start, first - window + 1) if window else start, last)
            yield _Block(slice(first, last), keys, (first - last) % step)


def size_step(kind: torch.dtype) -> int:
    """What sizes of products on a processor are filled up to a multiple of, so that they come again.

    In 16-bit numbers oneDNN prepares a kernel for every size and keeps it: 110 ms for each new number of tokens, 30 for
    each length of a row, and some megabytes (SmolLM2, two cores). MKL, which multiplies in float32, prepares nothing.
    """
    return 1 if kind == torch.float32 else _STEP


def _heads_of(part: Tensor, key: Tensor) -> Tensor:
    """(tokens, heads, width) seen as (key heads, heads of each, tokens, width)."""
    groups = key.shape[1]
    return part.unflatten(1, (groups, part.shape[1] // groups)).permute(1, 2, 0, 3)


def _grouped(whole: Tensor, key: Tensor, block: _Block) -> Tensor:
    """A block's queries as (key heads, heads of each x queries, width): one matmul a key head."""
    part = _heads_of(whole[block.queries], key)
    if block.filling:
        part = torch.nn.functional.pad(part, (0, 0, 0, block.filling))
    return part.reshape(key.shape[1], -1, whole.shape[2])


def _seen(whole: Tensor, block: _Block) -> Tensor:
    """A block's keys or values, (keys, key heads, width)."""
    part = whole[block.keys]
    return torch.nn.functional.pad(part, (0, 0, 0, 0, 0, block.filling)) if block.filling else part


def _put(whole: Tensor, found: Tensor, key: Tensor, block: _Block) -> None:
    """Write what was found for a block's queries, as `_grouped` has them."""
    part = _heads_of(whole[block.queries], key)
    part.copy_(found.view(*part.shape[:2], block.height, -1)[:, :, : part.shape[2]])


def _heads_last(found: Tensor, block: _Block) -> Tensor:
    """What was found for a block's keys, (key heads, keys, width), as (keys, key heads, width)."""
    return found[:, : block.width - block.filling].transpose(0, 1)


def _weights(queries: Tensor, keys: Tensor, block: _Block, form: Form) -> tuple[Tensor, Tensor | None]:
    """The attention weights of a block (key heads, heads of each x queries, keys), and the cap's derivative."""
    scores = _scaled(queries, keys.permute(1, 2, 0), form.scale)
    bent = None
    if form.cap:
        bent = torch.tanh(scores.div_(form.cap))
        scores = bent * form.cap
        bent = bent.square_().neg_().add_(1)
    count, width = block.height, block.width
    table = scores.view(scores.shape[0], -1, count, width)
    if form.window and width > form.window:
        first, seen = block.queries.start, block.keys.start
        places = torch.arange(first, first + count)[:, None] - torch.arange(seen, seen + width)
        table.masked_fill_((places < 0) | (places >= form.window), -math.inf)
    else:  # only the square at the end of the block holds keys that come after their query, empty ones among them
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
