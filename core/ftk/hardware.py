"""What this machine has: processor, memory, GPUs. The only module that talks to NVML; imports no torch."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU as its driver reports it; memory in bytes, `capability` such as (8, 0)."""

    index: int
    name: str
    memory_total: int
    memory_used: int
    capability: tuple[int, int]
    driver: str

    @property
    def bfloat16(self) -> bool:
        """Whether the card computes in bfloat16 natively (Ampere, capability 8.0, and later)."""
        return self.capability >= (8, 0)


@dataclass(frozen=True)
class Hardware:
    """A machine. `memory` and `memory_available` are in bytes and respect a container's limit."""

    cpu: str
    cores: int
    memory: int
    memory_available: int
    bfloat16: bool
    gpus: tuple[Gpu, ...]

    @property
    def summary(self) -> str:
        """One line for people: the GPUs if there are any, else processor, cores and memory."""
        if self.gpus:
            return ", ".join(f"{gpu.name} ({gib(gpu.memory_total)})" for gpu in self.gpus)
        return f"{self.cores} CPU cores, {gib(self.memory)} memory, no GPU"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for the run's provenance."""
        return asdict(self)


def gib(size: float) -> str:
    """Bytes as people read them: ``23.4 GiB``, ``512 MiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def detect() -> Hardware:
    """Look at this machine; takes some milliseconds and raises nothing where a driver is missing or broken."""
    memory, total = psutil.virtual_memory(), usable_memory()
    return Hardware(
        cpu=_cpu_name(),
        cores=_usable_cores(),
        memory=total,
        memory_available=min(memory.available, total),
        bfloat16=_cpu_has_bfloat16(),
        gpus=_gpus(),
    )


def usable_memory() -> int:
    """Bytes of this machine's memory, or of the container's limit."""
    total = psutil.virtual_memory().total
    return min(total, _cgroup_limit() or total)


@contextlib.contextmanager
def _nvml() -> Iterator[Any]:
    """NVML, initialised; yields None where there is no driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - a missing, old or broken driver all mean: no GPU to be seen
        yield None
        return
    try:
        yield pynvml
    finally:
        with contextlib.suppress(Exception):
            pynvml.nvmlShutdown()


def _gpus() -> tuple[Gpu, ...]:
    found: list[Gpu] = []
    with _nvml() as nvml:
        if nvml is None:
            return ()
        try:
            driver = _text(nvml.nvmlSystemGetDriverVersion())
            for index in range(nvml.nvmlDeviceGetCount()):
                with contextlib.suppress(nvml.NVMLError):  # one card that fell off must not hide the others
                    handle = nvml.nvmlDeviceGetHandleByIndex(index)
                    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
                    name = _text(nvml.nvmlDeviceGetName(handle))
                    found.append(Gpu(index, name, memory.total, memory.used, (major, minor), driver))
        except nvml.NVMLError:
            return tuple(found)
    return tuple(found)


def gpu_memory_used(pid: int | None = None) -> int | None:
    """Bytes of GPU memory that a process holds on all cards, or None where no driver tells.

    Args:
        pid: The process; this one by default. In a container whose process numbers the driver does not
            know, the used memory of the first card is returned instead.

    """
    with _nvml() as nvml:
        if nvml is None:
            return None
        try:
            mine, seen = 0, False
            for index in range(nvml.nvmlDeviceGetCount()):
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                    if process.pid == (pid or os.getpid()):
                        mine, seen = mine + int(process.usedGpuMemory or 0), True
            if seen:
                return mine
            return int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(0)).used)
        except nvml.NVMLError:
            return None


def process_memory() -> int:
    """Bytes of main memory that this process holds (resident set)."""
    return int(psutil.Process().memory_info().rss)


def peak_process_memory() -> int:
    """The most main memory in bytes that this process has held so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@cache
def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(errors="replace") if path.exists() else ""


def _cpu_name() -> str:
    for line in _cpuinfo().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively; without, float32 is the faster format."""
    flags = set(_cpuinfo().split())
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def _cgroup_limit() -> int | None:
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            value = int(Path(name).read_text().strip())
            return value if value < 2**60 else None
    return None


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
