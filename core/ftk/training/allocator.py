"""Settings of the C library's memory allocator that suit training."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # from malloc.h


def keep_freed_memory() -> bool:
    """Have glibc keep freed blocks for the next step instead of giving them back to the system.

    A training step frees and takes the same megabytes again and again. By default each block above 32 MB is
    mapped anew and every page of it faults in again: six times the page faults and four times the system time of
    eight steps of SmolLM2 on two cores. Costs nothing but that the memory of the largest step stays with the process.

    Call it in the process's first thread, before the thread that trains is made: threads take over the
    heap that they find.

    Returns:
        Whether the C library took the settings; false without glibc.

    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, 1), (_TOP_PAD, 64 * 2**20))
    return all(mallopt(option, value) == 1 for option, value in wanted)
