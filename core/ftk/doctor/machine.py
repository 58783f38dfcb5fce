"""Memory, processor and room on disk."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from .. import hardware
from ..hardware import Room, gib
from ..hardware import processor as cpu
from .finding import Finding, Level

GIB = 2**30
_LITTLE_MEMORY, _NO_MEMORY = 4 * GIB, 1 * GIB
"""The smallest preset took 3.4 GB at its peak; importing torch and transformers alone takes half a GiB."""
_ROOM: dict[str, tuple[float, float, str]] = {
    "cache": (5, 0.5, "export FTK_CACHE=/path moves it"),
    "Hub models": (10, 0.5, "export HF_HUB_CACHE=/path moves it"),
    "runs": (2, 0.2, "export FTK_RUNS=/path moves it, or start ftk where there is room"),
    "temporary files": (0.5, 0.1, "export TMPDIR=/path moves it"),
}
"""GiB below which to warn, and to fail; and how to have another place. A model of 7B in bfloat16 is 15 GB."""


def memory() -> Iterator[Finding]:
    """Main memory, with a container's limit."""
    total, left = hardware.usable_memory(), hardware.available_memory()
    limited = total < psutil.virtual_memory().total
    text = f"{gib(left)} of {gib(total)} to be had{', the limit of this container or login' if limited else ''}"
    details = {"total": total, "available": left, "limited": limited}
    if left >= _LITTLE_MEMORY:
        yield Finding("memory", "ok", text, details=details)
        return
    level: Level = "failure" if left < _NO_MEMORY else "warning"
    more = "give the container more" if limited else "take a machine with more"
    mend = f"End other programs, or {more}: the smallest preset takes 3.4 GB on a CPU."
    yield Finding("memory", level, text, mend, details)


def processor() -> Iterator[Finding]:
    """Cores, number formats, and whether others compute here."""
    cores, physical, load, native = cpu.usable_cores(), cpu.physical_cores(), cpu.load(), cpu.has_bfloat16()
    whole = f" ({physical} physical ones in the machine)" if physical and physical != cores else ""
    formats = "bfloat16" if native else "no bfloat16"
    busy = f", load {load:g}" if load is not None else ""
    text = f"{cpu.name()}, {cores} usable cores{whole}{busy}; {formats}"
    details = {"cores": cores, "physical": physical, "load": load, "bfloat16": native}
    if load is not None and load > 1.5 * (psutil.cpu_count() or 1):
        mend = "Other programs compute on this machine (`top` shows which); steps take longer than they could."
        yield Finding("processor", "warning", text, mend, details)
    else:
        yield Finding("processor", "ok", text, details=details)


def disk() -> Iterator[Finding]:
    """Room where ftk writes: a line for each place that has too little, or one for all."""
    rooms = hardware.rooms()
    faults = [fault for room in rooms if (fault := _of_room(room))]
    yield from faults
    if not faults:
        sizes: dict[str, list[str]] = {}
        for room in rooms:
            sizes.setdefault(gib(room.free or 0), []).append(room.what)
        text = "; ".join(f"{size} free for {', '.join(places)}" for size, places in sizes.items())
        details = {room.what: {"path": str(room.path), "free": room.free} for room in rooms}
        yield Finding("disk", "ok", text, details=details)


def _of_room(room: Room) -> Finding | None:
    warn, fail, elsewhere = _ROOM[room.what]
    details = {"path": str(room.path), "free": room.free, "total": room.total}
    if room.obstacle:
        text = f"{room.what}: {room.obstacle} ({room.path})"
        return Finding("disk", "failure", text, f"Choose another place: {elsewhere}.", details)
    if room.free is None or room.free >= warn * GIB:
        return None
    level: Level = "failure" if room.free < fail * GIB else "warning"
    text = f"{room.what}: {gib(room.free)} free in {room.path}"
    return Finding("disk", level, text, f"Make room; {elsewhere}.", details)
