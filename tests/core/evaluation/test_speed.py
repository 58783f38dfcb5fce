"""How fast a model is: what is counted and told, and that nothing is left changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ftk.errors import UsageError
from ftk.evaluation import subjects
from ftk.evaluation.speed import Speed, Spread, benchmark_speed, measure, measure_run
from ftk.models import loading
from tests import tiny
from tests.core.evaluation.trained_runs import train

Folder = Callable[..., Path]


def test_every_answer_is_written_to_its_length_and_the_spread_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftk.evaluation import generate

    model, tokenizer = tiny.model("qwen2"), tiny.tokenizer()
    seen: list[tuple[int, int]] = []
    run = generate.Generation.run

    def counted(self: generate.Generation, *arguments: object) -> list[generate.Answer]:
        found = run(self)
        seen.append((len(found), sum(answer.tokens for answer in found)))
        return found

    monkeypatch.setattr(generate.Generation, "run", counted)
    model.generation_config.eos_token_id = list(range(512))  # it would end at once
    found = measure(model, tokenizer, max_tokens=5, batch_sizes=(1, 3), repeats=2)
    assert set(seen) == {(3, 15), (1, 1), (1, 5)}
    assert seen.count((3, 15)) == 1 + 2  # a warm-up, which is not counted
    assert set(found.tokens_per_s) == {1, 3}
    for spread in (found.first_token_s, *found.tokens_per_s.values()):
        assert 0 < spread.low <= spread.median <= spread.high
    assert found.peak_memory_bytes > 2**20
    assert json.loads(json.dumps(found.to_dict()))["tokens"] == 5


def test_the_library_gives_the_medians_and_ranges() -> None:
    found = benchmark_speed(tiny.model(), tiny.tokenizer(), max_tokens=3, batch_sizes=(2,), repeats=3)
    low, high = found["tokens_per_s_range"][2]
    assert low <= found["tokens_per_s"][2] <= high
    assert found["first_token_range"][0] <= found["first_token_s"] <= found["first_token_range"][1]
    assert found["peak_memory_bytes"] > 0
    assert Spread.of([3, 1, 2]) == Spread(2, 1, 3)


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"batch_sizes": ()}, {"batch_sizes": (0,)}, {"repeats": 0}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="1 or more"):
        measure(tiny.model(), tiny.tokenizer(), **wrong)  # type: ignore[arg-type]


def test_base_adapter_and_merged_are_measured_and_nothing_is_written(home: Path, model_folder: Folder) -> None:
    path = train(home, model_folder(), "mine", max_steps=2)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    told: list[str] = []

    def progress(phase: str, detail: str, done: float | None, total: float | None) -> None:
        told.append(f"{phase} {detail}")

    models = subjects.find([str(path), "2"])
    found = list(measure_run(models, progress=progress, max_tokens=2, batch_sizes=(1, 2), repeats=1))
    assert [speed.model for speed in found] == ["base", "mine", "mine@2", "mine, merged", "mine@2, merged"]
    assert all(isinstance(speed, Speed) for speed in found)
    assert "merge mine" in told
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    bare = list(measure_run(models[:1], progress=loading.silent, max_tokens=2, batch_sizes=(1,), repeats=1))
    assert [speed.model for speed in bare] == ["base"]
