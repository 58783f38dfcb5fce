"""A tiny llama as a GGUF file, laid out as llama.cpp's converter writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests import tiny

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write(path: Path, *, half: bool = False, seed: int = 0) -> Any:
    """Write the tiny llama with its tokenizer to `path`; returns the model that was written.

    Args:
        path: The file to make.
        half: Store the matrices as F16 instead of F32.
        seed: Of the random weights.

    """
    import gguf
    import numpy

    model = tiny.model("llama", seed)
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer)
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if ".q_proj." in name:
            values = _interleaved(values, config.num_attention_heads)
        if ".k_proj." in name:
            values = _interleaved(values, config.num_key_value_heads)
        writer.add_tensor(_gguf_name(name), values.astype(numpy.float16 if half and values.ndim > 1 else values.dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _add_tokenizer(writer: Any) -> None:
    tokenizer = tiny.tokenizer()
    stored = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = stored["model"]["vocab"]
    special = set(tokenizer.all_special_tokens)
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])  # control, normal
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in stored["model"]["merges"]]
    )
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tiny.CHATML)


def _gguf_name(name: str) -> str:
    fixed = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in fixed:
        return fixed[name]
    _, _, block, layer = name.split(".", 3)
    return f"blk.{block}.{_NAMES[layer.removesuffix('.weight')]}.weight"


def _interleaved(weights: Any, heads: int) -> Any:
    """The row order of GGUF's rotary embedding: pairs side by side instead of two halves."""
    rows = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return rows.swapaxes(1, 2).reshape(weights.shape)
