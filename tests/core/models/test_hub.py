"""Finding and fetching on the Hub, played by a server on this machine."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk import hub_api
from ftk.errors import ModelError
from ftk.models import sources
from ftk.models.loading import load, silent
from ftk.models.sources import Source
from ftk.models.tokenizers import find_tokenizer
from tests import tiny

from .conftest import point_to
from .hub_server import COMMIT, HubServer, Repository

NAME = "someone/tiny-model"
Folder = Callable[..., Path]


@pytest.fixture
def repository(hub: HubServer, model_folder: Folder) -> Repository:
    """A good repository with the tiny llama."""
    hub.repositories[NAME] = Repository.of(model_folder())
    return hub.repositories[NAME]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in several weight files."""
    folder = tmp_path_factory.mktemp("shards") / "model"
    tiny.model().save_pretrained(folder, max_shard_size="150KB")
    tiny.tokenizer().save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def refusal(action: Callable[[], Any]) -> str:
    """What a person reads when `action` fails."""
    with pytest.raises(ModelError) as caught:
        action()
    return str(caught.value)


def test_a_model_is_described_before_anything_is_fetched(hub: HubServer, repository: Repository) -> None:
    repository.weights = 91_000
    source = sources.locate(NAME)
    assert (source.kind, source.hub, source.revision, source.weights) == ("hub", NAME, COMMIT, 91_000)
    assert not source.on_disk
    assert hub.downloaded() == []


def test_a_download_is_complete_and_found_again_without_the_hub(
    hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sources.fetch(sources.locate(NAME), silent)
    assert source.path is not None
    assert files_of(source.path) == repository.files
    hub.stop()
    again = sources.locate(NAME)
    assert (again.kind, again.path, again.revision) == ("cache", source.path, COMMIT)
    assert sources.fetch(again, silent) == again
    loaded = load(again)
    assert loaded.info.reference == NAME
    assert loaded.model.config.model_type == "llama"


def test_a_second_fetch_downloads_nothing(hub: HubServer, repository: Repository) -> None:
    located = sources.locate(NAME)
    first = sources.fetch(located, silent)
    count = len(hub.downloaded())
    assert count == len(repository.files)
    assert sources.fetch(located, silent) == first
    assert len(hub.downloaded()) == count


def test_progress_is_reported_in_bytes(
    hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 32 << 10)
    told: list[tuple[str, str, float | None, float | None]] = []
    sources.fetch(sources.locate(NAME), lambda *report: told.append(report))
    size = sum(len(content) for name, content in repository.files.items() if name != "config.json")  # which came before
    assert {report[:2] for report in told} == {("download", NAME)}
    assert max(done or 0 for _, _, done, _ in told) == size
    assert told[-1][3] == size
    assert len({done for _, _, done, _ in told}) > len(repository.files)
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_by_one_thread_at_a_time(
    hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 10)
    busy, threads = threading.Lock(), set()

    def told(*report: object) -> None:
        assert busy.acquire(blocking=False)
        threads.add(threading.get_ident())
        time.sleep(0.0005)
        busy.release()

    sources.fetch(sources.locate(NAME), told)
    assert len(threads) > 1


def test_only_what_a_model_needs_is_downloaded(hub: HubServer, repository: Repository) -> None:
    needed = set(repository.files)
    for name in (
        "README.md", "pytorch_model.bin", "model.pth", "LICENSE.txt", "model.py", "consolidated.00.safetensors",
        "original/params.json", "onnx/model.onnx", "fp16/model.safetensors",
    ):  # fmt: skip
        repository.files[name] = b"not needed"
    sources.fetch(sources.locate(NAME), silent)
    assert set(hub.downloaded()) == needed


def test_a_gated_model_names_the_licence_page_and_the_token(hub: HubServer, repository: Repository) -> None:
    repository.info_error = (403, "GatedRepo")
    at_the_page = refusal(lambda: sources.locate(NAME))
    repository.info_error, repository.file_error = None, (401, "GatedRepo")
    at_the_files = refusal(lambda: sources.fetch(sources.locate(NAME), silent))
    for message in (at_the_page, at_the_files):
        assert f"{hub.url}/{NAME}" in message
        assert "licence" in message
        assert "HF_TOKEN" in message
        assert "hf auth login" in message


def test_an_unknown_model_is_answered_with_what_was_tried(hub: HubServer) -> None:
    message = refusal(lambda: sources.locate(NAME))
    assert NAME in message
    assert hub.url in message
    assert "404" in message
    assert "hf_hub_cache" in message
    assert "spelling" in message


def test_a_private_model_asks_for_a_token(repository: Repository) -> None:
    repository.info_error = (401, "RepoNotFound")
    message = refusal(lambda: sources.locate(NAME))
    assert "private" in message
    assert "401" in message
    assert "HF_TOKEN" in message


def test_a_stale_token_is_named_as_the_reason(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    repository.info_error = (401, "")
    message = refusal(lambda: sources.locate(NAME))
    assert "the token was not accepted" in message
    assert "unset" in message


def test_a_repository_of_pickles_is_refused_before_any_download(hub: HubServer, repository: Repository) -> None:
    repository.files["pytorch_model.bin"] = repository.files.pop("model.safetensors")
    message = refusal(lambda: sources.locate(NAME))
    assert "safetensors" in message
    assert "pickle" in message
    assert hub.downloaded() == []


def test_a_page_that_is_not_the_hubs_is_recognised(repository: Repository) -> None:
    repository.page = b"<html>Welcome to the hotel. Log in!</html>"
    message = refusal(lambda: sources.locate(NAME))
    assert "not the Hub's" in message
    assert "HF_ENDPOINT" in message


def test_a_hub_out_of_order_is_reported_with_its_status(repository: Repository) -> None:
    repository.info_error = (503, "")
    message = refusal(lambda: sources.locate(NAME))
    assert "503" in message
    assert "--model PATH" in message


def located_in_time(name: str) -> str:
    """The refusal of `locate`, which must come within the probe's time and a margin."""
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(refusal(lambda: sources.locate(name))), daemon=True)
    thread.start()
    thread.join(sources.PROBE_SECONDS + 5)
    assert answers, "no answer in time"
    return answers[0]


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PROBE_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        endpoint = f"http://127.0.0.1:{silent_server.getsockname()[1]}"
        point_to(endpoint, monkeypatch)
        message = located_in_time(NAME)
    assert endpoint in message
    assert "timed out" in message
    for advice in ("HF_ENDPOINT", "--model PATH", "--preset smollm2"):
        assert advice in message


def test_a_server_that_answers_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PROBE_SECONDS", 1.0)
    over = threading.Event()

    def trickle(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not over.wait(0.1):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as slow_server:
        thread = threading.Thread(target=trickle, args=(slow_server,), daemon=True)
        thread.start()
        point_to(f"http://127.0.0.1:{slow_server.getsockname()[1]}", monkeypatch)
        message = located_in_time(NAME)
        over.set()
        thread.join(10)
    assert "no answer within 1 s" in message


def test_a_refused_connection_is_answered_with_what_to_do(hub: HubServer) -> None:
    hub.stop()
    message = refusal(lambda: sources.locate(NAME))
    assert hub.url in message
    assert "refused" in message
    assert "--model PATH" in message


def test_offline_mode_is_named_and_asks_no_network(
    hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refusal(lambda: sources.locate(NAME))
    assert "HF_HUB_OFFLINE" in message
    assert hub.requests == []


def test_offline_mode_finds_what_was_downloaded_before(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = sources.fetch(sources.locate(NAME), silent)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert sources.locate(NAME).path == fetched.path


@pytest.mark.parametrize(
    "cut",
    [
        "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json",
        "model.safetensors.index.json", "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors",
    ],
)  # fmt: skip
def test_a_download_that_was_cut_is_never_taken_for_complete(hub: HubServer, shards: Path, cut: str) -> None:
    repository = Repository.of(shards)
    assert cut in repository.files
    hub.repositories[NAME] = repository
    repository.cut = {cut}
    assert NAME in refusal(lambda: sources.fetch(sources.locate(NAME), silent))
    assert sources.cached_path(NAME) is None
    assert sources.locate(NAME).kind == "hub"
    repository.cut = set()
    source = sources.fetch(sources.locate(NAME), silent)
    assert source.path is not None
    assert files_of(source.path) == repository.files
    assert sources.locate(NAME).kind == "cache"


def test_a_full_disk_is_told_as_such(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    located = sources.locate(NAME)
    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    message = refusal(lambda: sources.fetch(located, silent))
    assert "No space left" in message
    assert "HF_HUB_CACHE" in message


def test_the_token_is_sent_but_stands_in_no_message(
    hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "hf_canaryCANARYcanary"
    monkeypatch.setenv("HF_TOKEN", token)
    assert hub_api.has_token()
    located = sources.locate(NAME)
    shown = [repr(located)]
    sources.fetch(located, lambda *report: shown.append(repr(report)))
    assert all(headers.get("authorization") == f"Bearer {token}" for _, _, headers in hub.requests)
    for status in (401, 403, 404, 500):
        for code in ("GatedRepo", "RepoNotFound", ""):
            repository.info_error = (status, code)
            shown.append(refusal(lambda: sources._remote(Source(NAME, "hub", None, NAME, None))))
    hub.stop()
    shown.append(refusal(lambda: sources.locate("someone/else")))
    assert len(shown) > 13
    assert not any(token in text for text in shown)


def test_a_token_is_only_said_to_be_there_if_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not hub_api.has_token()
    monkeypatch.setenv("HF_TOKEN", "hf_something")
    assert hub_api.has_token()


def test_a_download_needs_no_lock_across_processes(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm's own lock starts a process, which fails inside a Textual app on Python 3.14."""
    import tqdm.asyncio
    import tqdm.std

    def refuse(cls: type) -> None:
        raise ValueError("bad value(s) in fds_to_keep")

    monkeypatch.delattr(tqdm.asyncio.tqdm_asyncio, "_lock", raising=False)
    monkeypatch.delattr(tqdm.std.tqdm, "_lock", raising=False)
    monkeypatch.setattr(tqdm.std.TqdmDefaultWriteLock, "create_mp_lock", classmethod(refuse))
    assert isinstance(sources.fetch(sources.locate(NAME), silent), Source)


def test_a_tokenizer_is_fetched_without_the_weights_and_found_again(hub: HubServer, repository: Repository) -> None:
    ids = tiny.tokenizer()("one two")["input_ids"]
    assert find_tokenizer(NAME)("one two")["input_ids"] == ids
    assert not [name for name in hub.downloaded() if name.endswith(".safetensors")]
    assert not sources.locate(NAME).on_disk  # a tokenizer alone is not taken for the model
    hub.stop()
    assert find_tokenizer(NAME)("one two")["input_ids"] == ids
