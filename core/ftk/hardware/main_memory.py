"""Main memory: the machine's, what a container leaves of it, and what this process holds."""

from __future__ import annotations

import platform

import psutil

from . import cgroups


def gib(size: float) -> str:
    """Bytes as people read them: ``23.4 GiB``, ``512 MiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def usable_memory() -> int:
    """Bytes of this machine's memory, or of the container's limit."""
    total = psutil.virtual_memory().total
    return min(total, cgroups.memory_limit() or total)


def available_memory() -> int:
    """Bytes that can be had without swapping, and without the container's limit ending the process."""
    available, left = psutil.virtual_memory().available, cgroups.memory_left()
    return available if left is None else min(available, left)


def memory_in_use() -> int:
    """Bytes of the usable memory that cannot be had."""
    return max(0, usable_memory() - available_memory())


def process_memory() -> int:
    """Bytes of main memory that this process holds (resident set)."""
    return int(psutil.Process().memory_info().rss)


def peak_process_memory() -> int:
    """The most main memory in bytes that this process has held so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
