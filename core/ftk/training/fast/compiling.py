"""Compile the decoder layers, keep the result between runs, and go on without where that cannot be."""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from ... import files, hardware

LAYER_LISTS = ("layers", "h")
"""Where transformers' decoders keep their layers."""


def folder() -> Path:
    """Where compiled code is kept: where the user has told torch to, else in ftk's cache.

    There each kind of processor has a folder of its own. What torch keeps is written for the width of its vectors, and
    torch does not look at that when it takes it up again: on another processor, or on this one when it is told to use
    fewer instructions, the code writes beyond its arrays (seen with torch 2.13). Several kinds may well meet a cache:
    it may lie on a volume that moves from machine to machine.
    """
    given = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if given and not _is_torchs_own(Path(given)):
        return Path(given)
    told = os.environ.get("ATEN_CPU_CAPABILITY", "")
    kind = hashlib.sha256(f"{hardware.instructions()} {told} {metadata.version('torch')}".encode()).hexdigest()[:16]
    return files.cache_dir() / "compiled" / kind


def _is_torchs_own(given: Path) -> bool:
    """Whether torch has named the folder itself, which it does by the way when parts of it are imported."""
    return given.parent == Path(tempfile.gettempdir()) and given.name.startswith("torchinductor_")


def keep_compiled_in_cache() -> None:
    """Have torch keep compiled code, so that only the first run of a model waits for it.

    Must come before torch compiles anything.
    """
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder())


def layers_of(decoder: Any) -> Any:
    """The list of the decoder's layers, or None if it keeps them elsewhere."""
    return next((getattr(decoder, name) for name in LAYER_LISTS if hasattr(decoder, name)), None)


def compile_layers(layers: Any) -> None:
    """Fuse what lies between the matmuls of each layer; all layers share the compiled code.

    Shapes are symbolic, so rows of any length use the same code.
    """
    import torch._dynamo

    # Else every scale is a symbol at first, is found to be none, and all is traced twice.
    torch._dynamo.config.specialize_float = True
    for layer in layers:
        layer.compile(dynamic=True)


def uncompile(layers: Any) -> None:
    """Give the layers their plain forward pass back."""
    for layer in layers:
        layer._compiled_call_impl = None


def is_compile_error(error: BaseException) -> bool:
    """Whether an error came out of compiling, and not out of the computation itself."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import CppCompileError

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TorchDynamoException | CppCompileError):
            return True
        seen = seen.__cause__
    return False
