"""What the benchmark of generation measures is the same work on both sides; ftk does it in far fewer passes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
_CACHE = os.environ.get("FTK_CACHE")  # before any test has changed it: the model is fetched once a machine


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import generation

    yield generation
    del sys.modules["generation"]


def test_both_answer_the_same_prompts_and_the_ratio_is_told(
    benchmark: Any, model_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.main(
        ["--model", str(model_folder()), "--device", "cpu", "--prompts", "8", "--max-tokens", "5", "--repeats", "2"]
    )
    *lines, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert [(line["repeat"], line["way"]) for line in lines] == [(1, "ftk"), (1, "loop"), (2, "loop"), (2, "ftk")]
    assert len({line["tokens"] for line in lines}) == 1
    assert (summary["prompts"], summary["same_answers"]) == (7, 7)  # one of eight leaves the tiny model no room
    lowest, median, highest = summary["times_as_fast"]
    assert 0 < lowest <= median <= highest


@pytest.mark.slow
def test_prompts_to_the_embedded_model_take_a_fraction_of_the_passes(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is measured by the benchmark; here what decides it: how often all weights are read."""
    from ftk import load_model
    from ftk.errors import ModelError
    from ftk.evaluation.generate import token_rows

    monkeypatch.setenv("FTK_CACHE", _CACHE) if _CACHE else monkeypatch.delenv("FTK_CACHE")
    try:
        model, tokenizer, _ = load_model("smollm2", precision="float32", device="cpu")
    except ModelError as error:
        pytest.skip(f"the embedded model is not cached and no package index gives it: {error.message}")
    assert len(benchmark.asked(50)) == 50
    prompts = benchmark.asked(12)
    passes: list[int] = []
    hook = model.register_forward_hook(lambda module, arguments, out: passes.append(1))
    together = benchmark.batched(model, tokenizer, prompts, 8, 12)
    batched = len(passes)
    passes.clear()
    alone = benchmark.loop(model, tokenizer, token_rows(tokenizer, prompts), 8)
    hook.remove()
    assert 4 * batched < len(passes)
    assert sum(one == other for one, other in zip(together, alone, strict=True)) >= 11  # but for ties within rounding
