"""What a run takes of the memory, part by part: a bar for all of it, and below it where each part lies in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .painted import Painted, Row

if TYPE_CHECKING:
    from ftk.memory import Breakdown

    from ..outlook import Outlook

_GIB = 2**30
_GROUPS = {
    "weights": ("weights", "unpacked"),
    "adapter": ("adapters", "masters"),
    "optimiser": ("optimizer",),
    "gradients": ("gradients",),
    "activations": ("activations",),
    "loss": ("loss",),
    "workspace": ("workspace", "batch"),
    "context": ("context", "mapped", "loading"),
    "reserve": ("fragmentation",),
}
"""The parts that are shown, and those of the estimate that each is made of."""
_BLOCK, _TOO_MUCH, _FREE, _THIN = "█", "▒", "·", "▏"
_NAME, _SIZE = 12, 7
_SIGNS = {"fits": ("✓", "memory--good"), "tight": ("!", "memory--warn"), "too big": ("✗", "memory--bad")}


class MemoryView(Painted):
    """The estimate of a run's memory."""

    DEFAULT_CSS = """
    MemoryView {
        height: 8;
        .memory--name { text-style: bold; }
        .memory--free { color: $text-muted; }
        .memory--good { color: $text-success; text-style: bold; }
        .memory--warn { color: $text-warning; text-style: bold; }
        .memory--bad { color: $text-error; text-style: bold; }
        .memory--0 { color: $text-primary; }
        .memory--1 { color: $text-secondary; }
        .memory--2 { color: $text-accent; }
        .memory--3 { color: $text-success; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "memory--name", "memory--free", "memory--good", "memory--warn", "memory--bad",
        "memory--0", "memory--1", "memory--2", "memory--3",
    }  # fmt: skip

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._outlook: Outlook | None = None

    def show(self, outlook: Outlook | None) -> None:
        """Show another estimate; None while there is none."""
        self._outlook = outlook
        self.draw()

    def rows(self, width: int, height: int) -> list[Row]:
        """The headline, the bar, and as many parts as there is room for."""
        return rows_of(self._outlook, width, height)


def rows_of(outlook: Outlook | None, width: int, height: int) -> list[Row]:
    """An estimate in so many cells and lines."""
    if outlook is None:
        return [[(" memory ", "memory--name"), ("…", "memory--free")]]
    if outlook.breakdown is None or outlook.needed is None:
        return [[(" memory ", "memory--name"), ("not known before the model is loaded", "memory--free")]]
    found = [_headline(outlook, outlook.needed)]
    scale, room = max(outlook.needed, outlook.free, 1), max(1, width - _NAME - _SIZE - 2)
    parts = _merged(parts_of(outlook.breakdown), height - 2)
    found.append([*_label("all", outlook.needed), *_bar(parts, scale, outlook.free, room)])
    start = 0
    for number, (name, size) in enumerate(parts.items()):
        begin, end = _cell(start, scale, room), _cell(start + size, scale, room)
        bar = _BLOCK * (end - begin) or _THIN
        found.append([*_label(name, size), (" " * min(begin, room - 1), ""), (bar, _colour(number))])
        start += size
    return found


def _label(name: str, size: int) -> Row:
    return [(f" {name:<{_NAME}}{size / _GIB:{_SIZE - 1}.2f} ", "")]


def parts_of(breakdown: Breakdown) -> dict[str, int]:
    """The parts that take anything, in the order in which they are stacked."""
    sizes = breakdown.parts()
    named = {name: sum(sizes.get(part, 0) for part in parts) for name, parts in _GROUPS.items()}
    return {name: size for name, size in named.items() if size}


def _merged(parts: dict[str, int], most: int) -> dict[str, int]:
    """At most so many parts: the smallest ones become one."""
    if len(parts) <= max(1, most):
        return parts
    kept = sorted(parts, key=lambda name: parts[name], reverse=True)[: max(0, most - 1)]
    rest = sum(size for name, size in parts.items() if name not in kept)
    return {name: size for name, size in parts.items() if name in kept} | {"others": rest}


def _headline(outlook: Outlook, needed: int) -> Row:
    sign, style = _SIGNS.get(outlook.verdict, ("", ""))
    gap = abs(outlook.free - needed) / _GIB
    word = f"{sign} fits, {gap:.1f} to spare" if outlook.verdict == "fits" else f"{sign} tight, {gap:.1f} to spare"
    if outlook.verdict == "too big":
        word = f"{sign} {gap:.1f} GiB too much"
    where = f"{needed / _GIB:.1f} of {outlook.free / _GIB:.1f} GiB free  "
    return [(" memory ", "memory--name"), (where, ""), (word, style)]


def _bar(parts: dict[str, int], scale: int, free: int, room: int) -> Row:
    """All parts in a row; what is free behind them, or another sign for what there is no room for."""
    row: Row = []
    start, limit = 0, _cell(free, scale, room)
    for number, size in enumerate(parts.values()):
        begin, end = _cell(start, scale, room), _cell(start + size, scale, room)
        inside = max(0, min(end, limit) - begin)
        row.append((_BLOCK * inside, _colour(number)))
        row.append((_TOO_MUCH * (end - begin - inside), "memory--bad"))
        start += size
    row.append((_FREE * (room - _cell(start, scale, room)), "memory--free"))
    return [part for part in row if part[0]]


def _cell(size: int, scale: int, room: int) -> int:
    return min(room, round(size / scale * room))


def _colour(number: int) -> str:
    return f"memory--{number % 4}"
