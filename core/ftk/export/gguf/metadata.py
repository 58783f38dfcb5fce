"""What a GGUF file says of a model besides its weights: sizes, positions, norms, in llama.cpp's words."""

from __future__ import annotations

import math
from typing import Any

from ...errors import ExportError

ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
    "gpt2": "gpt2",
}
"""transformers' model types that can be written, and what llama.cpp calls them."""

_GELU, _SILU = ("gelu_pytorch_tanh", "gelu_new"), ("silu", "swish")
_GEMMA_27B = {"gemma2": 46, "gemma3_text": 62}
"""Layers by which llama.cpp knows the models whose attention is scaled by hidden size and not by head size."""


def architecture_of(config: Any) -> str:
    """What llama.cpp calls a model's architecture.

    Args:
        config: The text part of a transformers configuration.

    Raises:
        ExportError: it cannot be written as GGUF, or only so that llama.cpp would compute something else.

    """
    kind = config.model_type
    if kind not in ARCHITECTURES:
        raise ExportError(
            f"A model of the architecture {kind!r} cannot be written as GGUF.",
            hint=f"Known: {', '.join(ARCHITECTURES)}. Otherwise: --to merged, then llama.cpp's convert_hf_to_gguf.py.",
        )
    _check_activation(config)
    _check_scale(config)
    return ARCHITECTURES[kind]


def _check_activation(config: Any) -> None:
    """llama.cpp has one activation for each architecture and does not ask."""
    given = _first(config, "hidden_activation", "hidden_act", "activation_function")
    wanted = _GELU if config.model_type.startswith(("gemma", "gpt2")) else _SILU
    if given not in (None, *wanted) and not (
        config.model_type == "gemma" and given == "gelu"
    ):  # which means tanh there
        raise ExportError(f"llama.cpp computes {config.model_type} models with {wanted[0]}; this one has {given!r}.")


def _check_scale(config: Any) -> None:
    scalar = getattr(config, "query_pre_attn_scalar", None)
    if scalar is None or scalar == config.head_dim:
        return
    by_size = scalar == config.hidden_size // config.num_attention_heads
    if by_size and config.num_hidden_layers == _GEMMA_27B[config.model_type]:
        return
    raise ExportError(
        f"llama.cpp scales the attention of {config.model_type} by the head size ({config.head_dim}); "
        f"this model has query_pre_attn_scalar {scalar}."
    )


def _first(config: Any, *names: str) -> Any:
    return next((getattr(config, name) for name in names if getattr(config, name, None) is not None), None)


def write(writer: Any, config: Any) -> None:
    """Add a model's sizes to a GGUF file.

    Args:
        writer: A `gguf.GGUFWriter` of the right architecture.
        config: The text part of a transformers configuration.

    Raises:
        ExportError: the positions are scaled in a way that GGUF cannot say.

    """
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(_first(config, "num_key_value_heads", "num_attention_heads"))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(head_size(config))
    writer.add_value_length(head_size(config))
    _write_windows(writer, config)
    _write_positions(writer, config)


def head_size(config: Any) -> int:
    """Numbers of one attention head."""
    return int(_first(config, "head_dim") or config.hidden_size // config.num_attention_heads)


def _write_windows(writer: Any, config: Any) -> None:
    if config.model_type in ("gemma2", "gemma3_text", "phi3") and getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    elif getattr(config, "final_logit_softcapping", None):
        raise ExportError(f"llama.cpp does not cap the logits of {config.model_type}, and this model does.")


def positions_of(config: Any) -> dict[str, Any]:
    """How the model turns positions into angles: `rope_theta`, `rope_type` and what belongs to it.

    Gemma 3 has a second base for its sliding layers, which llama.cpp knows by itself.
    """
    found = config.rope_parameters
    return dict(found.get("full_attention", found))


def _write_positions(writer: Any, config: Any) -> None:
    import gguf

    given = positions_of(config)
    kind = given.get("rope_type", "default")
    part = given.get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", None) or 1.0
    writer.add_rope_dimension_count(int(head_size(config) * part))
    writer.add_rope_freq_base(float(given["rope_theta"]))
    if config.model_type == "phi3":
        writer.add_rope_scaling_orig_ctx_len(
            int(getattr(config, "original_max_position_embeddings", 0) or config.max_position_embeddings)
        )
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(given["factor"]))
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(float(given["factor"]))
        writer.add_rope_scaling_orig_ctx_len(int(given["original_max_position_embeddings"]))
    elif kind not in ("default", "llama3"):
        raise ExportError(
            f"Positions scaled as {kind!r} cannot be written as GGUF by ftk.",
            hint="Use --to merged, then llama.cpp's convert_hf_to_gguf.py.",
        )


def position_factors(config: Any) -> list[float] | None:
    """Llama 3's slower angles for long texts, which GGUF holds as a tensor of factors; None for all others."""
    if config.model_type == "gpt2" or positions_of(config).get("rope_type") != "llama3":
        return None
    given = positions_of(config)
    size, known = head_size(config), given["original_max_position_embeddings"]
    low, high, factor = given["low_freq_factor"], given["high_freq_factor"], given["factor"]
    factors = []
    for place in range(0, size, 2):
        length = 2 * math.pi * given["rope_theta"] ** (place / size)
        smooth = (known / length - low) / (high - low)
        factors.append(1 / ((1 - min(max(smooth, 0.0), 1.0)) / factor + min(max(smooth, 0.0), 1.0)))
    return factors
