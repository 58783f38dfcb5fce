"""What production needs instead: the command for vLLM, and a Dockerfile around it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from ...errors import ExportError
from ..source import Trained

IMAGE = "vllm/vllm-openai"
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM takes as its largest."""


def arguments(trained: Trained, place: str, *, host: str, port: int, folder: Path | None = None) -> list[str]:
    """The arguments of `vllm serve` for what a run trained.

    Args:
        trained: What is served.
        place: Where its folder will be.
        host: The address to listen at.
        port: The port.
        folder: Its folder now; that of the run by default.

    Raises:
        ExportError: vLLM cannot serve it.

    """
    folder = folder or trained.folder
    listening = ["--host", host, "--port", str(port)]
    template = ["--chat-template", f"{place}/chat_template.jinja"] if (folder / "chat_template.jinja").is_file() else []
    if trained.whole:
        return [place, "--served-model-name", trained.name, *template, *listening]
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    if config.get("use_dora"):
        raise ExportError(
            "vLLM does not serve adapters with DoRA.",
            hint=f"Merge it: ftk export {trained.run.name} --to merged, then vllm serve that folder.",
        )
    rank = int(config.get("r") or trained.config.lora_rank)
    largest = next((size for size in _RANKS if size >= rank), None)
    if largest is None:
        raise ExportError(f"vLLM serves adapters up to rank {_RANKS[-1]}; this one has {rank}.", hint="--to merged")
    base = trained.hub or trained.config.model
    revision = ["--revision", trained.revision] if trained.revision else []
    return [
        base, *revision, "--enable-lora", "--max-lora-rank", str(largest), "--lora-modules", f"{trained.name}={place}",
        *template, *listening,
    ]  # fmt: skip


def command(trained: Trained, *, host: str, port: int) -> str:
    """The command that serves a run with vLLM on this machine."""
    words = ["vllm", "serve", *arguments(trained, str(trained.folder), host=host, port=port)]
    return shlex.join(words)


def dockerfile(trained: Trained, *, port: int) -> str:
    """A Dockerfile for vLLM; the folder of what was trained is its context.

    Raises:
        ExportError: vLLM cannot serve it, or its base model is only on this machine.

    """
    if not trained.whole and not trained.hub:
        raise ExportError(
            f"The base model, {trained.config.model}, is only on this machine: a container would not find it.",
            hint=f"Make one model of the two: ftk export {trained.run.name} --to merged, and serve that folder.",
        )
    given = arguments(trained, "/model", host="0.0.0.0", port=port)  # noqa: S104 - inside the container
    image = trained.name.lower()
    return f"""\
# {trained.name}: served by vLLM behind OpenAI's API.
#
#   docker build -t {image} -f Dockerfile {shlex.quote(str(trained.folder))}
#   docker run --gpus all --ipc=host -p 127.0.0.1:{port}:{port} -e HF_TOKEN -e VLLM_API_KEY {image}
#
# VLLM_API_KEY is what clients have to send; HF_TOKEN is needed where the base model asks for one. Fix the version of
# the image once you have tried it.
FROM {IMAGE}:latest
COPY . /model
EXPOSE {port}
ENTRYPOINT ["vllm", "serve"]
CMD {json.dumps(given)}
"""
