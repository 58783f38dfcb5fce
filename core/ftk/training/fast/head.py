"""The last matmul and the cross-entropy in chunks: the whole logits never exist.

A vocabulary of 128 000 words makes 256 MB of logits, and as much of their gradient, for every 500 tokens.
Here a chunk of positions at a time goes through the frozen head, its loss and its gradient are computed at
once, and only the gradient of the hidden states is kept (as in Liger-Kernel, arXiv:2410.10989, section 3.2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .row_kernels import size_step

_CHUNK_ELEMENTS = 2**24
"""Logits of a chunk: 32 MB in 16-bit numbers."""
_CACHED_ELEMENTS = 2**19
"""Logits that a CPU works on at once: 2 MB in float32."""


class ChunkedLoss(torch.autograd.Function):  # type: ignore[misc]
    """The cross-entropy summed over positions, in float32, for a head that is not trained."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, cap: float, cached: bool
    ) -> Tensor:
        """Compute loss and gradient together.

        Args:
            ctx: Where the gradient is kept.
            hidden: (positions, width).
            weight: (vocabulary, width).
            bias: (vocabulary,) or None.
            labels: (positions,), the tokens that should follow.
            cap: Logits become cap * tanh(logit / cap); 0: they stay.
            cached: Work on so few positions at once that their numbers stay in a processor's caches. A GPU would wait
                for each.

        """
        wanted = ctx.needs_input_grad[0]
        grad = torch.empty_like(hidden) if wanted else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        chunk = max(1, _CHUNK_ELEMENTS // weight.shape[0])
        rows = max(1, _CACHED_ELEMENTS // weight.shape[0]) if cached else chunk
        for begin in range(0, hidden.shape[0], chunk):
            part = slice(begin, begin + chunk)
            inputs = hidden[part]
            count = inputs.shape[0]
            if empty := -count % size_step(weight.dtype) if cached else 0:
                inputs = functional.pad(inputs, (0, 0, 0, empty))
            logits = functional.linear(inputs, weight, bias)
            for few, places in zip(logits[:count].split(rows), labels[part].split(rows), strict=True):
                total -= _chances(few, places[:, None], cap, slope=grad is not None)
            if grad is not None and empty:
                grad[part] = torch.mm(logits, weight)[:count]
            elif grad is not None:
                torch.mm(logits, weight, out=grad[part])
        ctx.save_for_backward(grad)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradient that the forward pass found."""
        (grad,) = ctx.saved_tensors
        return grad * factor, None, None, None, None, None


def _chances(logits: Tensor, places: Tensor, cap: float, *, slope: bool) -> Tensor:
    """The logarithm of the chances of tokens, summed; the slope of the loss is written over the logits, if wanted."""
    bent = torch.tanh(logits / cap) if cap else None
    scores = logits if bent is None else bent * cap
    chances = torch.log_softmax(scores, -1, dtype=torch.float32)
    found = chances.gather(1, places).sum()
    if slope:
        chances.exp_().scatter_add_(1, places, -torch.ones_like(places, dtype=torch.float32))
        if bent is not None:
            chances *= 1 - bent.float().square()
        logits.copy_(chances)
    return found


def trained_loss(hidden: Tensor, output: Any, labels: Tensor, cap: float) -> Tensor:
    """The same for an output layer that is trained: each chunk's logits are made again in the backward pass."""
    from torch.utils.checkpoint import checkpoint

    def chunk_loss(part: Tensor, wanted: Tensor) -> Tensor:
        logits = output(part)
        logits = torch.tanh(logits / cap) * cap if cap else logits
        return functional.cross_entropy(logits.float(), wanted, reduction="sum")

    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    chunk = max(1, _CHUNK_ELEMENTS // output.weight.shape[0])
    for part, wanted in zip(hidden.split(chunk), labels.split(chunk), strict=True):
        total = total + checkpoint(chunk_loss, part, wanted, use_reentrant=False)
    return total
