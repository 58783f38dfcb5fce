"""Builds a stand-in for NVIDIA's driver library from C, and runs Python with it in place of the real one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("stub.c")
_KEPT: list[tempfile.TemporaryDirectory[str]] = []  # removed when the tests end

DRIVER = "driver|version=580.65.06|cuda=13000"
T4 = (
    "gpu|name=Tesla T4|uuid=GPU-1111-aaaa|total=16000000000|used=1000000000|major=7|minor=5"
    "|busy=40|power=30500|limit=70000|heat=50"
)
A100 = (
    "gpu|name=NVIDIA A100-SXM4-80GB|uuid=GPU-2222-bbbb|total=80000000000|used=2000000000|major=8|minor=0"
    "|busy=0|power=60000|limit=400000|heat=31|mig=0"
)


def h100(number: int) -> str:
    """One of several equal cards."""
    return f"gpu|name=NVIDIA H100|uuid=GPU-{number}{number}{number}|total=85000000000|used=500000000|major=9|minor=0"


def cut(number: int, slices: int) -> list[str]:
    """A card in MIG mode with some instances."""
    card = A100.replace("|busy=0", "").replace("|mig=0", "|mig=1")
    parts = [
        f"slice|of={number}|name=NVIDIA A100-SXM4-80GB MIG 1g.10gb|uuid=MIG-{part}{part}{part}"
        f"|total=10000000000|used={part}"
        for part in range(1, slices + 1)
    ]
    return [card, *parts]


@cache
def library() -> Path:
    """The folder of the compiled library; skips the test where there is no compiler."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        pytest.skip("no C compiler to build the stand-in for NVIDIA's driver with")
    if sys.platform != "linux":
        pytest.skip("the stand-in for NVIDIA's driver is a shared library of Linux")
    _KEPT.append(tempfile.TemporaryDirectory(prefix="ftk-nvml-"))
    folder = Path(_KEPT[-1].name)
    command = [compiler, "-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    command += ["-o", str(folder / "libnvidia-ml.so.1"), str(SOURCE), "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


class StubDriver:
    """A driver that tells what it is told to tell.

    Args:
        folder: Where its file goes.

    """

    def __init__(self, folder: Path) -> None:
        self.library = library()
        self.file = folder / "driver.txt"
        self.tell()

    def tell(self, *lines: str) -> None:
        """Set what it tells from now on, also to programs that run."""
        staging = self.file.with_suffix(".new")
        staging.write_text("\n".join([DRIVER, *lines]) + "\n")
        staging.replace(self.file)

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment of a program that meets this driver."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("CUDA_", "COV_"))}
        return {**kept, "LD_LIBRARY_PATH": str(self.library), "FTK_NVML_STUB": str(self.file), **variables}

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python."""
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, env=self.environment(**variables), timeout=120
        )

    def ask(self, code: str, **variables: str) -> Any:
        """What a program prints as its last line, as JSON; `ftk.hardware` is imported as `hardware`."""
        code = f"import ctypes, dataclasses, json, sys\nfrom ftk import hardware\n{code}"
        done = self.run("-c", code, **variables)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])
