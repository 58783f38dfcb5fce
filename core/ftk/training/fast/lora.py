"""The matmuls of a LoRA layer, forward and backward, without copies and extra passes.

peft computes x W + scale * (x A) B with a product of its own for every factor, a multiplication and an addition
over the full width. Here the adapter's part is added by the matmul itself, forward and backward, and only
the input and the narrow x A are kept. The sums are the same; a bfloat16 result is rounded once instead of thrice.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Whole(torch.autograd.Function):  # type: ignore[misc]
    """x W^T + bias + scale (x A^T) B^T with a frozen W in plain numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        narrow = x @ a.t()
        wide = x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())
        ctx.save_for_backward(x, narrow, weight, a, b)
        ctx.scale = scale
        return torch.addmm(wide, narrow, b.t(), alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, narrow, weight, a, b = ctx.saved_tensors
        grad_narrow = (grad @ b) * ctx.scale
        grad_x = torch.addmm(grad @ weight, grad_narrow, a) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, grad_narrow.t() @ x, _grad_b(grad, narrow, ctx.scale), None


class _Added(torch.autograd.Function):  # type: ignore[misc]
    """y + scale (x A^T) B^T, where y is what a base layer of any kind (4 bits, 8 bits) gave."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        narrow = x @ a.t()
        ctx.save_for_backward(x, narrow, a, b)
        ctx.scale = scale
        return torch.addmm(y, narrow, b.t(), alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, narrow, a, b = ctx.saved_tensors
        grad_narrow = (grad @ b) * ctx.scale
        grad_x = grad_narrow @ a if ctx.needs_input_grad[1] else None
        return grad, grad_x, grad_narrow.t() @ x, _grad_b(grad, narrow, ctx.scale), None


def _grad_b(grad: Tensor, narrow: Tensor, scale: float) -> Tensor:
    """The gradient of B, computed as its transpose: a CPU is three times as fast with the long side last."""
    return ((narrow.t() @ grad) * scale).t()


def fuse(model: Any, *, dequantise: bool) -> list[Any]:
    """Give every plain LoRA layer of a model the fused forward pass.

    Layers with dropout, DoRA or a bias of their own keep peft's.

    Args:
        model: The model with its adapter.
        dequantise: Keep the weights of 4-bit layers in plain numbers too, where a product would else unpack
            them anew. Costs their unquantised size; the numbers are the very ones that unpacking gives.

    Returns:
        The layers that were changed, for `restore`.

    """
    from peft.tuners.lora import LoraLayer

    changed = []
    for module in model.modules():
        if isinstance(module, LoraLayer) and _plain(module):
            module._ftk_weight = _weight(module.get_base_layer(), dequantise)
            module._ftk_original = module.forward
            module.forward = types.MethodType(_forward, module)
            changed.append(module)
    return changed


def restore(layers: list[Any]) -> None:
    """Give the layers their own forward pass back."""
    for layer in layers:
        del layer.forward, layer._ftk_weight, layer._ftk_original


def _plain(layer: Any) -> bool:
    adapters = list(layer.lora_A)
    if len(adapters) != 1 or layer.lora_variant or layer.merged or any(layer.lora_bias.values()):
        return False
    return isinstance(layer.lora_dropout[adapters[0]], torch.nn.Identity)


def _weight(base: Any, dequantise: bool) -> Tensor | None:
    """The frozen weight as (out, in), or None for a layer that has to be called to be used."""
    from transformers.pytorch_utils import Conv1D

    if type(base) is torch.nn.Linear:
        return base.weight.detach()
    if isinstance(base, Conv1D):
        return base.weight.detach().t()
    state = getattr(base.weight, "quant_state", None)
    if dequantise and state is not None:
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(base.weight.data, state)
    return None


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if self.disable_adapters:
        result: Tensor = self._ftk_original(x, *args, **kwargs)
        return result
    name = self.active_adapters[0]
    a, b, scale = self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
    flat = x.reshape(-1, x.shape[-1])
    base = self.base_layer
    if self._ftk_weight is not None:
        out = _Whole.apply(flat, self._ftk_weight, base.bias, a, b, scale)
    else:
        out = _Added.apply(base(flat), flat, a, b, scale)
    return out.view(*x.shape[:-1], -1)
