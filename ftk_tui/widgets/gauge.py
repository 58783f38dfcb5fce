"""What the machine does while a run goes on: a gauge for memory, and the load over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .braille import Canvas
from .painted import Painted, Row

if TYPE_CHECKING:
    from ftk.events import Step, Telemetry

    from ..samples import Samples

MINE, OTHERS, FREE, PEAK, ESTIMATED = "█", "▒", "·", "╵", "◇"
_GIB = 2**30
_SHORTEST_S = 60.0
"""Seconds that are shown at least; then twice as many, and so on, so that what was drawn stays where it is."""


@dataclass(frozen=True)
class Memory:
    """How full a memory is, in bytes; None where nobody knows."""

    name: str
    mine: int | None = None
    used: int | None = None
    total: int | None = None
    peak: int | None = None
    estimated: int | None = None


@dataclass(frozen=True)
class Load:
    """How busy the machine is over time: seconds and percent, and what else there is to say of it now."""

    name: str
    times: Sequence[float] = ()
    values: Sequence[float] = ()
    full: float = 100.0
    aside: str = ""


def memory_of(telemetry: Telemetry | None, step: Step | None, *, peak: int | None, estimated: int | None) -> Memory:
    """The memory that a run has to fit into: the card's, or the machine's where there is none.

    Args:
        telemetry: The newest sample; None for a run of another process, of which only the steps tell.
        step: The newest step.
        peak: The most that the run was seen to hold.
        estimated: What was expected before it began.

    """
    if telemetry is None:
        if step is None:
            return Memory("memory")
        on_card = step.gpu_memory_bytes is not None
        mine = step.gpu_memory_bytes if on_card else step.memory_bytes
        return Memory("GPU memory" if on_card else "memory", mine, None, None, peak, estimated)
    if telemetry.gpu_memory_total is None:
        return Memory("memory", telemetry.memory_bytes, telemetry.memory_used, telemetry.memory_total, peak, estimated)
    return Memory(
        "GPU memory", telemetry.gpu_memory_bytes, telemetry.gpu_memory_used, telemetry.gpu_memory_total, peak, estimated
    )


def load_of(samples: Samples, cores: int) -> Load:
    """How busy the card is, or the processor where there is none.

    Args:
        samples: What was sampled.
        cores: Cores of the processor; each of them is 100 %.

    """
    last = samples.last
    if last is None:
        return Load("load")
    if not last.gpu:
        return Load("processor", *samples.course("cpu_percent"), full=100.0 * max(1, cores))
    asides = (
        f"{last.gpu_temperature:.0f} °C" if last.gpu_temperature is not None else "",
        f"{last.gpu_power:.0f} W" if last.gpu_power is not None else "",
        "the card stopped answering" if last.gpu_lost else "",
    )
    return Load("GPU", *samples.course("gpu_percent"), aside="  ".join(filter(None, asides)))


class Machine(Painted):
    """Memory as a bar, and below it the load over time, as far as there is room."""

    DEFAULT_CSS = """
    Machine {
        height: 6;
        .machine--name { text-style: bold; }
        .machine--mine { color: $text-primary; text-style: bold; }
        .machine--others { color: $text-secondary; }
        .machine--free { color: $text-muted; }
        .machine--mark { color: $text-warning; text-style: bold; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "machine--name", "machine--mine", "machine--others", "machine--free", "machine--mark",
    }  # fmt: skip

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._memory, self._load = Memory("memory"), Load("load")

    def show(self, memory: Memory, load: Load) -> None:
        """Show how the machine is doing now."""
        self._memory, self._load = memory, load
        self.draw()

    def rows(self, width: int, height: int) -> list[Row]:
        """The gauge, and the load in what is left of the height."""
        found = gauge(self._memory, width)
        return [*found, *course(self._load, width, height - len(found))]


def gauge(memory: Memory, width: int) -> list[Row]:
    """A memory as a bar with its marks, what is in it, and what the marks mean."""
    if memory.mine is None and memory.used is None:
        expected = "" if memory.estimated is None else f", expected {memory.estimated / _GIB:.1f} GiB"
        return [[(f" {memory.name}", "machine--name"), (f" not known yet{expected}", "machine--free")]]
    figures: Row = [(f" {memory.name} ", "machine--name")]
    mine, used, total = memory.mine or 0, memory.used or 0, memory.total
    if total:
        figures.append((f"{max(used, mine) / _GIB:.1f} of {total / _GIB:.1f} GiB", ""))
    else:
        figures.append((f"{mine / _GIB:.1f} GiB", ""))
    known: list[tuple[str, str, str, int | None]] = [
        (MINE, "machine--mine", "run", memory.mine if total else None),
        (OTHERS, "machine--others", "others", used - mine if memory.mine is not None and used > mine else None),
        (PEAK, "machine--mark", "peak", memory.peak),
        (ESTIMATED, "machine--mark", "expected", memory.estimated),
    ]
    legend: Row = []
    for sign, style, name, size in known:
        if size is not None:
            legend += [(f" {sign}", style), (f" {name} {size / _GIB:.1f} ", "")]
    rows = [figures, _bar(memory, width)] if total else [figures]
    used_cells = sum(len(text) for text, _ in (*figures, *legend))
    if used_cells <= width:
        figures += legend
        return rows
    return [*rows, legend]


def _bar(memory: Memory, width: int) -> Row:
    """The bar: what the run holds, what others hold, what is free, and the marks over it."""
    room, total = max(1, width - 2), memory.total or 1
    mine = _cells(memory.mine or 0, total, room)
    used = max(mine, _cells(max(memory.used or 0, memory.mine or 0), total, room))
    cells = [(MINE, "machine--mine")] * mine + [(OTHERS, "machine--others")] * (used - mine)
    cells += [(FREE, "machine--free")] * (room - used)
    for sign, size in ((PEAK, memory.peak), (ESTIMATED, memory.estimated)):
        if size is not None and (place := _cells(size, total, room)) > mine:
            cells[min(place, room) - 1] = (sign, "machine--mark")
    row: Row = [(" ", "")]
    for sign, style in cells:
        if row[-1][1] == style:
            row[-1] = (row[-1][0] + sign, style)
        else:
            row.append((sign, style))
    return row


def _cells(size: int, total: int, room: int) -> int:
    """Cells that stand for some bytes: never none where there are any."""
    return min(room, max(round(size / total * room), int(size > 0)))


def course(load: Load, width: int, height: int) -> list[Row]:
    """The load over time: its name and newest value, and a hill for what came before."""
    if height < 1:
        return []
    if not load.values:
        aside = f"  {load.aside}" if load.aside else ""
        return [[(f" {load.name}", "machine--name"), (f" not known{aside}", "machine--free")]]
    span = _SHORTEST_S
    while span < load.times[-1]:
        span *= 2
    title: Row = [(f" {load.name} ", "machine--name"), (f"{load.values[-1]:.0f} %", "")]
    if load.full > 100:
        title.append((f" of {load.full:.0f} %", "machine--free"))
    title += [(f"  {load.aside}" if load.aside else "", ""), (f"  over {span / 60:.0f} min", "machine--free")]
    if height < 2:
        return [title]
    canvas = Canvas(max(1, width - 2), height - 1)
    dots, columns = 4 * canvas.height, 2 * canvas.width
    hills = [math.nan] * columns
    for time, value in zip(load.times, load.values, strict=True):
        column = min(max(int(time / span * columns), 0), columns - 1)
        hills[column] = value if math.isnan(hills[column]) else max(hills[column], value)
    for column, value in enumerate(_without_gaps(hills, int(load.times[-1] / span * columns))):
        if not math.isnan(value):
            high = min(round(value / load.full * dots), dots)
            canvas.run(column, dots - max(high, 1), dots - 1, 1)
    lines: list[Row] = [[(" ", ""), *((text, "machine--mine") for text, _ in parts)] for parts in canvas.lines()]
    return [title, *lines]


def _without_gaps(hills: list[float], last: int) -> list[float]:
    """Columns without a sample get what the one before had: there is about one sample a second."""
    filled, before = list(hills), math.nan
    for column, value in enumerate(hills[: last + 1]):
        filled[column] = before = before if math.isnan(value) else value
    return filled
