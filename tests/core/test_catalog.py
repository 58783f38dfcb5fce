"""The catalogue: complete, consistent, and true to transformers' own model code."""

from __future__ import annotations

from typing import Any

import pytest

from ftk import catalog, estimate
from ftk.catalog import CatalogModel
from ftk.models import adapters
from tests import tiny

MODELS = catalog.models()


def meta_model(entry: CatalogModel) -> Any:
    """The model of an entry's sizes, without memory for its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if entry.architecture == "gpt2":
        config = AutoConfig.for_model(
            "gpt2", n_layer=entry.layers, n_embd=entry.hidden, n_head=entry.heads, n_inner=entry.intermediate,
            vocab_size=entry.vocabulary, n_positions=entry.context,
        )  # fmt: skip
    else:
        config = AutoConfig.for_model(
            entry.architecture, num_hidden_layers=entry.layers, hidden_size=entry.hidden,
            intermediate_size=entry.intermediate, num_attention_heads=entry.heads, num_key_value_heads=entry.kv_heads,
            head_dim=entry.head_dim, vocab_size=entry.vocabulary, tie_word_embeddings=entry.tied,
            max_position_embeddings=entry.context, pad_token_id=0,
        )  # fmt: skip
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.id)
def test_the_number_of_weights_is_exact(entry: CatalogModel) -> None:
    model = meta_model(entry)
    assert sum(parameter.numel() for parameter in model.parameters()) == entry.weights
    layers = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    assert set(entry.lora.targets) <= layers


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.id)
def test_memory_is_the_formulas_and_the_architecture_is_known(entry: CatalogModel) -> None:
    assert (entry.vram.minimum_gib, entry.vram.recommended_gib) == estimate.vram(entry)
    assert entry.architecture in tiny.ARCHITECTURES
    assert entry.lora.targets == adapters.default_targets(entry.architecture)
    assert entry.heads % entry.kv_heads == 0


def test_names_are_unique_and_found_in_any_case() -> None:
    names = [name.lower() for entry in MODELS for name in {entry.id, entry.hub, *entry.aliases}]
    assert len(names) == len(set(names))
    for entry in MODELS:
        for name in (entry.id, entry.hub, *entry.aliases):
            assert catalog.find(name) is catalog.find(name.upper()) is entry
    assert catalog.find("no-such-model") is None
    assert "mistral-7b" in catalog.suggest("mistral7b")
    assert catalog.suggest("zzzzzzzz") == ""


@pytest.mark.parametrize(
    "name",
    [
        "gpt2", "gpt2-medium", "phi3-mini", "mistral-7b", "llama3-8b", "llama3.2-1b", "llama3.2-3b", "qwen2.5-0.5b",
        "qwen2.5-7b", "qwen3-0.6b", "qwen3-8b", "gemma3-270m", "gemma2-2b", "gemma2-9b", "codellama-7b", "tinyllama",
        "smollm2-135m", "smollm2-360m", "smollm2-1.7b", "openai-community/gpt2", "microsoft/Phi-3-mini-4k-instruct",
    ],
)  # fmt: skip
def test_the_models_that_were_promised_are_there(name: str) -> None:
    assert catalog.find(name), [entry.id for entry in MODELS]


def test_models_behind_a_licence_are_marked() -> None:
    for entry in MODELS:
        if entry.family in ("Llama 3.1", "Llama 3.2", "Gemma 2", "Gemma 3", "Gemma", "Llama"):
            assert entry.gated, entry.id
        if entry.license in ("Apache-2.0", "MIT") and entry.family not in ("Mistral",):
            assert not entry.gated, entry.id
