"""Which settings fit the memory: tried from the fastest and most exact to the smallest, by formula, in milliseconds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import memory
from .hardware import Hardware, gib
from .memory import Breakdown, Card, Settings
from .memory.card import of_gpu
from .memory.models import Described
from .memory.settings import Optimizer, Quantization

_ROOM_ON_CARD, _ROOM_ON_MACHINE = 0.92, 0.90
"""Part of the free memory that an estimate may take: estimates are off by some percent, and others use memory too."""


@dataclass(frozen=True)
class Space:
    """Memory to train in: a card's or a machine's, in bytes; `machine` is all of the main memory."""

    card: Card | None
    free: int
    machine: int

    @property
    def usable(self) -> int:
        """Bytes that an estimate may come to."""
        return int(self.free * (_ROOM_ON_CARD if self.card else _ROOM_ON_MACHINE))

    def needed(self, model: Described, settings: Settings) -> Breakdown:
        """What some settings take, by formula: a trace would make the choice depend on what is imported."""
        return memory.estimate(model, settings, self.card or "cpu", trace=False, machine=self.machine)

    def fits(self, found: Breakdown) -> bool:
        """Whether that is enough."""
        return taken(found) <= self.usable


def taken(found: Breakdown) -> int:
    """Bytes that have to be there: without the pages of files, which the system takes back when others want memory."""
    return found.process - found.mapped - found.loading


def space_of(hardware: Hardware, device: str) -> Space | None:
    """The memory of a device; None for those whose memory nobody here knows."""
    if device == "cpu":
        return Space(None, hardware.memory_available, hardware.memory)
    if not device.startswith("cuda"):
        return None
    gpu = hardware.gpus[int(device.partition(":")[2] or 0)]
    return Space(of_gpu(gpu), max(0, gpu.memory_total - gpu.memory_used), hardware.memory)


@dataclass(frozen=True)
class Open:
    """What may be chosen; what the user has set has one value in its list.

    `micro` are the rows that may be computed at once, the most first.
    """

    quantization: Sequence[Quantization]
    gradient_checkpointing: Sequence[bool]
    optimizer: Sequence[Optimizer]
    micro: Sequence[int]

    def settings(self, base: Settings, rows: int) -> Iterator[Settings]:
        """All combinations for `rows` rows a step, the most wanted first."""
        for optimizer, quantization, recomputed, micro in itertools.product(
            self.optimizer, self.quantization, self.gradient_checkpointing, self.micro
        ):
            if base.method == "full" and quantization != "none":
                continue
            yield replace(
                base,
                optimizer=optimizer,
                quantization=quantization,
                gradient_checkpointing=recomputed,
                batch_size=micro,
                gradient_accumulation=max(base.gradient_accumulation, -(-rows // micro)),
            )


@dataclass(frozen=True)
class Fit:
    """The settings that were chosen, what they take, and what there is; `nearest` are others, where they do not fit."""

    settings: Settings
    breakdown: Breakdown
    space: Space
    nearest: Settings | None = None

    @property
    def fits(self) -> bool:
        """Whether the memory is enough, by estimate."""
        return self.space.fits(self.breakdown)

    @property
    def needed(self) -> int:
        """Bytes that have to be there."""
        return taken(self.breakdown)

    @property
    def words(self) -> str:
        """Needed and free memory."""
        return f"about {gib(self.needed)} of the {gib(self.space.free)} that are free"

    @property
    def warning(self) -> str:
        """What to say where it does not fit."""
        hardly = "hardly " if self.needed <= self.space.free else "not "
        needed = f"they take about {gib(self.needed)}, and {gib(self.space.free)} are free"
        return f"These settings will {hardly}fit the memory: {needed}."

    @property
    def hint(self) -> str:
        """What to change where it does not fit."""
        if self.nearest is None:
            return "No setting of this model would fit: take a smaller model, shorter rows or a larger card."
        return f"The nearest that would: {flags(self.settings, self.nearest)}."


def flags(before: Settings, after: Settings) -> str:
    """What to type to get from some settings to others."""
    names = (
        "quantization", "gradient_checkpointing", "optimizer", "batch_size", "gradient_accumulation", "max_length"
    )  # fmt: skip
    changed = [(name, getattr(after, name)) for name in names if getattr(after, name) != getattr(before, name)]
    return " ".join(f"--{name.replace('_', '-')} {_typed(value)}" for name, value in changed) or "the same"


def _typed(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def choose(model: Described, base: Settings, may: Open, rows: int, space: Space) -> Fit:
    """The first combination that fits; if none does, the smallest of them, and the nearest that would.

    Args:
        model: Which one.
        base: The settings that are not to be chosen.
        may: The others.
        rows: Rows of a step.
        space: The memory.

    """
    smallest: Fit | None = None
    for settings in may.settings(base, rows):
        found = Fit(settings, space.needed(model, settings), space)
        if found.fits:
            return found
        if smallest is None or found.needed < smallest.needed:
            smallest = found
    assert smallest is not None
    return replace(smallest, nearest=_nearest(model, smallest.settings, rows, space))


def _nearest(model: Described, asked: Settings, rows: int, space: Space) -> Settings | None:
    """Of all settings the nearest that fits: smaller portions, then recomputation, then 4 bits, then shorter rows."""
    optimizers: list[Optimizer] = [asked.optimizer]
    if space.card and asked.method == "full":
        optimizers.append("paged-adamw-8bit")
    quantizations: list[Quantization] = [asked.quantization]
    if asked.quantization != "nf4" and asked.method != "full":
        quantizations.append("nf4")
    lengths = [asked.max_length >> halved for halved in range(4) if asked.max_length >> halved >= 64]
    for length in lengths or [asked.max_length]:
        recomputed = [True] if asked.gradient_checkpointing else [False, True]
        may = Open(quantizations, recomputed, optimizers, halves(asked.batch_size))
        base = replace(asked, max_length=length, gradient_accumulation=1)
        for settings in may.settings(base, rows):
            if space.fits(space.needed(model, settings)):
                return settings
    return None


def halves(rows: int) -> list[int]:
    """A number of rows and its halves down to one."""
    return [rows] if rows <= 1 else [rows, *halves(rows // 2)]
