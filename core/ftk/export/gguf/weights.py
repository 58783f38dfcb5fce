"""The weights of a model as GGUF has them: its names, its order of rows, its number formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from ...errors import ExportError
from . import metadata

WRITTEN = ("f32", "f16", "bf16", "q8_0")
"""The number formats that ftk writes itself."""

_BLOCK = 32
"""Numbers that share a scale in Q8_0; a row that is no multiple of it stays in 16 bits."""
_LEFT_OUT = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
_ALWAYS_WHOLE = ("position_embd.weight", "rope_freqs.weight")
_TRANSPOSED = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")


@dataclass(frozen=True)
class Stored:
    """A tensor as it will be in the file: its name, its shape, the gguf package's type; `read` makes its numbers."""

    name: str
    shape: tuple[int, ...]
    kind: Any
    source: str

    @property
    def bytes(self) -> int:
        """What it takes in the file."""
        import gguf

        block, size = gguf.GGML_QUANT_SIZES[self.kind]
        count = 1
        for length in self.shape:
            count *= length
        return count // int(block) * int(size)


def plan(config: Any, weights: Mapping[str, torch.Tensor], number_format: str) -> list[Stored]:
    """What will be in the file, without computing any of it.

    Args:
        config: The text part of the model's configuration.
        weights: The model's `state_dict`.
        number_format: One of `WRITTEN`.

    Raises:
        ExportError: a weight has no place in GGUF.

    """
    import gguf

    architecture = metadata.architecture_of(config)
    known = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(known, config.num_hidden_layers)
    tied = bool(getattr(config, "tie_word_embeddings", False))
    stored = []
    for source, tensor in weights.items():
        if source.endswith(_LEFT_OUT) or (source == "lm_head.weight" and tied):
            continue
        base, _, ending = source.rpartition(".")
        name = names.get_name(base)
        if name is None:
            raise ExportError(f"The weight {source!r} has no place in a GGUF file of {architecture}.")
        shape = tuple(tensor.shape[::-1] if source.endswith(_TRANSPOSED) and architecture == "gpt2" else tensor.shape)
        full = f"{name}.{ending}"
        stored.append(Stored(full, shape, _kind(full, shape, number_format), source))
    return stored


def _kind(name: str, shape: tuple[int, ...], number_format: str) -> Any:
    from gguf import GGMLQuantizationType as Kind

    if len(shape) < 2 or name in _ALWAYS_WHOLE or number_format == "f32":
        return Kind.F32
    if number_format == "q8_0" and shape[-1] % _BLOCK:
        return Kind.F16
    return {"f16": Kind.F16, "bf16": Kind.BF16, "q8_0": Kind.Q8_0}[number_format]


def numbers(stored: list[Stored], weights: Mapping[str, torch.Tensor], config: Any) -> Iterator[tuple[Stored, Any]]:
    """The numbers of every tensor, one after another, as arrays in the file's format.

    Raises:
        ExportError: a weight is not finite, or too large for 16-bit floats.

    """
    import gguf

    for part in stored:
        values = _arranged(part.source, weights[part.source].detach().float().cpu(), config)
        if not values.isfinite().all():
            raise ExportError(f"The weight {part.source!r} holds numbers that are not finite.")
        array = values.contiguous().numpy()
        if part.kind == gguf.GGMLQuantizationType.F16 and numpy.abs(array).max(initial=0.0) > numpy.finfo("f2").max:
            raise ExportError(f"The weight {part.source!r} is too large for f16.", hint="Use --type bf16.")
        yield part, gguf.quants.quantize(array, part.kind)


def _arranged(name: str, values: torch.Tensor, config: Any) -> torch.Tensor:
    """A weight in GGUF's order of rows."""
    kind = config.model_type
    if kind == "gpt2" and name.endswith(_TRANSPOSED):
        return values.T
    if kind.startswith("gemma") and name.endswith("norm.weight"):
        return values + 1  # Gemma multiplies by 1 + weight, llama.cpp by what it reads
    if kind in ("llama", "mistral"):
        if ".q_proj." in name:
            return paired(values, config.num_attention_heads)
        if ".k_proj." in name:
            return paired(values, config.num_key_value_heads)
    return values


def paired(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows in the order of llama.cpp's rotary embedding: the two of a pair side by side, instead of two halves."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)
