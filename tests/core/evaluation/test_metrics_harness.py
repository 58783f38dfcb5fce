"""lm-evaluation-harness: its results read by hand, the message where it is missing, and a task for real."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from ftk.errors import ModelError, UsageError
from ftk.evaluation.metrics.confidence import Confidence
from ftk.evaluation.metrics.harness import Harness, TaskScore, scores_of
from ftk.evaluation.scoring import task_measures
from tests import tiny

FOUND = {
    "results": {
        "seasons": {"alias": "seasons", "sample_len": 3, "acc,none": 2 / 3, "acc_stderr,none": 0.1},
        "books": {"word_perplexity,none": 12.5, "word_perplexity_stderr,none": "N/A"},
        "sums": {"exact_match,strict": 0.5, "exact_match,loose": 1.0},
    },
    "higher_is_better": {"seasons": {"acc": True}, "books": {"word_perplexity": False}, "sums": {"exact_match": True}},
    "samples": {
        "seasons": [{"doc_id": n, "filter": "none", "acc": value} for n, value in ((2, 1.0), (0, 1.0), (1, 0.0))],
        "books": [{"doc_id": 0, "filter": "none", "word_perplexity": [1.0, 2]}],
        "sums": [
            {"doc_id": 0, "filter": "strict", "exact_match": 0.0},
            {"doc_id": 1, "filter": "strict", "exact_match": 1.0},
            {"doc_id": 0, "filter": "loose", "exact_match": 1.0},
            {"doc_id": 1, "filter": "loose", "exact_match": 1.0},
        ],
    },
}


def test_results_are_read_with_the_value_of_every_question() -> None:
    assert scores_of(FOUND) == [
        TaskScore("seasons acc", 2 / 3, "higher", (1.0, 0.0, 1.0)),
        TaskScore("books word_perplexity", 12.5, "lower"),
        TaskScore("sums exact_match (strict)", 0.5, "higher", (0.0, 1.0)),
        TaskScore("sums exact_match (loose)", 1.0, "higher", (1.0, 1.0)),
    ]


def test_tasks_are_compared_question_by_question() -> None:
    base = [TaskScore("t acc", 0.25, "higher", (0.0, 0.0, 1.0, 0.0) * 3), TaskScore("b ppl", 20.0, "lower")]
    tuned = [TaskScore("t acc", 0.75, "higher", (1.0, 1.0, 1.0, 0.0) * 3), TaskScore("b ppl", 10.0, "lower")]
    first, second = task_measures(tuned, base, Confidence())
    assert (first.kind.name, first.kind.better) == ("t acc", "higher")
    assert first.difference is not None
    assert first.difference.value == pytest.approx(0.5)
    assert first.difference.verdict == "better"
    assert second.tuned.value == 10
    assert second.tuned.low is None
    assert second.difference is not None
    assert (second.difference.value, second.difference.verdict, second.kind.better) == (-10, "unknown", "lower")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UsageError) as caught:
        Harness(["arc_easy"])
    assert "llm-finetune-kit[harness]" in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="the extra `harness` is not installed")
def test_a_task_runs_for_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = [{"question": row["prompt"], "choices": [row["response"], "No."], "gold": 0} for row in tiny.ROWS]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "follows",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}],
    }
    (tmp_path / "follows.yaml").write_text(json.dumps(task))  # JSON is YAML
    harness = Harness([str(tmp_path / "follows.yaml")], limit=10)
    capfd.readouterr()
    found = harness.run(tiny.model(), tiny.tokenizer(), 4)
    (score,) = [score for score in found if score.key.endswith(" acc")]
    assert len(score.values) == 10
    assert set(score.values) <= {0.0, 1.0}
    assert score.value == pytest.approx(sum(score.values) / 10)
    loud = capfd.readouterr().err
    assert "Running" not in loud
    assert "fatal" not in loud
    assert "model kwarg" not in loud
    with pytest.raises(UsageError, match=r"has no task 'arc_esay'.*arc_easy"):
        Harness(["arc_esay"])
    task["dataset_kwargs"] = {"data_files": {"test": str(tmp_path / "gone.jsonl")}}
    (tmp_path / "gone.yaml").write_text(json.dumps({**task, "task": "gone"}))
    with pytest.raises(ModelError, match="could not run"):
        Harness([str(tmp_path / "gone.yaml")]).run(tiny.model(), tiny.tokenizer(), 4)
