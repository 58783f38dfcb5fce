"""Causal attention over rows that lie one after another without padding; no row ever sees another.

transformers hands the layout of the rows (`cu_seq_lens_q`) down to the attention function of a layer, so one
function, registered under a name, serves every architecture. On CUDA it is PyTorch's own flash attention for
rows of different length; on a CPU it is plain batched matmuls over blocks of queries, which for rows of up to
some thousand tokens beat the fused CPU kernel, above all in the backward pass. The scores are computed again
there instead of being kept, so memory grows with a block times the row and not with the row's square.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

NAME = "ftk_rows"
"""What transformers knows the attention function by."""

_BLOCK = 256
"""Queries of a block. Smaller ones skip more of the upper triangle, larger ones make better matmuls."""


class _Form(NamedTuple):
    """What a score goes through besides the scale: a window of the last tokens (0: all), a soft cap (0: none)."""

    scale: float
    window: int
    cap: float


_OPERATORS = torch.library.Library("ftk_rows", "DEF")
_OPERATORS.define(
    "attend(Tensor query, Tensor key, Tensor value, Tensor starts, float scale, int window, float cap) -> Tensor"
)
_OPERATORS.define(
    "attend_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor out, Tensor starts, float scale,"
    " int window, float cap) -> (Tensor, Tensor, Tensor)"
)


def row_attention(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float, window: int, cap: float
) -> Tensor:
    """Attention within each row.

    Args:
        query: (tokens, heads, width).
        key: (tokens, key heads, width); each serves heads / key heads queries in turn.
        value: (tokens, key heads, width).
        starts: Where rows begin, and the end of the last one: int32 on the CPU, (rows + 1,).
        scale: Factor of the scores.
        window: A token sees itself and the ones before it, so many in all; 0: all of its row.
        cap: Scores become cap * tanh(score / cap); 0: they stay.

    Returns:
        (tokens, heads, width).

    """
    out = _like(query)
    form = _Form(scale, window, cap)
    for rows, keys in _blocks(starts.tolist(), window):
        weights, _ = _weights(_grouped(query[rows], key), key[keys], rows, keys, form)
        mixed = torch.bmm(weights, value[keys].transpose(0, 1))
        _heads_of(out[rows], key).copy_(mixed.view(_heads_of(out[rows], key).shape))
    return out


def row_attention_backward(  # noqa: PLR0913 - operators take tensors and numbers only
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    starts: Tensor,
    scale: float,
    window: int,
    cap: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value (FlashAttention, arXiv:2205.14135, appendix B.4, by blocks of queries)."""
    grad_query = _like(query)
    grad_key = torch.zeros_like(key, memory_format=torch.contiguous_format)
    grad_value = torch.zeros_like(value, memory_format=torch.contiguous_format)
    form = _Form(scale, window, cap)
    for rows, keys in _blocks(starts.tolist(), window):
        queries, wanted = _grouped(query[rows], key), _grouped(grad[rows], key)
        weights, bent = _weights(queries, key[keys], rows, keys, form)
        grad_value[keys] += torch.bmm(weights.transpose(1, 2), wanted).transpose(0, 1)
        inner = (wanted * _grouped(out[rows], key)).sum(-1, keepdim=True)
        scores = torch.bmm(wanted, value[keys].permute(1, 2, 0)).sub_(inner).mul_(weights)
        if bent is not None:
            scores.mul_(bent)
        found = torch.bmm(scores, key[keys].transpose(0, 1)).mul_(scale)
        _heads_of(grad_query[rows], key).copy_(found.view(_heads_of(grad_query[rows], key).shape))
        grad_key[keys] += torch.bmm(scores.transpose(1, 2), queries).mul_(scale).transpose(0, 1)
    return grad_query, grad_key, grad_value


def _like(query: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(query, memory_format=torch.contiguous_format)


def _like_all(_: Tensor, query: Tensor, key: Tensor, value: Tensor, *__: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _like(query), _like(key), _like(value)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    query, key, value, starts, *ctx.form = inputs
    ctx.save_for_backward(query, key, value, output, starts)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, out, starts = ctx.saved_tensors
    found = torch.ops.ftk_rows.attend_backward.default(grad, query, key, value, out, starts, *ctx.form)
    return (*found, None, None, None, None)


_OPERATORS.impl("attend", row_attention, "CPU")
_OPERATORS.impl("attend_backward", row_attention_backward, "CPU")
torch.library.register_fake("ftk_rows::attend", _like, lib=_OPERATORS)
torch.library.register_fake("ftk_rows::attend_backward", _like_all, lib=_OPERATORS)
torch.library.register_autograd("ftk_rows::attend", _backward, setup_context=_keep, lib=_OPERATORS)


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


def _weights(queries: Tensor, keys: Tensor, rows: slice, seen: slice, form: _Form) -> tuple[Tensor, Tensor | None]:
    """The attention weights of a block (key heads, heads of each x queries, keys), and the cap's derivative."""
    scores = torch.bmm(queries, keys.permute(1, 2, 0)).mul_(form.scale)
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
        table[..., width - count :].masked_fill_(_later(count), -math.inf)
    return torch.softmax(scores, -1), bent


_LATER = torch.ones(_BLOCK, _BLOCK, dtype=torch.bool).triu(1)


def _later(count: int) -> Tensor:
    return _LATER[:count, :count]


def attend(  # noqa: PLR0913 - transformers' signature
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int = 0,
    **_: Any,
) -> tuple[Tensor, None]:
    """The attention function of a layer, as transformers calls it: tensors (1, heads, tokens, width).

    Raises:
        ValueError: attention dropout is asked for, which rows without padding do not have.

    """
    if dropout or cu_seq_lens_q is None:
        raise ValueError("rows without padding have no attention dropout and need their starts")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    parts = [part[0].transpose(0, 1) for part in (query, key, value)]
    if query.device.type == "cpu":
        form = (scale, sliding_window or 0, softcap or 0.0)
        out = torch.ops.ftk_rows.attend.default(*parts, cu_seq_lens_q, *form)
    else:
        out = _flash(parts, cu_seq_lens_q, max_length_q, scale, sliding_window)
    return out[None], None


def _flash(parts: list[Tensor], starts: Tensor, longest: int, scale: float, window: int | None) -> Tensor:
    """PyTorch's flash attention for rows of different length (CUDA; bfloat16 or float16)."""
    from torch.nn.attention.varlen import varlen_attn

    reach = (window - 1, 0) if window else (-1, 0)
    found = varlen_attn(*parts, starts, starts, longest, longest, scale=scale, window_size=reach, enable_gqa=True)
    assert isinstance(found, Tensor)
    return found


def register() -> None:
    """Make the attention known to transformers; the layout of the rows takes the place of a mask."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, lambda *args, **kwargs: None)
