"""Setting rows aside: by content, the same every time, from every source, equal rows on one side."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from ftk import load_dataset
from ftk.data import checks
from ftk.data.dataset import Dataset, Rows
from ftk.data.preview import browse
from ftk.data.split import first_rows, split, unique_rows
from ftk.errors import DataError


def data(count: int, name: str = "q") -> list[dict[str, str]]:
    return [{"prompt": f"{name} {number}", "response": f"answer {number}"} for number in range(count)]


def put(name: str, rows: list[dict[str, str]]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def prompts(rows: Rows) -> set[str]:
    return {row.prompt for row in rows}


def aside(dataset: Dataset, fraction: float = 0.1, seed: int = 0) -> set[str]:
    parts = split(dataset, fraction, seed=seed)
    assert not prompts(parts.train) & prompts(parts.held_out)
    assert prompts(parts.train) | prompts(parts.held_out) == prompts(dataset.rows)
    return prompts(parts.held_out)


def test_the_split_depends_on_content_and_seed_alone() -> None:
    rows = data(200)
    shuffled = random.Random(0).sample(rows, len(rows))
    assert len(aside(load_dataset(rows))) == 20
    assert aside(load_dataset(rows)) == aside(load_dataset(shuffled))
    assert aside(load_dataset(rows)) == aside(load_dataset(put("other-name.jsonl", shuffled)))
    assert aside(load_dataset(rows), seed=1) != aside(load_dataset(rows), seed=0)


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5])
def test_rows_that_are_added_move_no_others(fraction: float) -> None:
    rows = data(1500)
    before, after = aside(load_dataset(rows[:1000]), fraction), aside(load_dataset(rows), fraction)
    assert after & {row["prompt"] for row in rows[:1000]} == before
    assert len(before) == pytest.approx(1000 * fraction, rel=0.25)


def test_in_a_small_set_the_share_is_exact_and_a_row_that_is_added_moves_one_other_at_most() -> None:
    rows = data(120)
    before = aside(load_dataset(rows[:20]))
    assert len(before) == 2
    for count in range(21, 121):
        now = aside(load_dataset(rows[:count]))
        assert len(now) == round(count * 0.1)
        assert len((now ^ before) - {rows[count - 1]["prompt"]}) <= 1
        before = now


def test_every_source_gives_its_part() -> None:
    spec = ",".join([put("a.jsonl", data(100, "a")), put("b.jsonl", data(50, "b")), put("c.jsonl", data(900, "c"))])
    held_out = aside(load_dataset(spec))
    assert sum(prompt.startswith("a") for prompt in held_out) == 10
    assert sum(prompt.startswith("b") for prompt in held_out) == 5
    assert sum(prompt.startswith("c") for prompt in held_out) == pytest.approx(90, abs=25)


def test_equal_rows_are_all_on_one_side() -> None:
    rows = data(40)
    spec = ",".join([put("a.jsonl", rows * 3), put("b.jsonl", rows[::-1] + data(40, "more"))])
    parts = split(load_dataset(spec), 0.25)
    assert not prompts(parts.train) & prompts(parts.held_out)
    assert len(parts.train) + len(parts.held_out) == 200
    assert len(prompts(parts.held_out)) == 20


def test_weights_multiply_what_is_learnt_and_not_what_is_measured() -> None:
    put("a.jsonl", data(100))
    plain, thrice = (split(load_dataset(spec), 0.1) for spec in ("a.jsonl", "a.jsonl:3"))
    assert prompts(thrice.held_out) == prompts(plain.held_out)
    assert (len(thrice.held_out), len(thrice.train)) == (10, 270)


def test_no_part_is_set_aside_if_none_is_wanted() -> None:
    parts = split(load_dataset(data(10)), 0.0)
    assert (len(parts.train), len(parts.held_out), parts.overlap) == (10, 0, 0)


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_a_few_rows_give_one(count: int) -> None:
    assert len(aside(load_dataset(data(count)), 0.01)) == 1


@pytest.mark.parametrize("rows", [data(1), data(1) * 5])
def test_a_single_row_cannot_be_split(rows: list[dict[str, str]]) -> None:
    with pytest.raises(DataError, match="one row"):
        split(load_dataset(rows), 0.5)


def test_the_part_that_a_data_set_brings_is_used() -> None:
    parts = split(load_dataset({"train": data(10), "validation": data(3, "v")}), 0.5)
    assert (len(parts.train), len(parts.held_out), parts.overlap) == (10, 3, 0)


def test_rows_that_are_also_in_the_evaluation_file_are_left_out_and_counted() -> None:
    put("train.jsonl", [*data(10), *data(2)])
    put("eval.csv.jsonl", [*data(2), *data(3, "new")])
    other = load_dataset("eval.csv.jsonl")
    for spec in ("train.jsonl", "train.jsonl:2"):
        parts = split(load_dataset(spec), 0.1, held_out=other)
        assert parts.overlap == 4
        assert prompts(parts.held_out) == {"q 0", "q 1", "new 0", "new 1", "new 2"}
        assert prompts(parts.train) == {f"q {number}" for number in range(2, 10)}
    assert parts.overlapping == tuple(f"train.jsonl, line {line}" for line in (1, 2, 11, 12))
    with pytest.raises(DataError, match="nothing is left to train on"):
        split(load_dataset(data(2)), 0.1, held_out=other)


def test_duplicates_are_dropped_and_rows_counted_as_asked() -> None:
    rows = load_dataset([*data(5), *data(5)])
    assert len(unique_rows(rows, "keep").rows) == 10
    assert [row.prompt for row in unique_rows(rows, "drop").rows] == [f"q {number}" for number in range(5)]
    assert len(first_rows(rows, 3)) == 3
    assert len(first_rows(rows, None)) == len(first_rows(rows, 99)) == 10


def test_a_test_split_stays_unseen_where_there_is_a_validation_split() -> None:
    Path("set").mkdir()
    for number, name in enumerate(("train", "validation", "test")):
        put(f"set/{name}.jsonl", [{"prompt": f"{name} {number}", "response": "r"}])
    data = load_dataset("set")
    assert [row.prompt for row in data.rows] == ["train 0"]
    assert [row.prompt for row in data.held_out] == ["validation 1"]
    (note,) = [finding for finding in checks.check(data) if finding.code == "unused"]
    assert "test.jsonl" in note.message
    Path("set/validation.jsonl").unlink()
    assert [row.prompt for row in load_dataset("set").held_out] == ["test 2"]


def test_a_test_split_stays_unseen_in_a_document_and_in_python_too() -> None:
    rows = {name: [{"prompt": f"{name} {n}", "response": "r"} for n in range(2)] for name in ("test", "train", "dev")}
    Path("set.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    for source, name in (("set.json", "set.json: test"), (rows, "test")):
        data = load_dataset(source)
        assert prompts(data.rows) == {"train 0", "train 1"}
        assert prompts(data.held_out) == {"dev 0", "dev 1"}
        (note,) = [finding for finding in checks.check(data) if finding.code == "unused"]
        assert note.message.endswith(f": {name}")
    assert [item.row.prompt for item in browse("set.json") if item.row] == ["train 0", "train 1", "dev 0", "dev 1"]
    del rows["train"]  # what is left is trained on
    assert len(load_dataset(rows).rows) == 4
