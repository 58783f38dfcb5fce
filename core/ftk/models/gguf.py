"""GGUF files: read once, dequantised, and kept as safetensors in ftk's cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import files
from ..errors import ModelError
from . import gguf_header, soundness

Progress = Callable[[str, str, float | None, float | None], None]
_LENGTHS = (".embedding_length", ".feed_forward_length", ".vocab_size", ".head_count", ".key_length", ".expert_count")
_LOCAL = {"trust_remote_code": False, "local_files_only": True}


def converted(path: Path, progress: Progress) -> Path:
    """The folder of a GGUF file's weights as safetensors; converts it at the first call.

    The copy is found again by the file's path, size and time of change: hashing tens of gigabytes at every
    start would cost minutes.

    Raises:
        ModelError: the file is damaged, or of an architecture that transformers cannot read.

    """
    state = path.stat()
    key = hashlib.sha256(f"{path}|{state.st_size}|{state.st_mtime_ns}".encode()).hexdigest()[:16]
    target = files.cache_dir() / "models" / f"gguf-{path.stem[:40]}-{key}"
    if not (target / "config.json").is_file():
        convert(path, target, {"gguf": str(path), "bytes": state.st_size}, progress)
    return target


def convert(path: Path, target: Path, origin: dict[str, Any], progress: Progress) -> None:
    """Write a GGUF file's weights, tokenizer and chat template as a plain model folder in bfloat16.

    Args:
        path: The GGUF file.
        target: The folder to make.
        origin: Where the file came from, kept beside the weights in ``origin.json``.
        progress: Told that a conversion goes on.

    Raises:
        ModelError: see `converted`, or there is no room on the disk.

    """
    progress("convert", path.name, None, None)
    _check(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    needed = path.stat().st_size * 5  # 16 bits a weight instead of 4, with room to spare
    if (free := shutil.disk_usage(target.parent).free) < needed:
        raise ModelError(
            f"Converting {path.name} needs about {needed >> 20} MiB in {target.parent}; {free >> 20} MiB are free.",
            hint="Free some room, or move the cache: export FTK_CACHE=/path",
        )
    import torch
    from tqdm.auto import tqdm
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging
    from transformers.utils.quantization_config import GgufConfig

    transformers_logging.disable_progress_bar()
    tqdm.set_lock(threading.RLock())  # tqdm's own spans processes, and cannot be made inside a Textual app
    folder, name = str(path.parent), path.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name, **_LOCAL)
        model, told = AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
            ignore_mismatched_sizes=True,  # the check below says which they are
            output_loading_info=True,
            **_LOCAL,
        )
        soundness.check_loaded(model, told, path)
    except ModelError:
        raise
    except Exception as error:
        raise _unreadable(path, " ".join(str(error).split())[:200]) from error
    with contextlib.suppress(FileExistsError), files.staged_dir(target) as staging:  # another process made the same
        tokenizer.save_pretrained(staging)
        model.save_pretrained(staging)
        (staging / "origin.json").write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")


def _check(path: Path) -> None:
    """See that a file holds what it says, and that no number in it makes transformers build what is not there."""
    try:
        header = gguf_header.read(path)
    except (gguf_header.NotTrueError, OSError) as error:
        raise _unreadable(path, str(error)) from None
    longest = max((length for shape in header.shapes.values() for length in shape), default=0)
    for name, value in header.values.items():
        most = len(header.shapes) if name.endswith(".block_count") else longest if name.endswith(_LENGTHS) else None
        if most is not None and isinstance(value, int) and value > most:
            raise _unreadable(path, f"{name} is {value:,}, and its tensors have at most {most:,}")


def _unreadable(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path} could not be read as GGUF: {why}.",
        hint="Is the file complete? transformers reads the common architectures only.",
    )
