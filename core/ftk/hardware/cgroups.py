"""What a container or a login leaves of the machine: the limits of Linux's control groups, both versions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

_ENDLESS = 2**60
"""Bytes from which a limit means that there is none (version 1 writes a number near 2^63)."""


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes that this process may use, None without a limit; the tightest of its group and of those above it counts.

    Args:
        root: Where the file systems ``proc`` and ``sys`` are found.

    """
    return min((limit for limit, _ in _memory(root)), default=None)


def memory_left(root: Path = Path("/")) -> int | None:
    """Bytes until the nearest limit, None without one; what the kernel can drop (file cache) counts as free."""
    return min((max(0, limit - used) for limit, used in _memory(root)), default=None)


def cpu_limit(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that this process may use, such as 1.5; None without a limit."""
    found = []
    for folder in _folders(root, "cpu"):
        with contextlib.suppress(OSError, ValueError, IndexError, ZeroDivisionError):
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()[:2]
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / "cpu.cfs_period_us").read_text()
            if quota != "max" and int(quota) > 0:
                found.append(int(quota) / int(period))
    return min(found, default=None)


def _memory(root: Path) -> Iterator[tuple[int, int]]:
    """The limit and what is used of it, of every group above this process that has a limit."""
    for folder in _folders(root, "memory"):
        for limit_file, used_file, dropped in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            with contextlib.suppress(OSError, ValueError):
                limit = int((folder / limit_file).read_text())
                if limit < _ENDLESS:
                    yield limit, max(0, _value(folder / used_file) - _statistic(folder / "memory.stat", dropped))


def _value(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _statistic(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's group and of all above it, in both versions, as far as they are to be seen.

    In a container the group's path is often that of the machine outside, and only the top can be found.
    """
    base = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    paths = {base: "/", base / controller: "/"}
    for line in lines:
        number, names, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not names:
            paths[base] = path
        elif controller in names.split(","):
            paths[base / controller] = path
            paths[base / names] = path
    for top, path in paths.items():
        parts = [part for part in path.split("/") if part and part != ".."]
        for depth in range(len(parts), -1, -1):
            folder = top.joinpath(*parts[:depth])
            if folder.is_dir():
                yield folder
