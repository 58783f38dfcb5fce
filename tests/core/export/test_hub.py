"""Pushing to the Hub, played by a local server: what is sent, how it is seen, and that no secret goes anywhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftk.errors import ExportError, UsageError
from ftk.export import hub
from ftk.export.hub import Push
from ftk.export.source import Trained

from .upload_server import UploadServer

TOKEN = "hf_" + "aB3" * 12
CATALOGUED = {"model": {"name": "smollm2", "source": "cache", "revision": "c0ffee"}}


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadServer]:
    """A Hub that takes commits, and a token for it."""
    from huggingface_hub import constants

    made = UploadServer()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "hf_home" / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "hf_home" / "stored_tokens"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield made
    made.stop()


def test_an_adapter_is_sent_private_in_one_commit(
    run: Callable[..., Trained], server: UploadServer, home: Path
) -> None:
    trained = run(provenance=CATALOGUED)
    pushed = hub.push(trained, Push("me/tuned"))
    held = server.repositories["me/tuned"]
    assert server.private["me/tuned"] is True
    assert server.messages == ["Upload adapter made with ftk"]
    assert set(held) - {".gitattributes"} == {name for name, _ in pushed.files} == {
        "LICENCE_NOTE.md", "README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert held["adapter_model.safetensors"] == (trained.folder / "adapter_model.safetensors").read_bytes()
    assert json.loads(held["adapter_config.json"])["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert b'from_pretrained("me/tuned")' in held["README.md"]
    assert {name: len(held[name]) for name, _ in pushed.files} == dict(pushed.files)
    assert pushed.address == f"{server.url}/me/tuned"
    for name, content in held.items():
        assert TOKEN.encode() not in content, name
        assert str(home).encode() not in content, name
    assert list((home / "ftk_cache" / "exports").iterdir()) == []


def test_a_merged_model_can_be_sent_and_shown_to_everybody(run: Callable[..., Trained], server: UploadServer) -> None:
    hub.push(run(), Push("me/whole", what="merged", public=True))
    assert server.private["me/whole"] is False
    assert "model.safetensors" in server.repositories["me/whole"]
    assert server.messages == ["Upload merged made with ftk"]


def test_a_dry_run_shows_what_would_be_sent_and_asks_nobody(
    run: Callable[..., Trained], server: UploadServer, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    pushed = hub.push(run(provenance=CATALOGUED), Push("me/tuned", dry_run=True))
    assert server.requests == []
    assert pushed.address == ""
    assert pushed.private is True
    assert dict(pushed.files)["adapter_model.safetensors"] > 10_000
    assert pushed.checks
    assert list((home / "ftk_cache" / "exports").iterdir()) == []


def test_a_repository_with_files_is_not_written_unasked(run: Callable[..., Trained], server: UploadServer) -> None:
    server.repositories["me/tuned"] = {"README.md": b"mine", "other.bin": b"kept"}
    server.private["me/tuned"] = True
    trained = run(provenance=CATALOGUED)
    with pytest.raises(ExportError, match="holds 2 files already"):
        hub.push(trained, Push("me/tuned"))
    assert server.repositories["me/tuned"]["README.md"] == b"mine"
    hub.push(trained, Push("me/tuned"), force=True)
    assert server.repositories["me/tuned"]["README.md"] != b"mine"
    assert server.repositories["me/tuned"]["other.bin"] == b"kept"


def test_nothing_is_sent_where_everybody_would_see_it_unasked(
    run: Callable[..., Trained], server: UploadServer
) -> None:
    server.repositories["me/tuned"], server.private["me/tuned"] = {}, False
    with pytest.raises(ExportError, match="everybody can see it") as caught:
        hub.push(run(provenance=CATALOGUED), Push("me/tuned"))
    assert "--public" in str(caught.value)
    assert server.repositories["me/tuned"] == {}


@pytest.mark.parametrize(
    ("step", "status", "told"),
    [("create", 403, "may not write there"), ("commit", 400, "400|Bad Request|refused"), ("info", 401, "HTTP 401")],
)
def test_a_hub_that_refuses_is_told_without_the_token(
    run: Callable[..., Trained], server: UploadServer, home: Path, step: str, status: int, told: str
) -> None:
    server.refuse[step] = status
    with pytest.raises(ExportError, match=told) as caught:
        hub.push(run(provenance=CATALOGUED), Push("me/tuned"))
    assert TOKEN not in str(caught.value)
    assert not (home / "ftk_cache" / "exports").exists() or list((home / "ftk_cache" / "exports").iterdir()) == []


def test_without_a_token_it_says_so_before_anything_is_computed(
    run: Callable[..., Trained], server: UploadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ExportError, match="needs a token") as caught:
        hub.push(run(provenance=CATALOGUED), Push("me/tuned"))
    assert "hf auth login" in str(caught.value)
    assert server.requests == []


def test_an_adapter_that_nobody_could_use_is_not_sent(run: Callable[..., Trained], server: UploadServer) -> None:
    with pytest.raises(ExportError, match="is not on the Hub") as caught:
        hub.push(run(), Push("me/tuned"))
    assert "--what merged" in str(caught.value)
    with pytest.raises(UsageError, match="cannot name a repository"):
        hub.push(run(name="b"), Push("no/good/name"))
    with pytest.raises(ExportError, match="trained every weight"):
        hub.push(run(name="c", method="full"), Push("me/tuned"))
