"""Time and money: what grows with what, what is measured and kept, whose prices hold, and the ETA of tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftk import autoconfig, catalog, estimate, memory
from ftk.config import build
from ftk.data.dataset import load_dataset
from ftk.data.lengths import measure, tokens_in
from ftk.errors import ConfigError, UsageError
from ftk.estimate import prices, rates, work
from ftk.estimate.rates import Rates
from ftk.hardware import Hardware
from ftk.memory import Settings
from ftk.memory.models import describe
from ftk.models.sources import Source
from ftk.training import compile_times
from tests import tiny

GIB = 1 << 30
CPU = Hardware("a processor", 2, 8 * GIB, 6 * GIB, False, ())
FAST = Rates(1e11, 1e10, 1e-6, "measured", "as measured")
LOAD = work.Load(512, 128, 0.5, 1)


def look(model: str = "smollm2", card: str | None = None, **settings: Any) -> estimate.Outlook:
    entry = catalog.find(model)
    assert entry
    found = memory.card.find(card) if card else None
    source = Source(model, "hub", None, entry.hub, entry)
    return estimate.outlook(build({"model": model, **settings}), CPU, load_dataset(tiny.ROWS), source, card=found)


def step(model: str = "smollm2", *, on_gpu: bool = False, load: work.Load = LOAD, **settings: Any) -> float:
    return work.cost(describe(model), Settings(**settings), load, FAST, on_gpu=on_gpu).step


def test_more_work_takes_longer() -> None:
    base = step()
    assert step("smollm2-360m") > 2 * base
    assert step(gradient_checkpointing=True) > 1.2 * base
    assert step(method="full") > 1.3 * base
    assert step(lora_rank=64) > base
    assert step(fast=False) > base
    assert step(compile=True) < base
    assert 1.8 * base < step(load=replace(LOAD, micro_batches=2)) < 2.2 * base
    assert step(load=replace(LOAD, row=512)) > base
    assert step(quantization="nf4", on_gpu=True, precision="bfloat16") > step(on_gpu=True, precision="bfloat16")


def test_a_step_takes_four_operations_a_weight_and_token() -> None:
    found = work.cost(describe("llama3.1-8b"), Settings(), replace(LOAD, row=1), FAST, on_gpu=False)
    assert found.operations == pytest.approx(4 * 7.5e9 * 512, rel=0.1)


def test_the_time_has_its_parts_and_a_range_by_its_basis() -> None:
    found = look("gpt2", max_steps=50).time
    assert found
    assert set(found.parts) >= {"start", "train", "evaluate", "save", "answer"}
    assert found.seconds == pytest.approx(sum(found.parts.values()))
    assert found.seconds / found.low == pytest.approx(2.5)  # nothing was measured
    twice = look("gpt2", max_steps=100).time
    assert twice
    assert twice.parts["train"] == pytest.approx(2 * found.parts["train"])
    assert "compile" not in twice.parts
    assert look("gpt2", "t4", max_steps=50, eval_fraction=0.0, compare=["one"]).time
    assert "evaluate" not in look("gpt2", max_steps=50, eval_fraction=0.0).time.parts  # type: ignore[union-attr]


def test_layers_that_were_compiled_here_are_compiled_soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))

    def compiling(**settings: Any) -> float:
        found = look("gpt2", max_steps=50, compile=True, device="cpu", **settings).time
        assert found
        return found.parts["compile"]

    first = compiling()
    assert first > 10
    config = look("gpt2", max_steps=50, compile=True, device="cpu").plan.config
    name = compile_times.key(describe("gpt2"), config)
    compile_times.note(name, 38.0)  # a first time; the second looks up what is there
    assert compiling() == 5.0
    compile_times.note(name, 3.2)
    assert compiling() == 3.2
    assert compiling(lora_rank=64) == compiling(quantization="nf4") == first
    (tmp_path / "ftk-seconds.json").write_text("[]")
    assert compiling() == first


def test_rates_are_measured_once_and_kept(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    asked: list[str] = []

    def measured(device: str, precision: str) -> dict[str, float]:
        asked.append(precision)
        return {"matmul": 2e11, "bandwidth": 1e10, "operation": 1e-6}

    monkeypatch.setattr(rates, "_measured", measured)
    assert rates.of_machine(CPU, "cpu", "float32", measure=False).basis == "guess"
    for _ in range(2):
        assert rates.of_machine(CPU, "cpu", "float32").matmul == 2e11
    assert rates.of_machine(CPU, "cpu", "float32", measure=False).basis == "measured"
    assert rates.of_machine(CPU, "cpu", "bfloat16").basis == "measured"
    assert asked == ["float32", "bfloat16"]
    assert rates.of_machine(replace(CPU, cpu="another"), "cpu", "float32", measure=False).basis == "guess"
    for text in ("", "[]", '{"a": 1}', json.dumps({key: {} for key in rates._kept()})):
        (home / "ftk_cache" / "rates.json").write_text(text)
        assert rates.of_machine(CPU, "cpu", "float32", measure=False).basis == "guess"
    rates.of_machine(CPU, "cpu", "float32")
    assert asked[2:] == ["float32"]


def test_what_was_measured_on_a_busy_machine_is_not_kept(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    asked: list[str] = []

    def measured(device: str, precision: str) -> dict[str, float]:
        asked.append(precision)
        return {"matmul": 2e10, "bandwidth": 1e9, "operation": 1e-5, "alone": 0.4}

    monkeypatch.setattr(rates, "_measured", measured)
    monkeypatch.setattr(rates, "_rough", {})
    for _ in range(2):
        found = rates.of_machine(CPU, "cpu", "float32")
        assert found.basis == "measured roughly"
        assert "others had 60% of the processor" in found.words
    assert asked == ["float32"]
    assert not (home / "ftk_cache" / "rates.json").exists()


def test_what_is_measured_is_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_SECONDS", 0.01)
    found = rates._measured("cpu", "float32")
    assert 1e9 < found["matmul"] < 1e15
    assert 1e8 < found["bandwidth"] < 1e13
    assert 1e-8 < found["operation"] < 1e-3


def test_a_card_that_is_not_here_has_the_rates_of_its_data_sheet() -> None:
    t4 = rates.of_card(memory.card.find("t4"), "float16")
    h100 = rates.of_card(memory.card.find("h100"), "bfloat16")
    assert t4.matmul < 65e12 < h100.matmul < 989e12
    assert "on paper" in t4.words
    assert t4.spread[1] > FAST.spread[1]


@pytest.mark.parametrize(
    ("text", "per_hour"),
    [("0.79/h", 0.79), ("$1.20/hour", 1.2), ("2", 2.0), ("24/day", 1.0), ("0.01/min", 0.6), (" 1 / h ", 1.0)],
)
def test_prices_are_read_as_people_write_them(text: str, per_hour: float) -> None:
    assert prices.parse(text).per_hour == pytest.approx(per_hour)


@pytest.mark.parametrize("text", ["", "cheap", "-1/h", "1/fortnight", "1e3/h", "0.79 €/h"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no price"):
        prices.parse(text)


def test_every_card_has_a_price_with_date_and_source_and_ones_own_go_first(home: Path) -> None:
    for card in memory.cards():
        price = prices.price_of(card.id)
        assert price
        assert price.per_hour > 0
        assert "2026" in price.words
    assert prices.price_of("t4", own_only=True) is None
    own = home / "ftk_config" / "prices.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("prices:\n  - {card: T4, per_hour: 1, date: 2026-11-29, source: mine}\n")
    assert prices.price_of("t4", own_only=True) == prices.Price(1.0, "$1 an hour, mine, 2026-11-29")
    assert prices.price_of("l4") != prices.price_of("t4")
    dollars = look("gpt2", "t4", max_steps=100)
    assert dollars.dollars == pytest.approx(dollars.time.seconds / 3600)  # type: ignore[union-attr]
    own.write_text("prices:\n  - {card: t4, per_hour: free}\n")
    with pytest.raises(ConfigError, match=r"prices\.yaml"):
        prices.price_of("t4")


def test_an_outlook_needs_no_torch_and_knows_what_fits() -> None:
    small, large = look("llama3.1-8b", "t4"), look("llama3.1-8b", "t4", quantization="none")
    assert (small.fits, large.fits) == (True, False)
    assert small.to_dict()["fits"] is True
    assert large.plan.remarks
    assert large.memory
    assert large.room
    assert large.memory.process > large.room
    assert look(max_steps=1).dollars is None


def test_the_words_of_a_text_are_about_its_tokens() -> None:
    assert tokens_in("How do I reset my password?") == 7
    assert tokens_in("") == 0
    assert tokens_in("1234") == 4
    assert tokens_in("日本語") == 3
    assert 2 <= tokens_in("Übersetzung") <= 5


def test_rows_are_measured_as_they_are_cut() -> None:
    rows = load_dataset([{"prompt": "one " * 100, "response": "two " * 300}, *tiny.ROWS]).rows
    whole, cut = measure(rows, 4096), measure(rows, 64)
    assert whole.longest > 400
    assert cut.longest == 64
    assert cut.mean < whole.mean
    assert 0.4 < whole.supervised < 0.8
    assert measure(list(rows), 4096) == whole
    assert measure([], 64).mean == 64


def test_estimates_of_a_plan_can_do_without_measuring(model_folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_measured", None)
    monkeypatch.setattr(rates, "_rough", {})  # what an earlier test measured while others were computing
    plan = autoconfig.plan(build({"model": str(model_folder()), "max_steps": 10, "precision": "float32"}))
    found = estimate.for_plan(plan, measure_rates=False)
    assert found.steps == 10
    assert "guessed" in found.basis
