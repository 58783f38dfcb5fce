"""The matmuls of a LoRA layer, forward and backward, without copies and extra passes.

peft computes x W + scale * (x A) B with a product of its own for every factor, a multiplication and an addition
over the full width. Here the adapter's part is added by the matmul itself, forward and backward, and only
the input and the narrow x A are kept. The sums are the same; a bfloat16 result is rounded once instead of thrice.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_OPERATORS = torch.library.Library("ftk_lora", "DEF")
_OPERATORS.define("whole(Tensor x, Tensor w, Tensor? bias, Tensor a, Tensor b, float scale) -> (Tensor, Tensor)")
_OPERATORS.define(
    "whole_backward(Tensor grad, Tensor x, Tensor narrow, Tensor w, Tensor a, Tensor b, float scale, bool for_x)"
    " -> (Tensor, Tensor, Tensor)"
)
_OPERATORS.define("added(Tensor y, Tensor x, Tensor a, Tensor b, float scale) -> (Tensor, Tensor)")
_OPERATORS.define(
    "added_backward(Tensor grad, Tensor x, Tensor narrow, Tensor a, Tensor b, float scale) -> (Tensor, Tensor, Tensor)"
)
whole = torch.ops.ftk_lora.whole.default
"""x w^T + bias + scale (x a^T) b^T with a frozen w in plain numbers, and x a^T, which the backward pass needs."""
added = torch.ops.ftk_lora.added.default
"""y + scale (x a^T) b^T, where y is what a base layer of any kind (4 bits, 8 bits) gave, and x a^T."""


# Operators instead of autograd functions, which torch's cache of compiled code does not take: a warm start compiled
# for 2.6 s instead of 12 s (SmolLM2). Nothing is lost, since inductor would call the same matmuls.


def _whole(x: Tensor, w: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    narrow = x @ a.t()
    wide = x @ w.t() if bias is None else torch.addmm(bias, x, w.t())
    return wide.addmm_(narrow, b.t(), alpha=scale), narrow


def _whole_backward(
    grad: Tensor, x: Tensor, narrow: Tensor, w: Tensor, a: Tensor, b: Tensor, scale: float, for_x: bool
) -> tuple[Tensor, Tensor, Tensor]:
    grad_narrow = (grad @ b).mul_(scale)
    grad_x = (grad @ w).addmm_(grad_narrow, a) if for_x else grad.new_empty(0)
    return grad_x, grad_narrow.t() @ x, _grad_b(grad, narrow, scale)


def _added(y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    narrow = x @ a.t()
    return torch.addmm(y, narrow, b.t(), alpha=scale), narrow


def _added_backward(
    grad: Tensor, x: Tensor, narrow: Tensor, a: Tensor, b: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    grad_narrow = (grad @ b).mul_(scale)
    return grad_narrow @ a, grad_narrow.t() @ x, _grad_b(grad, narrow, scale)


def _grad_b(grad: Tensor, narrow: Tensor, scale: float) -> Tensor:
    """The gradient of b, computed as its transpose: two AVX2 cores were three times as fast that way."""
    return (narrow.t() @ grad).mul_(scale).t().contiguous()


for _name, _kernel in (
    ("whole", _whole),
    ("whole_backward", _whole_backward),
    ("added", _added),
    ("added_backward", _added_backward),
):
    _OPERATORS.impl(_name, _kernel, "CompositeExplicitAutograd")


def _keep_whole(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, w, _bias, a, b, ctx.scale = inputs
    ctx.save_for_backward(x, output[1], w, a, b)
    ctx.set_materialize_grads(False)


def _back_through_whole(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    for_x = ctx.needs_input_grad[0]
    found = torch.ops.ftk_lora.whole_backward.default(grad.contiguous(), *ctx.saved_tensors, ctx.scale, for_x)
    return found[0] if for_x else None, None, None, found[1], found[2], None


def _keep_added(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _y, x, a, b, ctx.scale = inputs
    ctx.save_for_backward(x, output[1], a, b)
    ctx.set_materialize_grads(False)


def _back_through_added(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    found = torch.ops.ftk_lora.added_backward.default(grad.contiguous(), *ctx.saved_tensors, ctx.scale)
    return grad, *found, None


torch.library.register_autograd("ftk_lora::whole", _back_through_whole, setup_context=_keep_whole, lib=_OPERATORS)
torch.library.register_autograd("ftk_lora::added", _back_through_added, setup_context=_keep_added, lib=_OPERATORS)


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
    changed = list(fusible(model))
    for module in changed:
        module._ftk_weight = _weight(module.get_base_layer(), dequantise)
        module._ftk_original = module.forward
        module.forward = types.MethodType(_forward, module)
    return changed


def fusible(model: Any) -> Iterator[Any]:
    """The layers that `fuse` changes."""
    from peft.tuners.lora import LoraLayer

    return (module for module in model.modules() if isinstance(module, LoraLayer) and _plain(module))


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
        out, _ = whole(flat, self._ftk_weight, base.bias, a, b, scale)
    else:
        out, _ = added(base(flat), flat, a, b, scale)
    return out.view(*x.shape[:-1], -1)
