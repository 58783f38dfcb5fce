"""Cards that only torch can see: Apple's and Intel's. Imports torch, but only where it was built for them."""

from __future__ import annotations

import platform
from typing import Any

from .builds import torch_build
from .gpu import Gpu
from .main_memory import memory_in_use, usable_memory


def accelerators() -> tuple[Gpu, ...]:
    """Apple's GPU (torch calls it ``mps``) or Intel's (``xpu``); raises nothing, and is empty elsewhere at no cost."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    if not apple and torch_build().kind != "xpu":
        return ()
    try:
        import torch

        return _apple(torch) if apple else _intel(torch)
    except Exception:  # noqa: BLE001 - a torch that cannot be imported or a driver that fails: no such card
        return ()


def _apple(torch: Any) -> tuple[Gpu, ...]:
    if not torch.backends.mps.is_available():
        return ()
    total = min(usable_memory(), int(torch.mps.recommended_max_memory()))
    used = max(0, total - max(0, usable_memory() - memory_in_use()))
    name = f"Apple {platform.machine()} GPU"
    system = f"macOS {platform.mac_ver()[0]}"
    return (Gpu(0, name, total, used, (0, 0), system, unified=True, vendor="apple"),)


def _intel(torch: Any) -> tuple[Gpu, ...]:
    found = []
    for index in range(torch.xpu.device_count()):
        about = torch.xpu.get_device_properties(index)
        free = torch.xpu.mem_get_info(index)[0] if hasattr(torch.xpu, "mem_get_info") else about.total_memory
        used = max(0, about.total_memory - free)
        driver = str(getattr(about, "driver_version", ""))
        found.append(Gpu(index, about.name, about.total_memory, used, (0, 0), driver, vendor="intel"))
    return tuple(found)
