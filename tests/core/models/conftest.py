"""Fixtures of the model tests: a Hub of their own, and caches that huggingface_hub really looks into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from .hub_server import HubServer


@pytest.fixture(autouse=True)
def hub_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub see the environment of `home`: it reads these once, when it is imported."""
    from huggingface_hub import constants

    endpoint = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hf_hub_cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "hf_home" / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "hf_home" / "stored_tokens"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    point_to(endpoint, monkeypatch)


def point_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `endpoint` the Hub."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A running Hub without any repository, whose clients do not wait between two attempts."""
    import time

    from huggingface_hub import file_download

    server = HubServer()
    point_to(server.url, monkeypatch)
    monkeypatch.setattr(file_download, "time", SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None}))
    yield server
    server.stop()
