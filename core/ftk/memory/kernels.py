"""Stand-ins for operators whose kernels allocate inside themselves, or that meta tensors cannot go through.

Each does with operators what the kernel does inside, as far as memory goes, so that a `Ledger` sees it. Where ftk's
own Python is the kernel (`training.fast`), that very Python runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from .ledger import Ledger, StandIn

_aten = torch.ops.aten
_QUERY_BLOCK, _KEY_BLOCK = ((768, 256), (192, 64), (0, 32)), 512
"""Blocks of torch's fused CPU attention: queries by the length of the row, keys."""


class Kernels:
    """The stand-ins for one micro-batch.

    Args:
        on_cpu: Whether the computation would run on a processor, else on a GPU.
        starts: Where the rows of the batch begin, and the end of the last.
        targets: How many positions the loss counts.
        threads: Threads of the processor, each of which has buffers of its own in the fused attention.

    """

    def __init__(self, *, on_cpu: bool, starts: list[int], targets: int, threads: int) -> None:
        self._on_cpu, self._starts, self._targets, self._threads = on_cpu, _few(starts), targets, threads
        self._rows = len(starts) - 1
        self.ledger: Ledger | None = None

    def stand_ins(self) -> dict[Any, StandIn]:
        """What to call in place of which operator."""
        from ..training.fast import lora

        found: dict[Any, StandIn] = {
            torch.ops.ftk_lora.whole.default: lora._whole,
            torch.ops.ftk_lora.whole_backward.default: lora._whole_backward,
            torch.ops.ftk_lora.added.default: lora._added,
            torch.ops.ftk_lora.added_backward.default: lora._added_backward,
            torch.ops.ftk_rows.attend.default: self._attend,
            torch.ops.ftk_rows.attend_backward.default: self._attend_backward,
            _aten._grouped_mm.default: _grouped,
            _aten.index.Tensor: self._index,
            _aten._index_put_impl_.default: self._index_put,
            _aten._scaled_dot_product_flash_attention_for_cpu.default: self._fused,
            _aten._scaled_dot_product_flash_attention_for_cpu_backward.default: self._fused_backward,
        }
        return found | self._of_bitsandbytes() | self._of_flash()

    def _of_bitsandbytes(self) -> dict[Any, StandIn]:
        """The 4-bit matmul as its default kernel does it: unpack, then multiply."""
        try:
            from bitsandbytes.backends.default.ops import _gemm_4bit_default_impl
        except ImportError:
            return {}
        return {torch.ops.bitsandbytes.gemm_4bit.default: _gemm_4bit_default_impl}

    def _of_flash(self) -> dict[Any, StandIn]:
        from torch.nn.attention import varlen  # noqa: F401 - defines the operator

        return {torch.ops.torch_attn._varlen_attn_backward.default: self._flash_backward}

    # ftk's attention on a processor: the very kernels, over two rows of each length (the others free what they take)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float, window: int, cap: float
    ) -> tuple[Tensor, Tensor]:
        from ..training.fast import row_kernels

        with torch.device("meta"):
            return row_kernels.forward(query, key, value, self._starts, row_kernels.Form(scale, window, cap))

    def _attend_backward(self, grad: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        from ..training.fast import row_kernels

        query, key, value, out, sums, _starts, scale, window, cap = rest
        form = row_kernels.Form(scale, window, cap)
        with torch.device("meta"):
            return row_kernels.backward(grad, query, key, value, out, sums, self._starts, form)

    def _fused(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        block = next(size for length, size in _QUERY_BLOCK if query.shape[2] >= length)
        keys = min(_KEY_BLOCK, key.shape[2])
        operator = _aten._scaled_dot_product_flash_attention_for_cpu.default
        found: tuple[Tensor, Tensor] = _beside(self.ledger, operator, query, key, value, *args, **kwargs)
        self._held(4 * self._threads * (block * keys + 2 * block + block * value.shape[3]))
        return found

    def _fused_backward(self, grad: Tensor, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
        block = next(size for length, size in _QUERY_BLOCK if query.shape[2] >= length)
        operator = _aten._scaled_dot_product_flash_attention_for_cpu_backward.default
        found = _beside(self.ledger, operator, grad, query, key, *args, **kwargs)
        self._held(4 * self._threads * 2 * block * min(_KEY_BLOCK, key.shape[2]))
        return found

    def _held(self, size: int) -> None:
        if self.ledger:
            self.ledger.hold(size)

    # picking positions by a mask, whose number of true places meta tensors do not know

    def _index(self, tensor: Tensor, indices: list[Tensor | None]) -> Tensor:
        mask = indices[0]
        if mask is None or mask.dtype != torch.bool:
            return _beside(self.ledger, _aten.index.Tensor, tensor, indices)
        places = self._places(mask)
        found = tensor.new_empty((self._targets, *tensor.shape[mask.dim() :]))
        del places
        return found

    def _index_put(self, tensor: Tensor, indices: list[Tensor | None], values: Tensor, *args: Any, **_: Any) -> Tensor:
        if indices[0] is not None and indices[0].dtype == torch.bool:
            places = self._places(indices[0])
            if not self._on_cpu:  # sorts the places first, and keeps them with their order
                torch.empty((4 * self._targets,), dtype=torch.int64, device="meta")
            del places
        return tensor

    def _places(self, mask: Tensor) -> list[Tensor]:
        return [torch.empty((self._targets,), dtype=torch.int64, device="meta") for _ in range(mask.dim())]

    # flash attention on a GPU

    def _flash_backward(self, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> Any:
        """What FlashAttention 2 allocates in its backward pass: float32 sums of the queries' gradients, padded."""
        tokens, heads, width = query.shape
        padded = tokens + 128 * self._rows
        sums = query.new_empty((padded, heads, -(-width // 32) * 32), dtype=torch.float32)
        rows = query.new_empty((heads, padded), dtype=torch.float32)
        found = [torch.empty_like(part) for part in (query, key, value)]
        if heads != key.shape[1]:  # every query head writes its own, then they are added up
            wide = [part.new_empty((part.shape[0], heads, width)) for part in (key, value)]
            del wide
        del sums, rows
        return tuple(found)


def _grouped(a: Tensor, b: Tensor, offsets: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    """The experts' matmul in any number format; meta tensors know it in bfloat16 only."""
    if a.dim() == 2 and b.dim() == 2:
        assert offsets is not None
        return a.new_empty((offsets.shape[0], a.shape[0], b.shape[1]))
    if a.dim() == 3 and b.dim() == 3:
        return a.new_empty((a.shape[0], a.shape[1], b.shape[2]))
    return a.new_empty((a.shape[-2], b.shape[-1]))


def _beside(ledger: Ledger | None, operator: Any, *args: Any, **kwargs: Any) -> Any:
    """Carry out an operator that has a stand-in, without calling that again."""
    from torch.utils._python_dispatch import _disable_current_modes

    with _disable_current_modes():
        result = operator(*args, **kwargs)
    if ledger:
        ledger._see(result)
    return result


def _few(starts: list[int]) -> list[int]:
    """The starts of two rows of every length, laid one after another: all others only take the same again."""
    lengths = [end - begin for begin, end in pairwise(starts)]
    kept: list[int] = []
    for length in lengths:
        if kept.count(length) < 2:
            kept.append(length)
    found = [0]
    for length in kept:
        found.append(found[-1] + length)
    return found


class Attention(TorchFunctionMode):  # type: ignore[misc]
    """Within it, torch's fused attention and softmax are the kernels that the device would take, not meta's.

    Args:
        on_cpu: Whether the computation would run on a processor, else on a GPU.

    """

    def __init__(self, *, on_cpu: bool) -> None:
        super().__init__()
        self._on_cpu = on_cpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function, or what stands for it."""
        if func is functional.scaled_dot_product_attention:
            return self._attention(*args, **(kwargs or {}))
        if func is torch.log_softmax and not self._on_cpu:  # a GPU's kernel makes no copy in float32 first
            return args[0].new_empty(args[0].shape, dtype=(kwargs or {}).get("dtype"))
        return func(*args, **(kwargs or {}))

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if enable_gqa and key.shape[1] != query.shape[1] and not self._on_cpu:
            times = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(times, 1), value.repeat_interleave(times, 1)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(attn_mask.logical_not(), -1e30)
        if self._on_cpu:
            return _aten._scaled_dot_product_flash_attention_for_cpu(
                query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
            )[0]
        bias = None if attn_mask is None else attn_mask.expand(-1, query.shape[1], -1, -1)
        return _aten._scaled_dot_product_efficient_attention(
            query, key, value, bias, True, dropout_p, is_causal, scale=scale
        )[0]


@contextlib.contextmanager
def autocast_on_meta() -> Iterator[None]:
    """Within it, switching autocast off works on the meta device too, which has none to be switched off."""
    real = torch.autocast

    class Autocast(real):  # type: ignore[misc, valid-type]
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu" if device_type == "meta" else device_type, *args, **kwargs)

    torch.autocast = Autocast
    try:
        yield
    finally:
        torch.autocast = real
