"""The processor: its name, cores, number formats and load, and whether there is a compiler for it."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

import psutil

from . import cgroups


def name() -> str:
    """The processor's name as its maker gave it, as far as the system tells."""
    for line in _cpuinfo().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    if platform.system() == "Darwin" and (told := _sysctl("machdep.cpu.brand_string")):
        return told
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Logical cores that this process may use: by its affinity, and by the container's share of time, rounded up."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = cgroups.cpu_limit()
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


def physical_cores() -> int | None:
    """Cores of the whole machine, not counting threads that share one; None where the system does not tell."""
    try:
        return psutil.cpu_count(logical=False)
    except (OSError, ValueError):
        return None


def load() -> float | None:
    """Processes that computed or waited to, on average over the last minute; in a container those of the machine."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively; without, float32 is the faster format."""
    flags = set(_cpuinfo().split())
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def instructions() -> str:
    """The instructions that this processor has, in words that are alike only where they are."""
    lines = {line for line in _cpuinfo().splitlines() if line.startswith(("flags", "Features"))}
    return " ".join([platform.machine(), *(sorted(lines) or [platform.processor()])])


@cache
def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(errors="replace") if path.exists() else ""


@cache
def _sysctl(key: str) -> str:
    try:
        return subprocess.run(
            ["/usr/sbin/sysctl", "-n", key], capture_output=True, text=True, timeout=2, check=False
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def compile_obstacle(device: str) -> str:
    """Why layers cannot be compiled on this device, in words; empty if they can.

    On a CPU torch writes C++ and needs a compiler of the machine; on CUDA it brings one (Triton), which still
    needs a C compiler for its launchers.
    """
    if device.startswith("cuda"):
        if importlib.util.find_spec("triton") is None:
            return "Triton, which compiles for the GPU, is not installed"
        return "" if _compiler(("CC",), ("cc", "gcc", "clang")) else "no C compiler (gcc, clang) was found"
    if device != "cpu":
        return f"layers are not compiled on {device}"
    return "" if _compiler(("CXX",), ("g++", "clang++", "c++")) else "no C++ compiler (g++, clang++) was found"


def _compiler(variables: tuple[str, ...], names: tuple[str, ...]) -> str | None:
    """The compiler that the environment names, else the first one that is there."""
    wanted = [os.environ[variable] for variable in variables if os.environ.get(variable)]
    return next((found for name in wanted or names if (found := shutil.which(name))), None)
