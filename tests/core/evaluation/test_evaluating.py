"""Whole runs evaluated: the right rows, the right models, everything kept with how it came about."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ftk import load_dataset, load_model
from ftk.data.rows import digest
from ftk.data.split import split
from ftk.errors import DataError, ModelError, RunError, UsageError
from ftk.evaluation import record
from ftk.evaluation.evaluating import Wanted, evaluate_run
from ftk.evaluation.measure import evaluate_model
from ftk.evaluation.metrics.confidence import Confidence
from ftk.evaluation.metrics.formats import Expectation
from ftk.evaluation.results import KINDS, Evaluated, from_dict
from ftk.evaluation.sampling import Sampling
from ftk.models import adapters
from ftk.runs import RunFolder
from tests import tiny
from tests.core.evaluation.trained_runs import copied, rows_file, train

QUICK = Wanted(sampling=Sampling(max_tokens=8), fit_length=False, confidence=Confidence(resamples=200))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, model_folder: Callable[..., Path]) -> Path:
    """A trained run."""
    folder = tmp_path_factory.mktemp("evaluated")
    return train(folder, model_folder(), "shop", max_steps=40, save_steps=20)


@pytest.fixture
def run(shop: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> RunFolder:
    return RunFolder(copied(shop, monkeypatch, home))


def sides(run: RunFolder) -> tuple[list[str], list[str]]:
    """The hashes of the rows that the run was trained on, and of its held-out ones."""
    dataset = load_dataset(tiny.ROWS)
    parts = split(dataset, 0.25, seed=0)
    return tuple([f"{digest(row.payload()):016x}" for row in rows] for rows in (parts.train, parts.held_out))  # type: ignore[return-value]


def test_a_run_is_measured_on_its_held_out_rows_and_kept(run: RunFolder) -> None:
    told: list[tuple[str, str]] = []
    found = evaluate_run("shop", QUICK, progress=lambda phase, detail, *_: told.append((phase, detail)))
    trained_on, held_out = sides(run)
    assert found.rows == len(held_out) == 4
    assert found.about["rows"]["held_out"] == held_out
    assert not set(found.about["rows"]["held_out"]) & set(trained_on)
    assert set(found.about["rows"]["train"]) < set(trained_on)
    assert len(found.about["rows"]["train"]) == 4
    assert found.about["rows"]["answered"] == [example.row for example in found.examples] == held_out
    expected = [key for key in KINDS if key not in ("semantic", "json", "regex", "length", "judged")]
    assert [measure.key for measure in found.measures] == expected
    for measure in found.measures:
        assert measure.base is not None
        assert measure.difference is not None
        assert None not in (measure.tuned.value, measure.base.value, measure.difference.value)
    loss = found.measure("loss")
    assert loss is not None
    assert loss.base is not None
    assert (loss.base.value or 0) > found.loss + 0.3
    assert {phase for phase, _ in told} >= {"load", "loss", "answer"}
    assert {"base", "tuned"} <= {detail for phase, detail in told if phase == "answer"}
    file = run.path / "evaluations" / f"{found.name}.json"
    assert record.read(file) == found
    assert record.newest(run) == (found, [])
    assert file.stat().st_mode & 0o077 == 0


def test_numbers_are_those_of_each_model_by_itself(run: RunFolder, model_folder: Callable[..., Path]) -> None:
    found = evaluate_run("shop", QUICK)
    rows = [row for row in tiny.ROWS if any(row["prompt"] == example.prompt for example in found.examples)]
    model, tokenizer, _ = load_model(str(model_folder()), precision="float32", device="cpu")
    base = evaluate_model(model, tokenizer, rows)
    tuned = evaluate_model(adapters.load(model, run.adapter), tokenizer, rows)
    loss, perplexity = found.measure("loss"), found.measure("perplexity")
    assert loss is not None
    assert loss.base is not None
    assert perplexity is not None
    assert loss.base.value == pytest.approx(base.loss, rel=1e-5)
    assert loss.tuned.value == pytest.approx(tuned.loss, rel=1e-5) == found.loss
    assert perplexity.tuned.value == pytest.approx(math.exp(found.loss), rel=1e-9)
    assert found.supervised_tokens == base.supervised_tokens
    assert [example.reference for example in found.examples] == [row["response"] for row in rows]


def test_what_is_written_says_how_it_came_about(run: RunFolder) -> None:
    found = evaluate_run("shop", QUICK, name="first")
    about = found.about
    assert (found.name, about["run"]) == ("first", {"name": "shop", "model": "shop"})
    assert about["data"]["sha256"] == load_dataset(tiny.ROWS).fingerprint
    assert about["settings"]["sampling"]["max_tokens"] == 8
    assert about["settings"]["confidence"] == {"resamples": 200, "seed": 0, "level": 0.95}
    assert about["models"]["tuned"]["sha256"] == record.files.sha256(run.adapter / "adapter_model.safetensors")
    assert about["models"]["base"]["precision"] == "float32"
    assert {"torch", "transformers", "sacrebleu"} <= set(about["packages"])
    assert about["hardware"]["cores"] > 0
    assert about["seconds"] > 0
    with pytest.raises(UsageError, match="has an evaluation 'first' already"):
        evaluate_run("shop", QUICK, name="first")
    with pytest.raises(UsageError, match="cannot name"):
        evaluate_run("shop", QUICK, name="../x")


def test_it_is_repeatable_and_the_same_in_other_batches(run: RunFolder) -> None:
    one = evaluate_run("shop", QUICK)
    other = evaluate_run("shop", Wanted(**{**QUICK.__dict__, "batch_size": 1}))
    assert one.name != other.name
    for mine, theirs in zip(one.measures, other.measures, strict=True):
        assert mine.tuned.value == pytest.approx(theirs.tuned.value, rel=1e-5)
        assert mine.tuned.low == pytest.approx(theirs.tuned.low, rel=1e-5)
    assert one.examples == other.examples


def test_learning_by_heart_and_forgetting_show(run: RunFolder) -> None:
    found = evaluate_run("shop", Wanted(answers=0, confidence=QUICK.confidence))
    assert found.examples == ()
    assert found.overfitting is not None
    train = found.overfitting.train
    assert train.base is not None
    assert (train.tuned.value or 9) < (train.base.value or 0) - 0.3
    assert found.overfitting.gap.value is not None
    assert found.forgetting is not None
    assert found.forgetting.perplexity.base is not None
    apart = found.forgetting.perplexity.difference
    assert apart is not None
    assert apart.value == pytest.approx(
        (found.forgetting.perplexity.tuned.value or 0) - (found.forgetting.perplexity.base.value or 0)
    )
    assert found.forgetting.perplexity.tuned.rows == 8
    assert ("forgot some" in found.forgetting.words) == (apart.verdict == "worse")


def test_a_checkpoint_can_be_measured(run: RunFolder) -> None:
    early = evaluate_run("shop@20", Wanted(answers=0, confidence=QUICK.confidence))
    late = evaluate_run("shop", Wanted(answers=0, confidence=QUICK.confidence))
    assert early.about["run"]["model"] == "shop@20"
    assert early.loss != late.loss
    assert early.measures[0].base == late.measures[0].base
    kept = {path.name for path in (run.path / "evaluations").iterdir()}
    assert kept == {f"{name}.json" for name in (early.name, late.name)}


def test_formats_are_measured_where_they_are_asked_for(run: RunFolder) -> None:
    wanted = Wanted(**{**QUICK.__dict__, "expected": Expectation(json=True, regex=".*", words="1..")})
    found = evaluate_run("shop", wanted)
    values = {key: measure.tuned.value for key in ("json", "regex", "length") if (measure := found.measure(key))}
    assert values == {"json": 0, "regex": 1, "length": 1}


def test_other_rows_are_measured_without_those_that_were_trained_on(run: RunFolder, home: Path) -> None:
    trained_on, held_out = sides(run)
    new = {"prompt": "What comes after noon?", "response": "After noon comes dusk, as everybody knows."}
    path = home / "other.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*tiny.ROWS, new, new]))
    found = evaluate_run("shop", Wanted(answers=0), data=str(path))
    assert found.rows == len(held_out) + 1
    assert not set(found.about["rows"]["held_out"]) & set(trained_on)
    assert any(f"{len(trained_on)} rows of other.jsonl were left out" in note for note in found.notes)
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS if digest_of(row) in trained_on))
    with pytest.raises(DataError, match="was trained on, so that"):
        evaluate_run("shop", Wanted(answers=0), data=str(path))


def digest_of(row: dict[str, str]) -> str:
    (made,) = load_dataset([row]).rows
    return f"{digest(made.payload()):016x}"


def test_one_row_gives_words_and_no_number(run: RunFolder, home: Path) -> None:
    path = home / "one.jsonl"
    path.write_text(json.dumps({"prompt": "What comes after noon?", "response": "Dusk."}) + "\n")
    found = evaluate_run("shop", QUICK, data=str(path))
    assert (found.rows, found.answered) == (1, 1)
    for measure in found.measures:
        assert measure.tuned.value is None
        assert "one row" in measure.tuned.note
        assert measure.difference is not None
        assert "one row" in measure.difference.words
    assert found.overfitting is not None
    assert "cannot be told" in found.overfitting.words
    assert math.isfinite(found.loss)
    assert record.newest(run)[0] == found


def test_rows_that_are_gone_or_changed_are_refused(run: RunFolder, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path(json.loads((run.path / "run.json").read_text())["config"]["data"])
    moved = rows_file(home)
    run.config_file.write_text(run.config_file.read_text().replace(str(data), str(moved)))
    assert evaluate_run("shop", Wanted(answers=0)).rows == 4
    moved.write_text(moved.read_text() + json.dumps({"prompt": "x", "response": "y"}) + "\n")
    with pytest.raises(RunError, match="not those that the run was trained on"):
        evaluate_run("shop", Wanted(answers=0))
    moved.unlink()
    with pytest.raises(DataError):
        evaluate_run("shop", Wanted(answers=0))
    other = home / "new.jsonl"
    other.write_text(json.dumps({"prompt": "What is it?", "response": "New."}) + "\n" + json.dumps(tiny.ROWS[0]) + "\n")
    found = evaluate_run("shop", Wanted(answers=0), data=str(other))
    assert found.rows == 2
    assert any("nobody can tell" in note for note in found.notes)
    assert found.overfitting is None


def test_rows_in_memory_are_given_again(home: Path, model_folder: Callable[..., Path]) -> None:
    train(home, model_folder(), "lists", data=tiny.ROWS, max_steps=2)
    runs = home / "runs"
    with pytest.raises(RunError, match="Python objects"):
        evaluate_run("lists", Wanted(answers=0), runs_dir=runs)
    assert evaluate_run("lists", Wanted(answers=0), dataset=tiny.ROWS, runs_dir=runs).rows == 4
    with pytest.raises(RunError, match="not those"):
        evaluate_run("lists", Wanted(answers=0), dataset=tiny.ROWS[:10], runs_dir=runs)


def test_a_model_all_of_whose_weights_were_trained_is_compared_with_its_base(
    home: Path, model_folder: Callable[..., Path]
) -> None:
    train(home, model_folder(), "whole", method="full", learning_rate=3e-3, max_steps=20)
    found = evaluate_run("whole", QUICK, runs_dir=home / "runs")
    loss = found.measure("loss")
    assert loss is not None
    assert loss.base is not None
    assert (loss.base.value or 0) > found.loss
    assert found.about["models"]["base"]["fingerprint"] != found.about["models"]["tuned"]["fingerprint"]


def test_nothing_held_out_is_told(home: Path, model_folder: Callable[..., Path]) -> None:
    train(home, model_folder(), "all", eval_fraction=0.0, max_steps=2)
    with pytest.raises(DataError, match="Nothing was held out") as caught:
        evaluate_run("all", Wanted(), runs_dir=home / "runs")
    assert "--data FILE" in str(caught.value)


def test_a_damaged_adapter_leaves_nothing_behind(run: RunFolder) -> None:
    from safetensors.torch import load_file, save_file

    path = run.adapter / "adapter_model.safetensors"
    weights = load_file(path)
    weights[next(iter(weights))][0] = torch.nan
    save_file(weights, path)
    with pytest.raises(ModelError, match="damaged"):
        evaluate_run("shop", QUICK)
    assert not (run.path / "evaluations").exists()


def test_a_damaged_evaluation_is_passed_over_and_told(run: RunFolder) -> None:
    found = evaluate_run("shop", Wanted(answers=0), name="good")
    folder = run.path / "evaluations"
    (folder / "torn.json").write_text('{"format": 1, "rows"')
    (folder / "later.json").write_text('{"format": 99}')
    (folder / "other.json").write_text('{"format": 1, "rows": 1}')
    (folder / "list.json").write_text("[]")
    newest, wrong = record.newest(run)
    assert newest == found
    assert len(wrong) == 4
    assert any("later version" in message for message in wrong)


def test_an_evaluation_survives_json(run: RunFolder) -> None:
    found = evaluate_run("shop", QUICK)
    values = json.loads(json.dumps(found.to_dict()))
    assert values["perplexity"] == pytest.approx(found.perplexity)
    assert from_dict({**values, "unknown": 1}) == found
    with pytest.raises(ValueError, match="not an evaluation"):
        from_dict({"rows": 3})
    nothing = Evaluated(1, 1, float("nan"))
    assert math.isnan(from_dict(json.loads(json.dumps(nothing.to_dict()))).loss)


def test_the_disk_is_full(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record.files, "write_atomic", full)
    with pytest.raises(RunError, match="No space left"):
        evaluate_run("shop", Wanted(answers=0))


def test_secrets_in_answers_are_not_kept(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    found = evaluate_run("shop", QUICK)
    key = "hf_" + "a1B2" * 10
    leaky = replace(found, name="leaky", examples=(replace(found.examples[0], tuned=f"my key is {key}"),))
    text = record.write(run, leaky).read_text()
    assert key not in text
    assert "[redacted]" in text
    assert record.read(run.path / "evaluations" / "leaky.json").rows == found.rows


def test_a_model_in_memory_is_scored_against_its_base(run: RunFolder, model_folder: Callable[..., Path]) -> None:
    model, tokenizer, _ = load_model(str(model_folder()), precision="float32", device="cpu")
    with pytest.raises(UsageError, match="no adapter"):
        evaluate_model(model, tokenizer, tiny.ROWS, compare=True)
    tuned = adapters.load(model, run.adapter)
    found = evaluate_model(tuned, tokenizer, tiny.ROWS, compare=True, answers=5, sampling=Sampling(max_tokens=6))
    assert found.answered == 5
    assert found.rows == 16
    loss = found.measure("loss")
    assert loss is not None
    assert loss.difference is not None
    assert loss.difference.verdict == "better"
    assert all(example.base is not None for example in found.examples)
    assert [example.row for example in found.examples] == [digest_of(row) for row in tiny.ROWS[:5]]
    with_base: Any = evaluate_model(tuned, tokenizer, tiny.ROWS, base=tiny.model())
    assert with_base.measure("loss").base.value == pytest.approx(loss.base.value)  # type: ignore[union-attr]
