"""Data sets on the Hub, played by a server on this machine: configs, splits, revisions, and days without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ftk import dataspec, hub_api, load_dataset
from ftk.data.dataset import Dataset
from ftk.errors import DataError, UsageError
from tests.core.models.conftest import point_to
from tests.core.models.hub_server import COMMIT, HubServer, Repository

NAME = "someone/rows"


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A running Hub whose clients look nowhere else and do not wait between two attempts."""
    import time

    import datasets.config
    from huggingface_hub import HfFileSystem, constants, file_download

    server = HubServer()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "tokens"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", str(home / "cache"))
    monkeypatch.setattr(file_download, "time", SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None}))
    monkeypatch.setattr(hub_api, "PROBE_SECONDS", 20.0)
    point_to(server.url, monkeypatch)
    HfFileSystem.clear_instance_cache()
    yield server
    server.stop()


def lines(*answers: str) -> bytes:
    return "".join(json.dumps({"prompt": "Q", "response": answer}) + "\n" for answer in answers).encode()


@pytest.fixture
def repository(hub: HubServer) -> Repository:
    """A data set with a training, a validation and a test split."""
    hub.repositories[NAME] = Repository(
        {
            "README.md": b"# Rows\n",
            "data/train-00000-of-00002.jsonl": lines("a", "b"),
            "data/train-00001-of-00002.jsonl": lines("c"),
            "data/validation-00000-of-00001.jsonl": lines("v"),
            "data/test-00000-of-00001.jsonl": lines("t"),
        }
    )
    return hub.repositories[NAME]


def answers(data: Dataset) -> tuple[list[str], list[str]]:
    return [row.response for row in data.rows], [row.response for row in data.held_out]


def refusal(spec: str) -> DataError:
    with pytest.raises(DataError) as caught:
        load_dataset(spec)
    assert caught.value.hint
    return caught.value


def test_a_data_set_is_fetched_with_its_held_out_part(hub: HubServer, repository: Repository) -> None:
    data = load_dataset(NAME)
    assert answers(data) == (["a", "b", "c"], ["v"])
    assert data.rows[2].origin == "someone/rows/train/train-00001-of-00002.jsonl, line 1"
    assert not any("test-" in name for name in hub.downloaded())  # stays unseen, and is not even fetched
    assert any(COMMIT in path for _, path, _ in hub.requests)  # what was looked at is what is fetched


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("split=train", (["a", "b", "c"], [])),
        ("split=test", (["t"], [])),
        ("split=validation&revision=main", (["v"], [])),
        ("revision=main", (["a", "b", "c"], ["v"])),
    ],
)
def test_splits_and_revisions_are_chosen(
    repository: Repository, query: str, expected: tuple[list[str], list[str]]
) -> None:
    assert answers(load_dataset(f"{NAME}?{query}")) == expected


def test_a_revision_is_asked_for_by_its_name(hub: HubServer, repository: Repository) -> None:
    load_dataset(f"{NAME}?revision=v2&split=test")
    assert f"/api/datasets/{NAME}/revision/v2" in [path for _, path, _ in hub.requests]


def test_configs_are_asked_for_and_chosen(hub: HubServer) -> None:
    head = """---
configs:
- config_name: en
  data_files:
  - {split: train, path: en/train.jsonl}
- config_name: de
  data_files:
  - {split: train, path: de/train.jsonl}
  - {split: test, path: de/test.csv}
---
"""
    hub.repositories[NAME] = Repository(
        {
            "README.md": head.encode(),
            "en/train.jsonl": lines("yes"),
            "de/train.jsonl": lines("ja", "nein"),
            "de/test.csv": b"prompt;response\nQ;doch\n",
        }
    )
    assert answers(load_dataset(f"{NAME}?config=de")) == (["ja", "nein"], ["doch"])
    assert answers(load_dataset(f"{NAME}?config=de&split=test")) == (["doch"], [])
    assert answers(load_dataset(f"{NAME}?config=en:2")) == (["yes", "yes"], [])
    error = refusal(NAME)
    assert "en" in error.message
    assert "de" in error.message
    assert error.hint == f"Say which: '{NAME}?config=NAME' (in quotes)."
    assert NAME in refusal(f"{NAME}?config=fr").message


def test_an_unknown_split_is_refused_with_those_there_are(repository: Repository) -> None:
    error = refusal(f"{NAME}?split=dev")
    assert error.message == f"{NAME} has no split 'dev'."
    assert error.hint == "Its splits: train, validation, test"


def test_what_was_fetched_is_found_again_without_the_hub(hub: HubServer, repository: Repository) -> None:
    first = load_dataset(NAME)
    hub.stop()
    assert load_dataset(NAME) == first
    assert "could not be found" in refusal(f"{NAME}?split=train").message


def test_a_data_set_mixes_with_files(repository: Repository) -> None:
    Path("own.jsonl").write_bytes(lines("own"))
    assert answers(load_dataset(f"own.jsonl:2,{NAME}?split=test")) == (["own", "own", "t"], [])


def test_faults_name_the_file_of_the_data_set(hub: HubServer, repository: Repository) -> None:
    repository.files["data/train-00001-of-00002.jsonl"] = lines("c") + b"{\n"
    assert refusal(NAME).message.startswith("someone/rows/train/train-00001-of-00002.jsonl, line 2, column ")


def test_what_is_not_there_is_said_within_seconds(hub: HubServer) -> None:
    error = refusal("someone/nothing")
    assert "The data set someone/nothing could not be found" in error.message
    assert "no such data set, or private (HTTP 404)" in error.message
    assert hub.url in error.message


def test_a_licence_that_is_not_accepted_is_said_with_its_page(hub: HubServer, repository: Repository) -> None:
    repository.info_error = (403, "GatedRepo")
    error = refusal(NAME)
    assert "access needs a licence click and a token" in error.message
    assert f"{hub.url}/datasets/{NAME}" in str(error.hint)


def test_a_data_set_without_files_that_ftk_reads_is_refused(hub: HubServer) -> None:
    hub.repositories[NAME] = Repository({"README.md": b"# Nothing\n", "notes.bin": b"x"})
    error = refusal(NAME)
    assert NAME in error.message
    assert error.hint


def test_no_network_is_no_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("http://127.0.0.1:9", monkeypatch)
    error = refusal("someone/rows")
    assert "http://127.0.0.1:9" in error.message
    assert "a file of your own" in str(error.hint)


@pytest.mark.parametrize(
    ("text", "told"),
    [("spilt=train", "Did you mean 'split'?"), ("split", "'split' of"), ("split=", "'split=' of"), ("x=1", "'x=1' of")],
)
def test_a_query_that_is_not_understood_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_dataset(f"{NAME}?{text}")
    assert told in caught.value.message


def test_hub_ids_are_told_from_files_and_patterns() -> None:
    assert dataspec.hub_id("owner/name?config=a b&split=c") == dataspec.HubId("owner/name", "a b", "c")
    assert dataspec.hub_id("databricks/databricks-dolly-15k") == dataspec.HubId("databricks/databricks-dolly-15k")
    for name in ("name", "a/b/c", "./a/b", "data/part?.jsonl", "data/*.jsonl", "../x", "/abs/path"):
        assert dataspec.hub_id(name) is None
    Path("data").mkdir()
    assert "There is no data file or folder 'data/none.jsonl'" in refusal("data/none.jsonl").message
