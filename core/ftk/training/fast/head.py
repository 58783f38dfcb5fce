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

_CHUNK_ELEMENTS = 2**24
"""Logits of a chunk: 64 MB in float32, which is what a chunk costs in memory."""


class ChunkedLoss(torch.autograd.Function):  # type: ignore[misc]
    """The cross-entropy summed over positions, in float32, for a head that is not trained."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, cap: float) -> Tensor:
        """Compute loss and gradient together.

        Args:
            ctx: Where the gradient is kept.
            hidden: (positions, width).
            weight: (vocabulary, width).
            bias: (vocabulary,) or None.
            labels: (positions,), the tokens that should follow.
            cap: Logits become cap * tanh(logit / cap); 0: they stay.

        """
        wanted = ctx.needs_input_grad[0]
        grad = torch.empty_like(hidden) if wanted else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        chunk = max(1, _CHUNK_ELEMENTS // weight.shape[0])
        for begin in range(0, hidden.shape[0], chunk):
            part = slice(begin, begin + chunk)
            logits = functional.linear(hidden[part], weight, bias)
            bent = torch.tanh(logits / cap) if cap else None
            scores = logits if bent is None else bent * cap
            del logits  # what a chunk no longer needs goes at once: here a step takes the most memory
            if not scores.is_cuda:  # on a CPU, log_softmax would make this copy and hold both
                scores = scores.float()
            chances = torch.log_softmax(scores, -1, dtype=torch.float32)
            del scores
            places = labels[part, None]
            total -= chances.gather(1, places).sum()
            if grad is None:
                continue
            slope = chances.exp_().scatter_add_(1, places, -torch.ones_like(places, dtype=torch.float32))
            if bent is not None:
                slope *= 1 - bent.float().square()
            chances = slope = slope.to(weight.dtype)
            torch.mm(slope, weight, out=grad[part])
            del chances, slope, bent
        ctx.save_for_backward(grad)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradient that the forward pass found."""
        (grad,) = ctx.saved_tensors
        return grad * factor, None, None, None, None


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
