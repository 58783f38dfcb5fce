"""A model without memory for its weights (on torch's meta device), made trainable as a real one is."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..config import RunConfig, build
from ..errors import ModelError
from ..models.loading import LoadedModel
from ..training import trained
from ..training.fast import compiling, lora
from .models import Described
from .settings import Settings
from .stages import Census
from .stored import int8_bytes, nf4_bytes


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings of libraries, which mean the real model."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def make(model: Described, settings: Settings) -> Any:
    """The model with what is to be trained, on the meta device and in training mode.

    Args:
        model: Which one.
        settings: How it is stored and what of it is trained.

    Raises:
        ModelError: transformers does not know the architecture, or cannot make a model of this configuration.
        ConfigError: no layer has one of the names in `lora_targets`.

    """
    with quiet(), torch.device("meta"):
        base = _base(model, settings)
        if settings.quantization != "none":
            _quantise(base, settings.quantization, getattr(torch, settings.precision))
        loaded = LoadedModel(base, None, _Info(base.config.get_text_config().model_type))  # type: ignore[arg-type]
        made = trained.make_trainable(loaded, (), run_config(settings), fresh=False)
    made.train()
    return made


@dataclass(frozen=True)
class _Info:
    """What `trained.make_trainable` asks of a loaded model."""

    architecture: str


def run_config(settings: Settings) -> RunConfig:
    """The settings as a run has them."""
    targets = settings.lora_targets
    return build(
        {
            "quantization": settings.quantization,
            "precision": settings.precision,
            "method": settings.method,
            "lora_rank": settings.lora_rank,
            "lora_alpha": 2.0 * settings.lora_rank,
            "lora_dropout": settings.lora_dropout,
            "lora_dora": settings.lora_dora,
            "lora_targets": "auto" if targets is None else list(targets),
            "batch_size": settings.batch_size,
            "max_length": max(8, settings.max_length),
            "gradient_checkpointing": settings.gradient_checkpointing,
            "compile": False,
        }
    )


def _base(model: Described, settings: Settings) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = model.values.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise ModelError(
            f"{model.name}: transformers carries no architecture {kind!r}.",
            hint="ftk runs no code that comes with a model.",
        )
    values = {key: value for key, value in model.values.items() if key != "quantization_config"}
    dtype = getattr(torch, settings.precision)
    for attention in ("sdpa", "eager"):  # as `models.loading` does it
        try:
            config = CONFIG_MAPPING[kind].from_dict(dict(values))
            config.use_cache = False
            with no_init_weights():
                made = AutoModelForCausalLM.from_config(
                    config, dtype=dtype, attn_implementation=attention, trust_remote_code=False
                )
            made.tie_weights()
            return made.eval()
        except Exception as error:
            if attention == "sdpa" and isinstance(error, ValueError) and "attention implementation" in str(error):
                continue
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{model.name}: no model can be made of this configuration: {reason}") from error
    raise AssertionError("the loop returns or raises")


def _quantise(base: Any, quantization: str, dtype: torch.dtype) -> None:
    """Replace the linear layers as transformers does, with packed weights that have no memory."""
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    from ..models.loading import _quantization_config

    left_out = [*get_keys_to_not_convert(base), *(base._keep_in_fp32_modules or [])]
    replace_with_bnb_linear(base, left_out, _quantization_config(quantization, dtype))
    for module in packed(base):
        if quantization == "nf4":
            _pack_4bit(module, dtype)
        else:
            _pack_8bit(module)
        if module.bias is not None:
            module.bias = torch.nn.Parameter(module.bias.to(dtype), requires_grad=False)
    base.is_quantized = True
    setattr(base, "is_loaded_in_4bit" if quantization == "nf4" else "is_loaded_in_8bit", True)


def packed(model: Any) -> list[Any]:
    """The layers that bitsandbytes stores."""
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    return [module for module in model.modules() if isinstance(module, Linear4bit | Linear8bitLt)]


def _pack_4bit(module: Any, dtype: torch.dtype) -> None:
    from bitsandbytes.functional import QuantState
    from bitsandbytes.nn import Params4bit

    weights = module.in_features * module.out_features
    blocks = -(-weights // 64)
    outer = QuantState(absmax=torch.empty(-(-blocks // 256)), code=torch.empty(256), blocksize=256, dtype=torch.float32)
    state = QuantState(
        absmax=torch.empty(blocks, dtype=torch.uint8),
        shape=torch.Size((module.out_features, module.in_features)),
        code=torch.empty(16),
        blocksize=64,
        quant_type="nf4",
        dtype=dtype,
        offset=torch.empty(()),
        state2=outer,
    )
    data = torch.empty((-(-weights // 2), 1), dtype=torch.uint8)
    module.weight = Params4bit(
        data, requires_grad=False, quant_state=state, quant_type="nf4", module=module, bnb_quantized=True
    )
    module.quant_state = state


def _pack_8bit(module: Any) -> None:
    from bitsandbytes.nn import Int8Params

    data = torch.empty((module.out_features, module.in_features), dtype=torch.int8)
    module.weight = Int8Params(
        data, requires_grad=False, has_fp16_weights=False, CB=data, SCB=torch.empty(module.out_features)
    )


def census(model: Any) -> Census:
    """Count the tensors of a model that `make` made; one that is used twice counts once."""
    stored = weights = unpacked = adapters = parameters = packed_ones = 0
    item = model.get_input_embeddings().weight.element_size()
    by_layer = {id(module.weight): module for module in packed(model)}
    fused = {id(getattr(layer.get_base_layer(), "weight", None)) for layer in lora.fusible(model)}
    trained_ones: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            trained_ones.append(parameter)
        if ".lora_" in name:
            adapters += parameter.nbytes
        elif module := by_layer.get(id(parameter)):
            count = module.in_features * module.out_features
            four = parameter.dtype == torch.uint8
            stored += nf4_bytes(count) if four else int8_bytes(module.out_features, count)
            unpacked += count * item if four and id(parameter) in fused else 0
            parameters += count
            packed_ones += count
        else:
            weights += parameter.nbytes
            parameters += parameter.numel()
    buffers = {buffer.untyped_storage()._cdata: buffer.nbytes for buffer in model.buffers()}
    return Census(
        weights=stored + weights + sum(buffers.values()),
        unpacked=unpacked,
        adapters=adapters,
        trained=tuple(parameter.numel() for parameter in trained_ones),
        copied=tuple(parameter.numel() for parameter in trained_ones if parameter.dtype != torch.float32),
        parameters=parameters,
        packed=packed_ones,
    )


def shorten(base: Any) -> tuple[list[int], list[str]]:
    """Leave of a model's layers the first, the last and one of each kind between them.

    Returns:
        The numbers of the layers that stayed, and for every layer of the whole model the name of its like.

    """
    decoder = getattr(base, base.base_model_prefix)
    layers = compiling.layers_of(decoder)
    if layers is None:
        return [], []
    config = decoder.config
    types = getattr(config, "layer_types", None)
    kinds = [_kind(layer, types[number] if types else None) for number, layer in enumerate(layers)]
    last = len(layers) - 1
    names: dict[Any, str] = {}
    alike = [
        "first" if number == 0 else "last" if number == last else names.setdefault(kind, f"kind {len(names)}")
        for number, kind in enumerate(kinds)
    ]
    kept = sorted({alike.index(name) for name in alike})
    decoder_layers = torch.nn.ModuleList([layers[number] for number in kept])
    setattr(decoder, next(name for name in compiling.LAYER_LISTS if hasattr(decoder, name)), decoder_layers)
    config.num_hidden_layers = len(kept)
    if types:
        config.layer_types = [types[number] for number in kept]
    return kept, alike


def _kind(layer: Any, attention: str | None) -> Any:
    """What two layers have in common that take the same memory."""
    shapes = tuple((name, tuple(p.shape), p.dtype, p.requires_grad) for name, p in layer.named_parameters())
    windows = tuple(getattr(module, "sliding_window", None) for module in layer.modules() if module is not layer)
    return type(layer), attention, tuple(window for window in windows if window), shapes
