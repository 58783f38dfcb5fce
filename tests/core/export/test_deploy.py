"""The command for vLLM and the Dockerfile: right for what was trained, and no private path in an image."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable

import pytest

from ftk.errors import ExportError
from ftk.export.serving import deploy
from ftk.export.source import Trained

CATALOGUED = {"model": {"name": "qwen3-0.6b", "source": "cache", "revision": "c0ffee"}}


def test_vllm_gets_base_revision_adapter_rank_and_template(run: Callable[..., Trained]) -> None:
    trained = run("qwen3", lora_rank=12, provenance=CATALOGUED)
    words = shlex.split(deploy.command(trained, host="127.0.0.1", port=9000))
    assert words == [
        "vllm", "serve", "Qwen/Qwen3-0.6B", "--revision", "c0ffee", "--enable-lora", "--max-lora-rank", "16",
        "--lora-modules", f"tuned={trained.folder}", "--chat-template", f"{trained.folder}/chat_template.jinja",
        "--host", "127.0.0.1", "--port", "9000",
    ]  # fmt: skip


def test_a_whole_model_is_served_as_it_is(run: Callable[..., Trained]) -> None:
    trained = run(method="full")
    words = shlex.split(deploy.command(trained, host="::1", port=1))
    assert words[:5] == ["vllm", "serve", str(trained.run.model), "--served-model-name", "tuned"]
    assert "--enable-lora" not in words


def test_the_dockerfile_holds_the_same_for_its_own_paths(run: Callable[..., Trained]) -> None:
    trained = run("qwen3", provenance=CATALOGUED)
    text = deploy.dockerfile(trained, port=8000)
    lines = text.splitlines()
    assert "FROM vllm/vllm-openai:latest" in lines
    assert "COPY . /model" in lines
    given = json.loads(next(line for line in lines if line.startswith("CMD ")).removeprefix("CMD "))
    assert given[:3] == ["Qwen/Qwen3-0.6B", "--revision", "c0ffee"]
    assert "tuned=/model" in given
    assert given[-4:] == ["--host", "0.0.0.0", "--port", "8000"]
    assert [line for line in lines if str(trained.folder) in line and not line.startswith("#")] == []


def test_what_vllm_cannot_do_is_told(run: Callable[..., Trained]) -> None:
    with pytest.raises(ExportError, match="DoRA") as caught:
        deploy.command(run(lora_dora=True), host="127.0.0.1", port=8000)
    assert "--to merged" in str(caught.value)
    with pytest.raises(ExportError, match="only on this machine"):
        deploy.dockerfile(run(name="b"), port=8000)
