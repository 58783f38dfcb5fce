"""From wishes to a plan: what is chosen, why, and what is refused before anything is loaded."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftk import autoconfig, catalog, estimate, memory, strict_yaml
from ftk.autoconfig import Plan
from ftk.config import build
from ftk.data.dataset import load_dataset
from ftk.errors import FtkError, ModelError, UsageError
from ftk.hardware import Gpu, Hardware
from ftk.models.sources import Source
from ftk.training.trainer import Trainer
from tests import tiny

GIB = 1 << 30
CPU = Hardware("cpu", 2, 8 * GIB, 6 * GIB, True, ())
OLD_CPU = Hardware("cpu", 2, 8 * GIB, 6 * GIB, False, ())
A100 = Gpu(0, "A100", 80 * GIB, 0, (8, 0), "580")
T4 = Gpu(0, "Tesla T4", int(14.56 * GIB), 0, (7, 5), "580")


def machine(*gpus: Gpu) -> Hardware:
    return Hardware("cpu", 8, 64 * GIB, 60 * GIB, True, gpus)


def plan(model: str = "smollm2", hardware: Hardware = CPU, rows: Any = None, **settings: Any) -> Plan:
    entry = catalog.find(model)
    source = Source(model, "hub", None, entry.hub if entry else model, entry)
    dataset = load_dataset(rows or tiny.ROWS)
    return autoconfig.resolve(build({"model": model, **settings}), hardware, source, dataset)


@pytest.mark.parametrize(
    ("model", "hardware", "chosen"),
    [
        ("smollm2", CPU, {"device": "cpu", "precision": "bfloat16", "quantization": "none"}),
        ("smollm2", OLD_CPU, {"device": "cpu", "precision": "float32"}),
        ("mistral-7b", machine(A100), {"device": "cuda", "precision": "bfloat16", "quantization": "none"}),
        ("mistral-7b", machine(T4), {"precision": "float16", "quantization": "nf4", "gradient_checkpointing": False}),
        ("gpt2", machine(T4), {"quantization": "none", "gradient_checkpointing": False}),
        ("mistral-7b", machine(A100), {"gradient_checkpointing": False}),
        ("gpt2", CPU, {"lora_targets": ["c_attn", "c_proj", "c_fc"], "optimizer": "adamw"}),
    ],
)
def test_the_machine_and_the_model_decide(model: str, hardware: Hardware, chosen: dict[str, Any]) -> None:
    made = plan(model, hardware)
    for key, value in chosen.items():
        assert getattr(made.config, key) == value
        assert made.reasons[key]


def test_nothing_is_left_open_and_every_choice_has_a_reason() -> None:
    made = plan(hardware=machine(A100))
    left = {key for key, value in made.config.model_dump().items() if value == "auto"}
    assert left <= {"template", "compare"}  # known when tokenizer and rows are
    for key, value in made.config.model_dump().items():
        if value != getattr(build({"model": "smollm2"}), key):
            assert made.reasons[key], key


def test_the_freest_card_is_taken() -> None:
    busy = Gpu(0, "A100", 80 * GIB, 79 * GIB, (8, 0), "580")
    free = Gpu(1, "T4", 16 * GIB, 0, (7, 5), "580")
    made = plan("mistral-7b", machine(busy, free))
    assert (made.config.device, made.config.precision) == ("cuda:1", "float16")
    assert "T4, 16.0 GiB free" in made.reasons["device"]


def test_what_was_asked_for_is_kept_and_needs_no_reason() -> None:
    asked = {"quantization": "nf4", "precision": "float32", "lora_rank": 3, "eval_steps": 7, "optimizer": "adamw"}
    made = plan(**asked)
    for key, value in asked.items():
        assert getattr(made.config, key) == value
        assert key not in made.reasons
    assert made.config.lora_alpha == 6.0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"device": "cuda"}, "no NVIDIA GPU"),
        ({"precision": "float16"}, "bfloat16 or float32"),
        ({"quantization": "8bit"}, "nf4 or none"),
        ({"optimizer": "paged-adamw"}, "adamw"),
    ],
)
def test_what_cannot_work_here_is_refused_with_what_can(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(**settings)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"eval_fraction": 0.0}, 12),  # 16 rows of 4 are 4 steps an epoch, 3 epochs
        ({"eval_fraction": 0.25}, 9),
        ({"eval_fraction": 0.0, "epochs": 0.5}, 2),
        ({"eval_fraction": 0.0, "epochs": 1, "batch_size": 3, "gradient_accumulation": 2}, 3),
        ({"eval_fraction": 0.0, "max_rows": 5, "epochs": 1}, 2),
        ({"max_steps": 77, "epochs": 9}, 77),
    ],
)
def test_steps_follow_from_rows_and_epochs(settings: dict[str, Any], steps: int) -> None:
    assert plan(**settings).total_steps == steps


def test_a_plan_of_the_whole_command_loads_nothing(model_folder: Any) -> None:
    made = autoconfig.plan(build({"model": str(model_folder()), "data": "sample:instruct"}))
    assert made.source.kind == "folder"
    assert made.dataset.name == "sample:instruct"


@pytest.mark.parametrize("settings", [{"model": "no-such-model"}, {"data": "none.jsonl"}, {"eval_data": "none.csv"}])
def test_what_is_not_there_fails_the_plan(settings: dict[str, str], model_folder: Any) -> None:
    with pytest.raises(FtkError):
        autoconfig.plan(build({"model": str(model_folder()), **settings}))


def test_the_time_of_a_run_grows_with_its_steps_and_is_told_with_its_basis(model_folder: Any) -> None:
    short = estimate.estimate_training_time(str(model_folder()), "sample:chat", max_steps=10, precision="float32")
    assert (short.steps, short.low < short.seconds < short.high) == (10, True)
    assert short.tokens > 10 * 4 * 20
    assert short.tokens_per_s > 0
    assert "TFLOP/s" in short.basis
    made = autoconfig.plan(build({"model": str(model_folder()), "max_steps": 1000, "precision": "float32"}))
    assert estimate.for_plan(made).tokens == pytest.approx(100 * short.tokens, rel=0.01)


def test_a_model_of_unknown_size_is_not_guessed() -> None:
    with pytest.raises(ModelError, match="How large"):
        estimate.for_plan(plan("someone/unknown", max_steps=1))


def test_what_is_piped_in_is_kept_for_the_run(
    monkeypatch: pytest.MonkeyPatch, model_folder: Callable[..., Path]
) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in tiny.ROWS)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    planned = autoconfig.plan(build({"model": str(model_folder()), "data": "-:0.5"}))
    kept, _, weight = planned.config.data.rpartition(":")
    assert (Path(kept).read_text(), weight) == (lines, "0.5")
    assert len(planned.dataset) == len(tiny.ROWS) // 2
    again = autoconfig.plan(planned.config)
    assert again.dataset.fingerprint == planned.dataset.fingerprint
    assert again.dataset.rows[0].origin.startswith("standard input, line ")


@pytest.mark.parametrize(
    ("steps", "model", "compiled"), [(1000, "smollm2", True), (5, "smollm2", False), (1000, "gpt2", True)]
)
def test_layers_are_compiled_where_the_run_is_long_enough(
    steps: int, model: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoconfig, "compile_obstacle", lambda device: "")
    made = plan(model, max_steps=steps, batch_size=16)
    assert made.config.compile is compiled
    assert made.reasons["compile"]


def test_nothing_is_compiled_without_a_compiler_or_on_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    assert plan(max_steps=5000).config.compile is False
    assert "C++ compiler" in plan(max_steps=5000).reasons["compile"]
    monkeypatch.delenv("CXX")
    assert plan(max_steps=5000, fast=False).config.compile is False


@pytest.mark.parametrize(
    ("model", "hardware", "settings", "grouped"),
    [
        ("smollm2", CPU, {}, False),
        ("smollm2", CPU, {"fast": False}, True),
        ("smollm2", machine(A100), {}, False),
        ("smollm2", machine(T4), {}, True),
        ("smollm2", machine(A100), {"precision": "float32"}, True),
        ("gemma2-2b", machine(A100), {}, True),
        ("smollm2", machine(T4), {"group_by_length": False}, False),
        ("smollm2", CPU, {"group_by_length": True}, True),
    ],
)
def test_rows_of_like_length_make_a_step_only_where_they_are_padded(
    model: str, hardware: Hardware, settings: dict[str, Any], grouped: bool
) -> None:
    made = plan(model, hardware, **settings)
    assert made.config.group_by_length is grouped
    assert ("group_by_length" in made.reasons) == ("group_by_length" not in settings)


def test_a_model_that_the_fast_path_does_not_know_is_padded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "stablelm", "vocab_size": 512}))
    source = Source("mine", "folder", tmp_path, None, None)
    made = autoconfig.resolve(build({"model": str(tmp_path)}), CPU, source, load_dataset(tiny.ROWS))
    assert made.config.group_by_length is True
    assert "stablelm" in made.reasons["group_by_length"]


def test_full_fine_tuning_takes_small_steps_and_plain_weights() -> None:
    made = plan("smollm2", machine(A100), method="full")
    assert made.config.learning_rate == 2e-5
    assert plan("smollm2").config.learning_rate == 2e-4
    made = plan("mistral-7b", machine(A100), method="full")
    whole = made.config
    assert whole.quantization == "none"
    assert whole.optimizer == "paged-adamw-8bit"  # AdamW's moments alone would take more than the card has
    assert "with adamw" in made.reasons["optimizer"]
    with pytest.raises(UsageError, match="full"):
        plan("smollm2", method="full", quantization="nf4")


def test_liger_needs_a_gpu_and_takes_the_place_of_compiling() -> None:
    with pytest.raises(UsageError, match="NVIDIA"):
        plan(liger=True)
    assert plan("mistral-7b", machine(A100), liger=True, max_steps=10**6).config.compile is False


CARDS = {card.id: card for card in memory.cards()}


def on_card(model: str, card: str, rows: Any = None, **settings: Any) -> Plan:
    return plan(model, estimate.as_if(CPU, CARDS[card]), rows, **settings)


@pytest.mark.parametrize(
    ("model", "card", "quantization", "recomputed", "precision"),
    [
        ("smollm2", "t4", "none", False, "float16"),
        ("gpt2-medium", "t4", "none", False, "float16"),
        ("llama3.2-3b", "t4", "none", False, "float16"),
        ("mistral-7b", "t4", "nf4", False, "float16"),
        ("llama3.1-8b", "t4", "nf4", False, "float16"),
        ("gemma2-9b", "t4", "nf4", False, "float16"),
        ("mistral-7b", "l4", "none", False, "bfloat16"),
        ("gemma2-9b", "a10", "none", False, "bfloat16"),
        ("llama3.1-8b", "rtx3090", "none", False, "bfloat16"),
        ("llama3.1-8b", "rtx4090", "none", False, "bfloat16"),
        ("gemma2-9b", "a100-40", "none", False, "bfloat16"),
        ("qwen3-8b", "a100-80", "none", False, "bfloat16"),
        ("llama3.1-8b", "h100", "none", False, "bfloat16"),
        ("llama3.1-8b", "mi300x", "none", False, "bfloat16"),
    ],
)
def test_every_card_gets_what_fits_it(
    model: str, card: str, quantization: str, recomputed: bool, precision: str
) -> None:
    made = on_card(model, card)
    config = made.config
    assert (config.quantization, config.precision) == (quantization, precision)
    assert config.gradient_checkpointing is recomputed
    assert made.fit
    assert made.fit.fits
    assert made.fit.breakdown.process < CARDS[card].memory
    assert "GiB" in made.reasons["quantization"]
    assert not made.remarks


def long_rows(count: int, words: int) -> list[dict[str, str]]:
    return [{"prompt": f"Tell me of {number}.", "response": f"{number} " + "word " * words} for number in range(count)]


@pytest.mark.parametrize(("rows", "step"), [(100, 4), (2_000, 8), (8_000, 16)])
def test_more_data_takes_larger_steps(rows: int, step: int) -> None:
    made = on_card("smollm2", "a100-80", long_rows(rows, 3), epochs=1)
    assert (made.config.batch_size, made.config.gradient_accumulation) == (step, 1)
    if step != 4:
        assert f"{step} rows a step" in made.reasons["batch_size"]
    assert on_card("smollm2", "a100-80", long_rows(rows, 3), batch_size=4).config.batch_size == 4
    asked = on_card("smollm2", "a100-80", long_rows(rows, 3), gradient_accumulation=2).config
    assert (asked.batch_size, asked.gradient_accumulation) == (4, 2)


def test_a_step_is_cut_into_portions_that_fit() -> None:
    made = on_card("llama3.1-8b", "t4", long_rows(2_000, 400)).config
    assert made.batch_size < 8
    assert made.batch_size * made.gradient_accumulation == 8


@pytest.mark.parametrize(("words", "length"), [(50, 512), (400, 512), (900, 960), (9_000, 2048)])
def test_rows_are_as_long_as_the_datas_are(words: int, length: int) -> None:
    made = plan(rows=long_rows(30, words))
    assert made.config.max_length == length
    if length != 512:
        assert "99 of 100 rows" in made.reasons["max_length"]
    assert plan(rows=long_rows(30, words), max_length=64).config.max_length == 64
    assert plan("gpt2", rows=long_rows(30, 9_000)).config.max_length == 1024  # its longest


@pytest.mark.parametrize(("model", "rate"), [("smollm2", 2e-4), ("qwen3-4b", 2e-4), ("mistral-7b", 1e-4)])
def test_large_models_learn_in_smaller_steps(model: str, rate: float) -> None:
    assert on_card(model, "a100-80").config.learning_rate == rate


@pytest.mark.parametrize(
    ("settings", "nearest"),
    [
        ({"quantization": "none"}, "--quantization nf4"),
        ({"quantization": "nf4", "batch_size": 64, "max_length": 2048}, "--batch-size"),
        ({"method": "full"}, "smaller model"),
    ],
)
def test_an_override_that_will_not_fit_is_told_with_the_nearest_that_would(
    settings: dict[str, Any], nearest: str
) -> None:
    made = on_card("llama3.1-8b", "t4", long_rows(100, 1500), **settings)
    (remark,) = made.remarks
    assert "will not fit the memory" in remark.message
    assert nearest in remark.hint
    for key, value in settings.items():
        assert getattr(made.config, key) == value
    if "--" in nearest:
        words = remark.hint.split(": ")[1].rstrip(".").split(" --")
        changes = dict(word.removeprefix("--").split(" ") for word in words)
        typed = {key.replace("-", "_"): strict_yaml.scalar(value) for key, value in changes.items()}
        assert not on_card("llama3.1-8b", "t4", long_rows(100, 1500), **{**settings, **typed}).remarks


def test_what_will_not_fit_is_the_first_thing_a_run_tells(model_folder: Callable[..., Path]) -> None:
    made = autoconfig.plan(build({"model": str(model_folder()), "max_steps": 1}))
    assert made.fit
    assert made.fit.fits
    full = replace(made, fit=replace(made.fit, space=replace(made.fit.space, free=1 << 20)))
    assert Trainer(full)._remarks[0].code == "fit"


def test_activations_are_recomputed_before_weights_are_packed() -> None:
    made = on_card("gemma2-9b", "a10", long_rows(100, 1500))
    assert made.fit
    assert made.fit.fits
    assert (made.config.quantization, made.config.gradient_checkpointing) == ("none", True)
    assert "without it about" in made.reasons["gradient_checkpointing"]


def test_main_memory_is_counted_too() -> None:
    tight = Hardware("cpu", 2, 24 * GIB, 20 * GIB, True, ())
    assert plan("smollm2", tight).config.gradient_checkpointing is False
    large = plan("llama3.1-8b", tight, long_rows(50, 400))
    assert large.fit
    assert large.fit.fits
    assert large.config.gradient_checkpointing is True or large.config.batch_size < 4
    small = plan("llama3.1-8b", Hardware("cpu", 2, 8 * GIB, 6 * GIB, True, ()), long_rows(50, 400))
    assert "smaller model" in small.remarks[0].hint


def test_a_torch_for_the_cpu_leaves_the_card_alone() -> None:
    blind = replace(machine(T4), torch_uses_gpus=False)
    made = plan(hardware=blind)
    assert made.config.device == "cpu"
    assert "Tesla T4 lies idle" in made.reasons["device"]
    with pytest.raises(UsageError, match="built for the CPU only"):
        plan(hardware=blind, device="cuda")


def test_a_dry_run_takes_the_catalogues_word_for_its_models() -> None:
    asked = build({"model": "mistral-7b"})
    with pytest.raises(ModelError):
        autoconfig.plan(asked)
    assert autoconfig.plan(asked, asks_hub=False).source.hub == "mistralai/Mistral-7B-Instruct-v0.3"
    with pytest.raises(ModelError):
        autoconfig.plan(build({"model": "someone/unknown"}), asks_hub=False)


def test_a_model_of_unknown_shape_goes_by_its_weights() -> None:
    def made(weights: int | None, *cards: Gpu) -> Any:
        source = Source("someone/unknown", "hub", None, "someone/unknown", None, weights=weights)
        return autoconfig.resolve(build({"model": "someone/unknown"}), machine(*cards), source, load_dataset(tiny.ROWS))

    assert made(7 * 10**9, A100).config.quantization == "nf4"
    assert made(7 * 10**9, A100).config.gradient_checkpointing is True
    assert made(10**9, A100).config.quantization == "none"
    assert made(None).config.quantization == "none"
    assert made(None).fit is None
    assert made(None).remarks == []
