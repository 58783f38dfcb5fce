"""The widths of a decoder, read from a configuration without any library."""

from __future__ import annotations

from dataclasses import dataclass

from .models import Described

_EXTRA_NORMS = {"gemma2": 2, "gemma3_text": 2}
"""Norms of a layer beyond the usual two."""
_HEAD_NORMS = ("qwen3", "gemma3_text", "qwen3_moe")
"""Architectures that normalise queries and keys."""
_PLAIN_MLP = ("gpt2", "gpt_neox", "phi", "falcon", "opt", "bloom", "starcoder2")
"""Those whose MLP has no gate, and whose norms are torch's own."""
_TIED = ("gpt2", "gemma", "gemma2", "gemma3_text")
"""Those that share embedding and head where the configuration does not say."""

Linear = tuple[str, int, int]
"""A linear layer: the name that adapters know it by, its inputs, its outputs."""


@dataclass(frozen=True)
class Sizes:
    """The widths of a decoder.

    `experts` copies of the MLP lie in a layer, of which a token goes through `used`; `places` is the number of learnt
    positions.
    """

    layers: int
    hidden: int
    inner: int
    queries: int
    keys: int
    heads: int
    vocabulary: int
    places: int
    tied: bool
    gated: bool
    plain_norms: bool
    norms: int
    head_norms: bool
    capped: bool
    experts: int
    used: int
    linears: list[Linear]


def sizes_of(model: Described) -> Sizes:
    """The widths that a configuration states, whatever its architecture calls them."""
    text, architecture = model.text, model.architecture

    def number(*names: str, otherwise: int = 0) -> int:
        return next((int(text[name]) for name in names if isinstance(text.get(name), int)), otherwise)

    hidden = number("hidden_size", "n_embd", "d_model", otherwise=768)
    heads = number("num_attention_heads", "n_head", otherwise=12)
    width = number("head_dim", otherwise=hidden // heads)
    queries, keys = heads * width, number("num_key_value_heads", otherwise=heads) * width
    inner = number("moe_intermediate_size", "intermediate_size", "n_inner", otherwise=4 * hidden)
    plain = architecture in _PLAIN_MLP
    tied = text.get("tie_word_embeddings")
    return Sizes(
        layers=number("num_hidden_layers", "n_layer", otherwise=12),
        hidden=hidden,
        inner=inner,
        queries=queries,
        keys=keys,
        heads=heads,
        vocabulary=number("vocab_size", otherwise=50257),
        places=number("n_positions", otherwise=1024) if architecture == "gpt2" else 0,
        tied=architecture in _TIED if tied is None else bool(tied),
        gated=not plain,
        plain_norms=plain,
        norms=2 + _EXTRA_NORMS.get(architecture, 0),
        head_norms=architecture in _HEAD_NORMS,
        capped=bool(text.get("attn_logit_softcapping")) or architecture == "gemma2",
        experts=number("num_local_experts", "num_experts", "n_routed_experts", otherwise=1),
        used=number("num_experts_per_tok", otherwise=1),
        linears=_linears(architecture, hidden, inner, queries, keys),
    )


def _linears(architecture: str, hidden: int, inner: int, queries: int, keys: int) -> list[Linear]:
    if architecture == "gpt2":
        names = ("c_attn", hidden, 3 * hidden), ("c_proj", hidden, hidden), ("c_fc", hidden, inner)
        return [*names, ("c_proj", inner, hidden)]
    if architecture == "phi3":
        attention = [("qkv_proj", hidden, queries + 2 * keys), ("o_proj", queries, hidden)]
        return [*attention, ("gate_up_proj", hidden, 2 * inner), ("down_proj", inner, hidden)]
    found = [
        ("q_proj", hidden, queries),
        ("k_proj", hidden, keys),
        ("v_proj", hidden, keys),
        ("o_proj", queries, hidden),
        ("up_proj", hidden, inner),
        ("down_proj", inner, hidden),
    ]
    return found if architecture in _PLAIN_MLP else [*found, ("gate_proj", hidden, inner)]
