"""Count what a computation allocates, operator by operator, on tensors that have shapes but no memory (meta)."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .stages import Stage

StandIn = Callable[..., Any]
_LARGE = 2**20
"""Bytes from which a block counts as passing through: smaller ones find room between the others."""


class Ledger(TorchDispatchMode):  # type: ignore[misc]
    """Within it, every new storage on the meta device is counted from its first tensor until the last one is gone.

    Storages come and go on the meta device exactly as they do on a real one, because the same code, the same autograd
    engine and the same reference counts decide. What a kernel allocates inside itself is not seen: operators with
    such kernels get a stand-in.

    Args:
        known: Tensors that are there already and do not count, such as weights.
        stand_ins: What to call in place of an operator; its own operators are counted.
        rounding: Bytes to whose multiple the allocator rounds up (512 on CUDA).

    """

    def __init__(self, known: Iterable[Tensor], stand_ins: dict[Any, StandIn], rounding: int = 1) -> None:
        super().__init__()
        self._stand_ins, self._rounding = stand_ins, rounding
        self._alive: dict[int, Any] = {}
        self.live = 0
        self._peak = self._begin = self._passed = 0
        self._name = ""
        self.stages: list[Stage] = []
        for tensor in known:
            self._alive[tensor.untyped_storage()._cdata] = None

    def mark(self, name: str) -> None:
        """The stage so far is over, and the one of this name begins."""
        if self._name:
            peak, change = self._peak - self._begin, self.live - self._begin
            self.stages.append(Stage(self._name, peak, change, self._passed))
        self._name, self._begin, self._peak, self._passed = name, self.live, self.live, 0

    @property
    def current(self) -> str:
        """The name of the stage that goes on."""
        return self._name

    def hold(self, size: int) -> None:
        """Count bytes that a kernel takes and gives back inside itself."""
        self._peak = max(self._peak, self.live + size)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carry out an operator and count what came of it."""
        kwargs = kwargs or {}
        stand_in = self._stand_ins.get(func)
        if stand_in is not None:
            with self:
                return stand_in(*args, **kwargs)
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return False  # a question about values: the answer that leaves no work out (masks are made)
        result = func(*_together(args), **kwargs)
        self._see(result)
        return result

    def _see(self, result: Any) -> None:
        if isinstance(result, Tensor):
            if result.is_meta:
                self._count(result.untyped_storage())
        elif isinstance(result, tuple | list):
            for part in result:
                self._see(part)

    def _count(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._alive:
            return
        size = -(-storage.nbytes() // self._rounding) * self._rounding
        born = len(self.stages)
        self._alive[key] = weakref.ref(storage, lambda _: self._forget(key, size, born))
        self.live += size
        self._peak = max(self._peak, self.live)

    def _forget(self, key: int, size: int, born: int) -> None:
        del self._alive[key]
        self.live -= size
        if size >= _LARGE and born == len(self.stages):
            self._passed += size


def _together(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments on one device: a small table that lives in main memory joins the meta tensors."""
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    if len({tensor.device.type for tensor in tensors}) < 2:
        return args
    return tuple(
        torch.empty_like(arg, device="meta") if isinstance(arg, Tensor) and not arg.is_meta and arg.dim() else arg
        for arg in args
    )
