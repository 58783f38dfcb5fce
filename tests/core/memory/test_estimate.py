"""The whole estimate: exact where things lie still, growing with what makes it grow, and right about what fits."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftk import catalog, memory
from ftk.errors import ModelError, UsageError
from ftk.memory import Settings, card, estimate, kept, largest_batch, largest_length
from ftk.models import loading, sources
from tests import tiny
from tests.core.memory.real import Step, state_tensors, unique_bytes
from tests.core.models import tiny_gguf

SMALL = Settings(lora_rank=4, batch_size=3, max_length=96)


def _loaded(folder: Path, quantization: str) -> Any:
    source = sources.locate(str(folder))
    return loading.load(source, quantization=quantization).model  # type: ignore[arg-type]


def _weights(model: Any) -> int:
    tensors = [*model.parameters(), *model.buffers()]
    for parameter in model.parameters():
        tensors += state_tensors(parameter)
    return unique_bytes(tensors)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3_text"])
def test_weights_are_those_of_the_loaded_model_to_the_byte(
    model_folder: Callable[..., Path], architecture: str, quantization: str
) -> None:
    folder = model_folder(architecture)
    made = estimate(folder, replace(SMALL, quantization=quantization), trace=True)  # type: ignore[arg-type]
    assert made.weights == _weights(_loaded(folder, quantization))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"quantization": "nf4"},
        {"quantization": "nf4", "lora_targets": ("q_proj", "v_proj")},  # the others are unpacked in turn
        {"quantization": "nf4", "lora_dropout": 0.1},  # which keeps peft's own forward pass
    ],
    ids=str,
)
def test_all_that_stands_after_an_update_is_there_to_the_byte(
    model_folder: Callable[..., Path], changes: dict[str, Any]
) -> None:
    folder = model_folder("llama")
    settings = replace(SMALL, **changes)
    step = Step(_loaded(folder, settings.quantization), settings)
    step()
    made = estimate(folder, settings, trace=True)
    assert made.unpacked == estimate(folder, settings, trace=False).unpacked
    assert made.weights + made.unpacked + made.adapters + made.masters + made.optimizer == step.standing()


def test_masters_of_a_half_precision_adapter_are_counted() -> None:
    values = {**tiny.config("llama").to_dict(), "model_type": "llama"}
    made = estimate(values, replace(SMALL, precision="bfloat16"), trace=True)
    assert made.masters == 2 * made.adapters
    assert made.optimizer == pytest.approx(4 * made.adapters, rel=0.01)
    best = estimate(values, replace(SMALL, precision="bfloat16", keeps_best=True), trace=True)
    assert best.masters == 2 * made.masters


@pytest.mark.parametrize("trace", [True, False])
def test_more_of_anything_takes_more(trace: bool) -> None:
    values = {**tiny.config("llama").to_dict(), "model_type": "llama"}

    def tensors(**changes: Any) -> int:
        return estimate(values, replace(SMALL, **changes), trace=trace).tensors

    for key, steps in {"batch_size": (1, 2, 5, 9), "max_length": (32, 64, 128), "lora_rank": (2, 8, 32)}.items():
        found = [tensors(**{key: value}) for value in steps]
        assert found == sorted(set(found)), key
    assert tensors(gradient_checkpointing=True, batch_size=32) < tensors(batch_size=32)
    assert tensors(method="full") > tensors()
    assert tensors(supervised=0.25) <= tensors()


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("device", ["cpu", "t4", "h100"])
def test_the_largest_that_fits_fits_and_one_more_does_not(device: str, trace: bool) -> None:
    values = {**tiny.config("llama").to_dict(), "model_type": "llama", "max_position_embeddings": 100_000}
    free = estimate(values, replace(SMALL, batch_size=37), device, trace=trace).process + 1000
    rows = largest_batch(values, SMALL, device, free=free, trace=trace)
    assert rows >= 37
    assert estimate(values, replace(SMALL, batch_size=rows), device, trace=trace).process <= free
    assert estimate(values, replace(SMALL, batch_size=rows + 1), device, trace=trace).process > free
    length = largest_length(values, SMALL, device, free=free, trace=trace)
    assert estimate(values, replace(SMALL, max_length=length), device, trace=trace).process <= free
    assert estimate(values, replace(SMALL, max_length=length + 1), device, trace=trace).process > free


def test_nothing_fits_where_not_even_one_row_does() -> None:
    assert largest_batch("llama3.1-8b", Settings(precision="float16"), "t4", trace=False) == 0
    assert largest_length("llama3.1-8b", Settings(precision="float16"), "t4", trace=False) == 0


def test_rows_are_no_longer_than_the_models_context() -> None:
    assert largest_length("gpt2", Settings(batch_size=1, precision="bfloat16"), "h200", trace=False) == 1024


@pytest.mark.parametrize("entry", catalog.models(), ids=lambda entry: entry.id)
def test_every_catalogue_model_answers_from_its_sizes_alone(entry: Any) -> None:
    settings = Settings(quantization="nf4", precision="bfloat16", gradient_checkpointing=True)
    made = estimate(entry, settings, "l4", trace=False)
    assert made.basis.startswith("formula")
    assert 0.5 * entry.weights < made.weights < 1.6 * entry.weights
    assert made.tensors == sum(made.parts().values()) - made.context - made.fragmentation
    assert made.process == sum(made.parts().values())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("entry", catalog.models(), ids=lambda entry: entry.id)
def test_the_formula_follows_the_trace_over_the_whole_catalogue(entry: Any, precision: Any) -> None:
    device = "cpu" if precision == "float32" else "a100-80"
    for changes in ({}, {"gradient_checkpointing": True}):
        settings = Settings(precision=precision, batch_size=4, max_length=512, **changes)  # type: ignore[arg-type]
        traced = estimate(entry, settings, device, trace=True)
        assert traced.basis == "trace"
        assert estimate(entry, settings, device, trace=False).tensors == pytest.approx(traced.tensors, rel=0.08)


def test_what_was_traced_is_kept_and_answers_without_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {**tiny.config("llama").to_dict(), "model_type": "llama"}
    first = estimate(values, SMALL, trace=True)
    kept._known.clear()
    monkeypatch.setitem(sys.modules, "ftk.memory.tracing", None)  # importing it would fail
    monkeypatch.setattr("ftk.memory.estimating._imported", lambda: False)
    assert estimate(values, SMALL) == first
    assert estimate(values, replace(SMALL, batch_size=4)).basis.startswith("formula")


def test_a_damaged_cache_is_as_good_as_none(home: Path) -> None:
    values = {**tiny.config("llama").to_dict(), "model_type": "llama"}
    first = estimate(values, SMALL, trace=True)
    (file,) = (home / "ftk_cache" / "memory").glob("*.json")
    for text in ("", "[]", '{"census": 1, "traces": {}}', '{"traces": {"3 x 96": {}}}'):
        kept._known.clear()
        file.write_text(text)
        assert estimate(values, SMALL, trace=True) == first


def test_code_that_cannot_be_traced_leaves_the_formula_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr("ftk.memory.tracing.Tracer.trace", broken)
    made = estimate({**tiny.config("llama").to_dict(), "model_type": "llama"}, SMALL, trace=True)
    assert made.basis == "formula: the model's code could not be traced (RuntimeError: no such operator)"
    assert made.tensors > 0


def test_models_are_found_by_name_folder_file_and_values(model_folder: Callable[..., Path]) -> None:
    folder = model_folder("llama")
    values = json.loads((folder / "config.json").read_text())
    names: list[Any] = [folder, str(folder), str(folder / "config.json"), sources.locate(str(folder))]
    answers = {estimate(model, SMALL, trace=False).tensors for model in (*names, values, tiny.config("llama"))}
    assert len(answers) == 1
    assert estimate("smollm2", SMALL, trace=False) == estimate(catalog.find("smollm2"), SMALL, trace=False)


def test_a_gguf_file_tells_its_sizes_in_its_header(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "tiny.gguf")
    source = sources.locate(str(tmp_path / "tiny.gguf"))
    values = {**tiny.config("llama").to_dict(), "model_type": "llama"}
    assert estimate(source, SMALL, trace=False).tensors == estimate(values, SMALL, trace=False).tensors
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "tiny.gguf").read_bytes()[:200])
    with pytest.raises(ModelError, match=r"cut\.gguf could not be read"):
        estimate(tmp_path / "cut.gguf", SMALL, trace=False)


def test_models_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model 'smolm2'.*Did you mean 'smollm2'"):
        estimate("smolm2")
    with pytest.raises(ModelError, match="configuration of owner/name could not be had from http://127"):
        estimate("owner/name")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="names no model_type"):
        estimate(tmp_path)
    with pytest.raises(ModelError, match="transformers carries no architecture 'nonesuch'"):
        estimate({"model_type": "nonesuch", "hidden_size": 8}, trace=True)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="full cannot train"):
        Settings(method="full", quantization="nf4")
    with pytest.raises(UsageError, match="at least 1"):
        Settings(batch_size=0)
    with pytest.raises(UsageError, match="supervised"):
        Settings(supervised=0.0)
    with pytest.raises(UsageError, match="no card 'h10'"):
        estimate("smollm2", device="h10", trace=False)


def test_settings_of_a_run_are_taken_over() -> None:
    from ftk.config import build

    config = build(
        {
            "quantization": "nf4", "precision": "float16", "lora_rank": 8, "lora_targets": ["q_proj"],
            "optimizer": "paged-adamw-8bit", "batch_size": 2, "gradient_accumulation": 8, "max_length": 2048,
            "gradient_checkpointing": True, "early_stopping": 3, "fast": False,
        }
    )  # fmt: skip
    assert Settings.of(config, supervised=0.5) == Settings(
        quantization="nf4", precision="float16", lora_rank=8, lora_targets=("q_proj",), optimizer="paged-adamw-8bit",
        batch_size=2, gradient_accumulation=8, max_length=2048, gradient_checkpointing=True, keeps_best=True,
        fast=False, supervised=0.5,
    )  # fmt: skip
    assert Settings.of(build({})) == Settings()


def test_paged_moments_are_told_apart() -> None:
    made = estimate("smollm2", Settings(optimizer="paged-adamw", method="full"), "t4", trace=False)
    assert made.paged > 0.9 * 8 * 134_515_008
    assert "paged" not in made.parts()


def test_7b_in_4_bits_fits_a_t4_and_8b_in_16_bits_does_not() -> None:
    settings = Settings(precision="float16", batch_size=1, max_length=512, gradient_checkpointing=True)
    t4 = card.find("t4")
    assert memory.estimate("mistral-7b", replace(settings, quantization="nf4"), t4, trace=False).process < t4.memory
    assert memory.estimate("llama3.1-8b", settings, t4, trace=False).process > t4.memory
