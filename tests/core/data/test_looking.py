"""Looking at data sets and tokenizers without reading or fetching all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ftk import load_dataset
from ftk.data.preview import columns_of
from ftk.data.statistics import get_dataset_stats
from ftk.errors import DataError
from ftk.models.tokenizers import tokenizer_on_disk


def test_columns_are_told_whether_they_are_recognised_or_not() -> None:
    Path("odd.csv").write_text("A,B\nred,blue\nup,down\n")
    seen = columns_of("odd.csv")
    assert list(seen.found) == ["A", "B"]
    assert seen.found["A"].is_text
    assert seen.reading is None
    told = columns_of("odd.csv", "prompt=A,response=B")
    assert told.reading is not None
    assert dict(told.reading.parts) == {"prompt": "A", "response": "B"}
    assert columns_of("odd.csv", "prompt=missing,response=B").reading is None
    with pytest.raises(DataError):
        columns_of("nowhere.csv")


def test_a_row_is_found_by_where_it_came_from() -> None:
    Path("a, b.jsonl").write_text('{"prompt": "1", "response": "x"}\n\n{"prompt": "2", "response": "y"}\n')
    store = load_dataset("a, b.jsonl").store
    assert [store.find(store.origin(index)) for index in range(len(store))] == [0, 1]
    for wrong in ("", "a, b.jsonl, line 2", "a, b.jsonl, row 1", "other.jsonl, line 1", "a, b.jsonl, line " + "9" * 40):
        assert store.find(wrong) is None


def test_counting_can_be_watched_and_cancelled() -> None:
    rows = [{"prompt": str(number), "response": "x"} for number in range(5000)]
    seen: list[tuple[int, int]] = []
    get_dataset_stats(rows, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2000, 5000), (4000, 5000)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get_dataset_stats(rows, progress=stop)


def test_only_a_tokenizer_that_is_on_disk_is_loaded(model_folder: Callable[..., Path]) -> None:
    assert tokenizer_on_disk(str(model_folder()))("one")["input_ids"]
    assert tokenizer_on_disk("smollm2") is None
    assert tokenizer_on_disk("owner/name") is None
    assert tokenizer_on_disk("no such thing") is None
