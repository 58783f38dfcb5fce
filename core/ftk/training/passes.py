"""Forward and backward passes over a micro-batch: the plain one, and the fast one where model and device allow it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from ..config import RunConfig
from ..data.batches import PACKED_MULTIPLE, Batch, collate, filled, pack
from ..data.encoding import Example
from ..events import Warned
from ..hardware import compile_obstacle, usable_memory
from ..models.adapters import FAST_ARCHITECTURES, is_adapted
from .fast import attention, compiling, head, lora, row_kernels
from .loss import SupervisedHead, summed_loss

_KINDS = 4
"""As many lengths of rows take as long to be met for the first time as one number of all tokens (`few_sizes`)."""
_WARM_UP_TOKENS = 80
"""A length that equals no width of a known model: the compiler would take the two for one and the same."""


class Pass(Protocol):
    """Computes the loss of a micro-batch, summed over its supervised tokens, in float32."""

    def batch(self, examples: Sequence[Example]) -> Batch:
        """The tensors of some rows; may be called in another thread."""

    def sizes(self, lengths: Sequence[int]) -> list[tuple[int, ...]]:
        """The sizes of matrices that rows of these lengths make, by which kernels are prepared."""

    def summed_loss(self, batch: Batch) -> Tensor:
        """The loss, ready for `backward` where gradients are on."""

    @property
    def pads(self) -> bool:
        """Whether rows are padded to the longest one of their batch."""

    @property
    def compiles(self) -> bool:
        """Whether the first batch will be waited for while layers are compiled."""

    def warm_up(self) -> None:
        """Compile what is to be compiled, on a batch that leaves no trace."""

    def backward(self, batch: Batch, factor: float) -> Tensor:
        """Compute the loss, add the gradients of `factor` times it to the parameters, and return it detached."""

    def measuring(self) -> Any:
        """A context in which losses are only measured: no gradients are kept, nothing random is added."""

    def close(self) -> None:
        """Give the model back as it came."""


class PlainPass:
    """The model's own forward pass over padded rows; the head sees the supervised positions only.

    Args:
        model: The model with its adapter.
        pad: Id of the padding token.
        device: Where the model is.

    """

    def __init__(self, model: Any, pad: int, device: torch.device) -> None:
        self.model, self._pad, self._device = model, pad, device
        self._head = SupervisedHead(model)

    def batch(self, examples: Sequence[Example]) -> Batch:
        """Padded rows."""
        return _pinned(collate(examples, self._pad), self._device)

    def sizes(self, lengths: Sequence[int]) -> list[tuple[int, ...]]:
        """As many columns as the longest row has tokens."""
        return [(len(lengths), max(lengths))]

    def summed_loss(self, batch: Batch) -> Tensor:
        """The loss of padded rows."""
        return summed_loss(self.model, self._head, batch, self._device)

    @property
    def pads(self) -> bool:
        """They are."""
        return True

    @property
    def compiles(self) -> bool:
        """Nothing is compiled."""
        return False

    def warm_up(self) -> None:
        """Nothing to do."""

    def backward(self, batch: Batch, factor: float) -> Tensor:
        """Loss and gradients."""
        loss = self.summed_loss(batch)
        (loss * factor).backward()
        return loss.detach()

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """No gradients and no dropout."""
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train()

    def close(self) -> None:
        """Take the hook off."""
        self._head.remove()


class FastPass:
    """Rows without padding, fused adapters, a chunked loss and, if wanted, compiled layers.

    Args:
        model: The model with its adapter; of one of `FAST_ARCHITECTURES`.
        pad: Id of the padding token.
        device: Where the model is.
        config: Settings without any ``auto``.
        warn: Takes the warning if compiling fails.

    """

    def __init__(
        self, model: Any, pad: int, device: torch.device, config: RunConfig, warn: Callable[[Warned], None]
    ) -> None:
        self.model, self._pad, self._device, self._warn = model, pad, device, warn
        self._base = _base_of(model)
        self._decoder = getattr(self._base, self._base.base_model_prefix)
        self._output = self._base.get_output_embeddings()
        text = self._base.config.get_text_config()
        self._cap = float(getattr(text, "final_logit_softcapping", None) or 0.0)
        self._cached = device.type == "cpu"
        self._few = few_sizes(self._base, device)
        self._random = config.lora_dropout > 0
        self._longest = max(config.max_length, PACKED_MULTIPLE)
        self._places = min(config.max_length, int(getattr(text, "max_position_embeddings", 0) or config.max_length))
        self._layers = lora.fuse(model, dequantise=device.type == "cpu" and room_to_dequantise(model))
        self._packed = packs(self._base, device)
        self._config, self._attention = text, text._attn_implementation
        if self._packed:
            attention.register()
            text._attn_implementation = attention.NAME
        self._compiled: Any = None
        self._measuring = self._hooked = False
        if config.compile is True and self._can_compile():
            self._compiled = compiling.layers_of(self._decoder)
            compiling.compile_layers(self._compiled)
            if config.gradient_checkpointing is not True:  # which has made it so already
                self._base.enable_input_require_grads()  # else the first layer, whose input has none, is other code
                self._hooked = True

    def _can_compile(self) -> bool:
        compiling.keep_compiled_in_cache()
        obstacle = compile_obstacle(self._device.type)
        if obstacle:
            self._warn(Warned(code="compile", message=f"The layers are not compiled: {obstacle}."))
        return not obstacle

    def batch(self, examples: Sequence[Example]) -> Batch:
        """Rows one after another, or padded where attention cannot tell them apart."""
        made = pack(examples, self._pad, few=self._few) if self._packed else collate(examples, self._pad)
        return _pinned(made, self._device)

    def sizes(self, lengths: Sequence[int]) -> list[tuple[int, ...]]:
        """Padded rows; else those of all tokens, several times, and in attention each row's for itself."""
        if not self._packed:
            return [(len(lengths), max(lengths))]
        tokens = filled(sum(lengths), few=self._few)
        step = row_kernels.size_step(self._base.dtype) if self._few else 1
        rows = [(-(-length // step) * step,) for length in lengths]
        return [*((tokens, kind) for kind in range(_KINDS)), *rows]

    def summed_loss(self, batch: Batch) -> Tensor:
        """The loss of the rows of a batch."""
        hidden = self._hidden(batch)[batch.predict.to(self._device, non_blocking=True)]
        if self._measuring:
            hidden = hidden.detach()
        labels = batch.labels.to(self._device, non_blocking=True)
        bias = getattr(self._output, "bias", None)
        if self._output.weight.requires_grad:
            return head.trained_loss(hidden, self._output, labels, self._cap)
        found: Tensor = head.ChunkedLoss.apply(hidden, self._output.weight, bias, labels, self._cap, self._cached)
        return found

    def _hidden(self, batch: Batch) -> Tensor:
        inputs: dict[str, Any] = {"input_ids": batch.input_ids.to(self._device, non_blocking=True), "use_cache": False}
        if not self._packed:
            inputs["attention_mask"] = batch.attention_mask.to(self._device, non_blocking=True)
            return self._decoder(**inputs).last_hidden_state
        inputs["position_ids"] = batch.position_ids.to(self._device, non_blocking=True)
        inputs["cu_seq_lens_q"] = batch.starts.to(self._device, non_blocking=True)
        inputs["max_length_q"] = self._longest
        return self._decoder(**inputs).last_hidden_state

    @property
    def pads(self) -> bool:
        """Whether attention cannot tell rows apart that lie one after another."""
        return not self._packed

    @property
    def compiles(self) -> bool:
        """Whether layers are compiled."""
        return self._compiled is not None

    def warm_up(self) -> None:
        """Compile the layers; if that fails, they go on uncompiled, with a warning."""
        if self._compiled is None:
            return
        length = min(_WARM_UP_TOKENS, self._places)
        example = Example((self._pad,) * length, (True,) * length, "")
        try:
            self.backward(self.batch([example]), 1.0)
        except Exception as error:
            if not compiling.is_compile_error(error):
                raise
            self._give_up_compiling(error)
        self.model.zero_grad(set_to_none=True)

    def backward(self, batch: Batch, factor: float) -> Tensor:
        """Loss and gradients."""
        loss = self.summed_loss(batch)
        (loss * factor).backward()
        return loss.detach()

    def _give_up_compiling(self, error: Exception) -> None:
        compiling.uncompile(self._compiled)
        self._compiled = None
        self._warn(
            Warned(
                code="compile",
                message=f"The layers could not be compiled: {' '.join(str(error).split())[:200]}",
                hint="Training goes on without, somewhat slower. --compile false leaves the attempt out.",
            )
        )

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure with the code that trains: another mode would be compiled anew for nothing.

        Compiled layers tell training from evaluation apart, and gradients from none, so both stay as they
        are unless there is dropout to be switched off. What is kept for a backward pass is dropped batch by batch.
        """
        if self._random:
            self.model.eval()
        self._measuring = True
        try:
            with torch.set_grad_enabled(self._compiled is not None):
                yield
        finally:
            self._measuring = False
            self.model.train()

    def close(self) -> None:
        """Give the layers their own forward passes and the model its attention back; a second time does nothing."""
        lora.restore(self._layers)
        self._layers = []
        self._config._attn_implementation = self._attention
        if self._compiled is not None:
            compiling.uncompile(self._compiled)
        if self._hooked:
            self._base.disable_input_require_grads()
            self._hooked = False


def _pinned(batch: Batch, device: torch.device) -> Batch:
    return batch.pinned() if device.type == "cuda" else batch


def packs(base: Any, device: torch.device) -> bool:
    """Whether rows can go without padding: a kernel on this device tells them apart in this architecture."""
    if device.type == "cpu":
        return True
    if device.type != "cuda" or getattr(base.config.get_text_config(), "attn_logit_softcapping", None):
        return False
    if base.dtype not in (torch.bfloat16, torch.float16) or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    try:
        from torch.nn.attention import varlen  # noqa: F401
    except ImportError:
        return False
    return True


def few_sizes(base: Any, device: torch.device) -> bool:
    """Whether sizes of matrices should come again, see `row_kernels.size_step`; GPUs prepare nothing for them."""
    return device.type == "cpu" and row_kernels.size_step(base.dtype) > 1


def room_to_dequantise(model: Any) -> bool:
    """Whether 4-bit layers may be kept in plain numbers too: they would take under a third of the machine's memory.

    Of all of it, not of what is free at the moment: a resumed run must decide the same to get the same bits.
    """
    size = 2 if model.dtype != torch.float32 else 4
    return bool(model.num_parameters() * size < usable_memory() / 3)


def _base_of(model: Any) -> Any:
    return model.get_base_model() if is_adapted(model) else model


def why_plain(model: Any) -> str:
    """Why a model takes the plain path, in words; empty if it need not."""
    base = _base_of(model)
    kind = base.config.get_text_config().model_type
    if kind not in FAST_ARCHITECTURES:
        return f"the fast path does not know {kind!r} models"
    output = base.get_output_embeddings()
    if type(output) is not torch.nn.Linear:
        return "the output layer carries an adapter or is quantised"
    return ""


def choose(model: Any, pad: int, device: torch.device, config: RunConfig, warn: Callable[[Warned], None]) -> Pass:
    """The fast pass where settings and model allow it, else the plain one, which says so unless it was asked for."""
    if config.fast is False:
        return PlainPass(model, pad, device)
    if reason := why_plain(model):
        warn(Warned(code="plain", message=f"Training takes the plain path, which is slower: {reason}."))
        return PlainPass(model, pad, device)
    return FastPass(model, pad, device, config, warn)
