"""Quantised weights kept in the cache, so that the second start of a 7B model reads 4 GB and not 15."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from .. import files

_WORTH_IT = 2**30
"""Bytes of the original weights from which a quantised copy is kept: below, reading and packing takes moments."""


def place(folder: Path, quantization: str, precision: str) -> Path:
    """Where the quantised copy of a model folder belongs.

    The name is made of weights and configuration (path, size and time), of what was asked for and of the versions of
    the libraries that pack, so that a copy is never used for anything else.
    """
    import bitsandbytes
    import transformers

    parts = [*_weights(folder), folder / "config.json"]
    files_seen = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in parts]
    key = json.dumps([files_seen, quantization, precision, bitsandbytes.__version__, transformers.__version__])
    name = f"{folder.name[:40]}-{quantization}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return files.cache_dir() / "quantised" / name


def keep(model: Any, original: Path, target: Path) -> bool:
    """Write a quantised model into the cache if it is large and the disk has room for the unquantised size.

    Returns:
        Whether it was written; a full disk is no error, the next start then packs again.

    """
    size, dtype = sum(file.stat().st_size for file in _weights(original)), model.config.dtype
    if size < _WORTH_IT or target.exists():
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(target.parent).free < size:  # packed, it takes a third to a half of it
            return False
        with files.staged_dir(target) as staging:
            model.save_pretrained(str(staging), safe_serialization=True)
    except OSError:
        return False
    finally:
        model.config.dtype = dtype  # saving writes its name over it, with which no weights can be unpacked
    return True


def keep_layout(model: Any) -> None:
    """Keep 4-bit weights as they are stored, whatever the processor.

    On processors with AVX-512 BF16, bitsandbytes lays them out anew when a model first answers. From then on no
    gradient passes through the layer, unpacking it gives other numbers, and layers whose rows are no multiple of 32
    fail.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))
