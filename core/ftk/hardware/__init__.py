"""What this machine has: processor, memory, room, GPUs. The only room that talks to NVML; imports no torch.

The one exception are machines whose cards nobody but torch knows: Apple's and Intel's.
"""

from __future__ import annotations

from .builds import TorchBuild, torch_build
from .gpu import Gpu, NoDriver, Reading
from .machine import Hardware, detect, gpu_memory_used
from .main_memory import (
    available_memory,
    gib,
    memory_in_use,
    peak_process_memory,
    process_memory,
    usable_memory,
)
from .processor import compile_obstacle, instructions
from .room import Room, rooms
from .watch import Watch

__all__ = [
    "Gpu",
    "Hardware",
    "NoDriver",
    "Reading",
    "Room",
    "TorchBuild",
    "Watch",
    "available_memory",
    "compile_obstacle",
    "detect",
    "gib",
    "gpu_memory_used",
    "instructions",
    "memory_in_use",
    "peak_process_memory",
    "process_memory",
    "rooms",
    "torch_build",
    "usable_memory",
]
