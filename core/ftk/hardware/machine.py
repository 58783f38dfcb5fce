"""All about this machine in one value: processor, memory, cards."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from . import processor
from .builds import torch_build
from .gpu import Gpu
from .main_memory import available_memory, gib, usable_memory
from .others import accelerators
from .watch import connect


@dataclass(frozen=True)
class Hardware:
    """A machine. `memory` and `memory_available` are in bytes and respect a container's limit.

    `cores` are the logical ones that this process may use, `gpus` the cards that torch calls ``cuda:0``, ``cuda:1``,
    ... in this process, by their number.
    """

    cpu: str
    cores: int
    memory: int
    memory_available: int
    bfloat16: bool
    gpus: tuple[Gpu, ...]
    physical_cores: int | None = None
    load: float | None = None
    """Processes that computed or waited to, on average over the last minute."""
    accelerators: tuple[Gpu, ...] = ()
    """Cards that torch does not call cuda: Apple's (``mps``), Intel's (``xpu``)."""
    torch_uses_gpus: bool = True
    """Whether the installed torch is built for the cards; False where it is built for the CPU only."""
    remarks: tuple[str, ...] = ()
    """What a person should know of the cards, in sentences: one that does not answer, a list that hides some."""

    @property
    def summary(self) -> str:
        """One line for people: the GPUs if there are any, else processor, cores and memory."""
        if cards := self.gpus or self.accelerators:
            return ", ".join(f"{gpu.name} ({gib(gpu.memory_total)})" for gpu in cards)
        return f"{self.cores} CPU cores, {gib(self.memory)} memory, no GPU"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for the run's provenance; without the cards' serial numbers, as it is published."""
        values = asdict(self)
        for gpu in (*values["gpus"], *values["accelerators"]):
            del gpu["uuid"]
        return values


def detect() -> Hardware:
    """Look at this machine; takes some milliseconds and raises nothing where a driver is missing or broken.

    Torch is imported only on machines whose cards nobody else knows (Apple's and Intel's).
    """
    total = usable_memory()
    gpus, remarks = _gpus()
    return Hardware(
        cpu=processor.name(),
        cores=processor.usable_cores(),
        memory=total,
        memory_available=min(available_memory(), total),
        bfloat16=processor.has_bfloat16(),
        gpus=gpus,
        physical_cores=processor.physical_cores(),
        load=processor.load(),
        accelerators=() if gpus else accelerators(),
        torch_uses_gpus=torch_build().kind not in ("cpu", "xpu"),
        remarks=remarks,
    )


def _gpus() -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """The cards of the first driver that has some: torch is built for one kind only."""
    found: list[Gpu] = []
    remarks: list[str] = []
    for backend in connect():
        if not found:
            for card in backend.cards():
                if about := backend.describe(card, len(found)):
                    found.append(about)
            remarks += backend.remarks
        backend.close()
    return tuple(found), tuple(remarks)


def gpu_memory_used(pid: int | None = None) -> int | None:
    """Bytes of GPU memory that a process holds on all cards, or None where no driver tells.

    Args:
        pid: The process; this one by default. In a container whose process numbers the driver does not
            know, the used memory of the first card is returned instead.

    """
    wanted, mine, first = pid or os.getpid(), None, None
    for backend in connect():
        for card in backend.cards() if first is None else []:
            now = backend.read(card, wanted)
            first = now.memory_used if first is None else first
            if now.memory_mine is not None:
                mine = (mine or 0) + now.memory_mine
        backend.close()
    return first if mine is None else mine
