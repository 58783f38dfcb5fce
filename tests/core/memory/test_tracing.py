"""What a trace on tensors without memory finds is what a real step keeps and takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ftk.memory import Settings, estimate
from ftk.memory.models import describe
from ftk.memory.stages import Trace
from ftk.memory.timeline import peak
from ftk.memory.tracing import Tracer
from tests import tiny
from tests.core.memory.real import Step

SMALL: dict[str, Any] = {"lora_rank": 4, "batch_size": 3, "max_length": 96}
CASES: dict[str, dict[str, Any]] = {
    "lora": {},
    "checkpointing": {"gradient_checkpointing": True},
    "plain": {"fast": False},
    "full": {"method": "full"},
    "bfloat16": {"precision": "bfloat16"},
    "dropout": {"lora_dropout": 0.1},
    "few targets": {"lora_targets": ("q_proj", "v_proj")},
}


def _model(architecture: str, precision: str = "float32") -> Any:
    made = tiny.model(architecture).to(getattr(torch, precision))
    made.config._attn_implementation = tiny.attention(architecture)
    return made


def _config(architecture: str) -> dict[str, Any]:
    config = tiny.config(architecture)
    return {**config.to_dict(), "model_type": config.model_type}


def _trace(architecture: str, settings: Settings) -> Trace:
    tracer = Tracer(describe(_config(architecture)), settings, None, unpacked=False)
    return tracer.trace(settings.batch_size, settings.max_length, accumulates=False)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_what_is_kept_for_the_backward_pass_is_what_a_real_step_keeps(architecture: str) -> None:
    settings = Settings(**SMALL)
    found = _trace(architecture, settings)
    kept = sum(stage.change for name, stage in found.stages.items() if not name.startswith(("turn", "backward")))
    assert kept == pytest.approx(Step(_model(architecture), settings).kept(), rel=0.03)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_peak_of_a_step_is_what_torch_gives_out(architecture: str) -> None:
    _compare(architecture, Settings(**SMALL))


@pytest.mark.parametrize("case", CASES)
def test_the_peak_follows_the_settings(case: str) -> None:
    _compare("llama", Settings(**{**SMALL, **CASES[case]}))


def _compare(architecture: str, settings: Settings) -> None:
    step = Step(_model(architecture, settings.precision), settings)
    made = estimate(_config(architecture), settings, trace=True)
    assert made.basis == "trace"
    assert made.tensors == pytest.approx(step.peak(), rel=0.03)


def test_layers_between_the_first_and_the_last_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {**_config("llama"), "num_hidden_layers": 3, "layer_types": None}
    many = {**few, "num_hidden_layers": 40}
    settings = Settings(**SMALL)
    traces = [Tracer(describe(c), settings, None, unpacked=False).trace(3, 96, accumulates=False) for c in (few, many)]
    assert len(traces[1].layers) == 40
    assert {name: stage.change for name, stage in traces[0].stages.items()} == {
        name: stage.change for name, stage in traces[1].stages.items()
    }
    one = traces[0].stages["forward kind 0"].change
    assert peak(traces[1]).activations - peak(traces[0]).activations == 37 * one


def test_a_short_model_is_run_whole_and_gives_the_same() -> None:
    """Three layers are all run; that the middle one stands for others is right only if it is like them."""
    values = {**_config("gemma3_text"), "num_hidden_layers": 7, "layer_types": None}
    settings = Settings(**SMALL)
    found = Tracer(describe(values), settings, None, unpacked=False).trace(3, 96, accumulates=False)
    assert len(found.layers) == 7
    assert len(set(found.layers)) == 4  # the first, sliding ones, a full one, the last


ODD: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "mistral": {"sliding_window": 16},
    "phi": {"partial_rotary_factor": 0.5},
    "starcoder2": {},
    "stablelm": {"partial_rotary_factor": 0.5},
    "olmo2": {},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "decoder_sparse_step": 2},
}


@pytest.mark.parametrize("architecture", ODD)
def test_architectures_that_formulas_refuse_are_traced(architecture: str) -> None:
    sizes = {
        "vocab_size": 512, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0,
    }  # fmt: skip
    made = estimate({"model_type": architecture, **sizes, **ODD[architecture]}, Settings(**SMALL), trace=True)
    assert made.basis == "trace", made.basis
    assert made.activations > 0


def test_a_quantised_model_is_traced_with_its_packed_layers(tmp_path: Path) -> None:
    from ftk.memory.card import find

    settings = Settings(**SMALL, quantization="nf4", precision="bfloat16")
    values = {**_config("llama"), "hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
    on_card = estimate(values, settings, find("l4"), trace=True)
    assert on_card.basis == "trace"
    assert on_card.unpacked == 0
    on_cpu = estimate(values, settings, trace=True, machine=2**40)
    assert on_cpu.basis == "trace"
    assert on_cpu.unpacked == 2 * 2 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256)
    crowded = estimate(values, settings, trace=True, machine=2**20)
    assert crowded.unpacked == 0
