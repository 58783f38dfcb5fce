"""Causal attention over rows that lie one after another without padding; no row ever sees another.

transformers hands the layout of the rows (`cu_seq_lens_q`) down to the attention function of a layer, so one
function, registered under a name, serves every architecture. On CUDA it is PyTorch's own flash attention for
rows of different length, on a CPU the kernels of `row_kernels`, which compute the scores again in the backward
pass instead of keeping them, so that memory grows with the rows and not with their square.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import row_kernels
from .row_kernels import Form

NAME = "ftk_rows"
"""What transformers knows the attention function by."""

_OPERATORS = torch.library.Library("ftk_rows", "DEF")
_OPERATORS.define(
    "attend(Tensor query, Tensor key, Tensor value, Tensor starts, float scale, int window, float cap)"
    " -> (Tensor, Tensor)"
)
_OPERATORS.define(
    "attend_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor out, Tensor sums, Tensor starts,"
    " float scale, int window, float cap) -> (Tensor, Tensor, Tensor)"
)

# Operators, so that a compiled layer calls them as they are: their loops over rows depend on numbers, not on shapes.


def _attend(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float, window: int, cap: float
) -> tuple[Tensor, Tensor]:
    return row_kernels.forward(query, key, value, starts.tolist(), Form(scale, window, cap))


def _attend_backward(  # noqa: PLR0913 - operators take tensors and numbers only
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    sums: Tensor,
    starts: Tensor,
    scale: float,
    window: int,
    cap: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return row_kernels.backward(grad, query, key, value, out, sums, starts.tolist(), Form(scale, window, cap))


def _like(query: Tensor) -> Tensor:
    return torch.empty_like(query, memory_format=torch.contiguous_format)


def _attend_shapes(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float, window: int, cap: float
) -> tuple[Tensor, Tensor]:
    fused = row_kernels.fused(query, Form(scale, window, cap))
    return _like(query), query.new_empty(query.shape[:2] if fused else (0,))


def _gradient_shapes(_: Tensor, query: Tensor, key: Tensor, value: Tensor, *__: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _like(query), _like(key), _like(value)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, starts, *ctx.form = inputs
    ctx.save_for_backward(query, key, value, *output, starts)
    ctx.set_materialize_grads(False)


def _back(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    found = torch.ops.ftk_rows.attend_backward.default(grad, *ctx.saved_tensors, *ctx.form)
    return (*found, None, None, None, None)


_OPERATORS.impl("attend", _attend, "CPU")
_OPERATORS.impl("attend_backward", _attend_backward, "CPU")
torch.library.register_fake("ftk_rows::attend", _attend_shapes, lib=_OPERATORS)
torch.library.register_fake("ftk_rows::attend_backward", _gradient_shapes, lib=_OPERATORS)
torch.library.register_autograd("ftk_rows::attend", _back, setup_context=_keep, lib=_OPERATORS)


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

    `max_length_q` is the longest row that may come, not that of this batch, so that compiled code need not change.

    Raises:
        ValueError: attention dropout is asked for, which rows without padding do not have.

    """
    if dropout or cu_seq_lens_q is None:
        raise ValueError("rows without padding have no attention dropout and need their starts")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    parts = [part[0].transpose(0, 1) for part in (query, key, value)]
    window = sliding_window if sliding_window and sliding_window < max_length_q else 0
    if query.device.type == "cpu":
        out, _sums = torch.ops.ftk_rows.attend.default(*parts, cu_seq_lens_q, scale, window, softcap or 0.0)
    else:
        out = _flash(parts, cu_seq_lens_q, max_length_q, scale, window)
    return out[None], None


def _flash(parts: list[Tensor], starts: Tensor, longest: int, scale: float, window: int) -> Tensor:
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
