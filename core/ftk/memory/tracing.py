"""What a micro-batch allocates, found by running ftk's own pass over the real model code without any memory.

The model is made on torch's meta device, where tensors have shapes and no numbers. Forward and backward pass run as in
training, and a `Ledger` counts what is alive at each moment. Only the first and the last layer run, and one of
each kind between them: the others take the same again.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ..data.batches import PACKED_MULTIPLE, Batch, filled
from ..training import passes
from ..training.fast import attention, compiling, lora
from . import hollow
from .card import Card
from .kernels import Attention, Kernels, autocast_on_meta
from .ledger import Ledger
from .models import Described
from .settings import Settings
from .stages import Census, Trace

_ATTENTION = "ftk_rows_traced"
_ROUNDING = 512
"""Bytes to whose multiple torch's CUDA allocator rounds up."""


class Tracer:
    """A hollow model that micro-batches can be traced with; making it takes most of the time.

    Args:
        model: Which one.
        settings: How it is stored and what is trained; `batch_size` and `max_length` do not matter yet.
        card: The card that it would run on; None for a processor.
        unpacked: Whether 4-bit weights are kept in plain numbers too.

    Raises:
        ModelError: see `hollow.make`.

    """

    def __init__(self, model: Described, settings: Settings, card: Card | None, *, unpacked: bool) -> None:
        self._settings, self._card = settings, card
        self._model = hollow.make(model, settings)
        self.census: Census = hollow.census(self._model)
        base = passes._base_of(self._model)
        kept, self._alike = hollow.shorten(base)
        self._names = [self._alike[number] for number in kept]
        self._decoder = getattr(base, base.base_model_prefix)
        self.packs = self._few = False
        self._pass = self._make_pass(base, unpacked)

    def _make_pass(self, base: Any, unpacked: bool) -> Any:
        """The pass that training would take, told to do on the meta device what it does on the real one."""
        nowhere = torch.device("meta")
        config = hollow.run_config(self._settings).merged({"fast": self._settings.fast})
        with hollow.quiet():
            made = passes.choose(self._model, 0, nowhere, config, lambda _: None)
        if not isinstance(made, passes.FastPass):
            return made
        if unpacked:
            lora.restore(made._layers)
            with nowhere:
                made._layers = lora.fuse(self._model, dequantise=True)
        text = base.config.get_text_config()
        capped = bool(getattr(text, "attn_logit_softcapping", None))
        half = self._settings.precision != "float32"
        self.packs = self._card is None or (half and self._card.packs_rows and not capped)
        made._packed, made._cached = self.packs, self._card is None
        made._few = self._few = half and self._card is None
        if self.packs:
            _register()
            text._attn_implementation = attention.NAME if self._card else _ATTENTION
        return made

    def close(self) -> None:
        """Undo what making the pass did to the libraries' modules."""
        self._pass.close()

    def trace(self, rows: int, length: int, *, accumulates: bool) -> Trace:
        """Run a micro-batch.

        Args:
            rows: Its rows, all of the same length.
            length: Tokens of a row.
            accumulates: Whether gradients of an earlier micro-batch are there already.

        """
        batch, starts, targets = self._batch(rows, length)
        if isinstance(self._pass, passes.FastPass):
            self._pass._longest = max(length, PACKED_MULTIPLE)
        kernels = Kernels(on_cpu=self._card is None, starts=starts, targets=targets, threads=torch.get_num_threads())
        known = [*self._model.parameters(), *self._model.buffers(), *_unpacked(self._pass)]
        known += [part for part in vars(batch).values() if isinstance(part, Tensor)]
        for parameter in self._model.parameters():
            parameter.grad = torch.empty_like(parameter) if accumulates and parameter.requires_grad else None
            known += [parameter.grad] if parameter.grad is not None else []
        ledger = Ledger(known, kernels.stand_ins(), 1 if self._card is None else _ROUNDING)
        kernels.ledger = ledger
        gradients = self._run(ledger, batch, targets)
        for parameter in self._model.parameters():
            parameter.grad = None
        return Trace(tuple(self._alike), {stage.name: stage for stage in ledger.stages}, gradients)

    def _run(self, ledger: Ledger, batch: Batch, targets: int) -> dict[str, int]:
        """Forward and backward; returns the bytes of gradients that each stage left."""
        borders = _Borders(ledger, self._model)
        layers = compiling.layers_of(self._decoder)
        borders.watch([] if layers is None else list(zip(self._names, layers, strict=True)))
        try:
            with hollow.quiet(), autocast_on_meta(), Attention(on_cpu=self._card is None), ledger:
                ledger.mark("begin")
                loss = self._pass.summed_loss(batch)
                ledger.mark("turn")
                (loss / targets).backward()
                borders.over("")
        finally:
            borders.remove()
        return borders.gradients

    def _batch(self, rows: int, length: int) -> tuple[Batch, list[int], int]:
        """A micro-batch of rows of one length, its starts, and how many of its tokens the loss counts."""
        tokens = rows * length
        targets = max(1, round(rows * (length - 1) * self._settings.supervised))
        sizes = [length] * rows
        if self.packs and (rest := filled(tokens, few=self._few) - tokens):
            sizes.append(rest)
        total = sum(sizes)
        shape = (1, total) if self.packs else (rows, length)

        def whole(*size: int, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.empty(size, dtype=dtype, device="meta")

        batch = Batch(
            input_ids=whole(*shape),
            predict=whole(*shape, dtype=torch.bool),
            labels=whole(targets),
            tokens=tokens,
            targets=targets,
            attention_mask=None if self.packs else whole(*shape),
            position_ids=whole(*shape) if self.packs else None,
            starts=whole(len(sizes) + 1, dtype=torch.int32) if self.packs else None,
        )
        return batch, [0, *accumulate(sizes)], targets


class _Borders:
    """Tells a ledger when a layer begins, forward and backward, and notes which gradients were there by then.

    Args:
        ledger: What to tell.
        model: Whose gradients.

    """

    def __init__(self, ledger: Ledger, model: Any) -> None:
        self._ledger, self._model = ledger, model
        self._back = False
        self._hooks: list[Any] = []
        self.gradients: dict[str, int] = {}

    def watch(self, layers: list[tuple[str, Any]]) -> None:
        """Look at these layers, each with the name of its stages."""
        for number, (name, layer) in enumerate(layers):
            last = number == len(layers) - 1
            self._hooks.append(layer.register_forward_pre_hook(self._before(name)))
            self._hooks.append(layer.register_forward_hook(self._after(name, last=last)))

    def over(self, following: str) -> None:
        """A stage of the backward pass is over; what gradients there are more than before are its own."""
        found = sum(p.grad.nbytes for p in self._model.parameters() if p.grad is not None)
        self.gradients[self._ledger.current] = found - sum(self.gradients.values())
        self._ledger.mark(following)

    def remove(self) -> None:
        """Look no more."""
        for hook in self._hooks:
            hook.remove()

    def _before(self, name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            if not self._back:  # recomputing runs the layer again
                self._ledger.mark(f"forward {name}")

        return hook

    def _after(self, name: str, *, last: bool) -> Callable[..., None]:
        def arrived(_: Tensor) -> None:
            self._back = True
            self.over(f"backward {name}")

        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            if hidden.requires_grad and not self._back:
                hidden.register_hook(arrived)
            if last and not self._back:
                self._ledger.mark("loss")

        return hook


def _unpacked(made: Any) -> list[Tensor]:
    layers = getattr(made, "_layers", [])
    return [layer._ftk_weight for layer in layers if layer._ftk_weight is not None]


def _attend(  # noqa: PLR0913 - transformers' signature
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
    """`training.fast.attention.attend` as it is on a processor."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    parts = [part[0].transpose(0, 1) for part in (query, key, value)]
    window = sliding_window if sliding_window and sliding_window < max_length_q else 0
    out, _sums = torch.ops.ftk_rows.attend.default(*parts, cu_seq_lens_q, scale, window, softcap or 0.0)
    return out[None], None


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    attention.register()
    AttentionInterface.register(_ATTENTION, _attend)
    AttentionMaskInterface.register(_ATTENTION, lambda *args, **kwargs: None)
