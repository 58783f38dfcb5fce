"""All three answers about a run that does not exist yet: memory, time, money; in milliseconds and without torch."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any

from .. import autoconfig, memory
from ..autoconfig import Plan
from ..config import RunConfig
from ..data.dataset import Dataset
from ..errors import FtkError, ModelError
from ..fitting import space_of
from ..hardware import Gpu, Hardware
from ..memory import Breakdown, Card
from ..memory.card import of_gpu
from ..models.sources import Source
from . import prices
from . import rates as rates_of
from .prices import Price
from .timing import TimeEstimate, for_plan


@dataclass(frozen=True)
class Outlook:
    """What a run will take.

    Attributes:
        plan: All of its settings, with the reason of each that was decided.
        memory: The memory at the moment of the most; None where the model's shape is not known before it is loaded.
        room: Bytes that are free where it would run; None where nobody knows.
        fits: Whether it fits; None where nobody knows.
        time: Seconds with their range; None where the model's shape is not known.
        price: What an hour costs; None where nothing is paid, or nobody said what.
        basis: What all of this was worked out from, in words.

    """

    plan: Plan
    memory: Breakdown | None
    room: int | None
    fits: bool | None
    time: TimeEstimate | None
    price: Price | None
    basis: str

    @property
    def dollars(self) -> float | None:
        """What the run costs, if it is paid for."""
        return self.price.of(self.time.seconds) if self.price and self.time else None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        time = self.time
        return {
            "fits": self.fits,
            "memory_bytes": self.memory.process if self.memory else None,
            "free_bytes": self.room,
            "seconds": round(time.seconds, 1) if time else None,
            "seconds_low": round(time.low, 1) if time else None,
            "seconds_high": round(time.high, 1) if time else None,
            "tokens_per_s": round(time.tokens_per_s, 1) if time else None,
            "dollars": None if self.dollars is None else round(self.dollars, 4),
            "basis": self.basis,
        }


def outlook(
    config: RunConfig,
    hardware: Hardware,
    dataset: Dataset,
    source: Source,
    *,
    card: Card | None = None,
    price: Price | None = None,
    measure: bool = False,
    trace: bool = False,
) -> Outlook:
    """What a run with these settings will take.

    Args:
        config: The settings; what says ``auto`` is decided.
        hardware: The machine.
        dataset: The rows.
        source: The model, which need not be the settings' own.
        card: A card that is not here, to answer as if it were.
        price: What an hour costs; a card's is looked up by default.
        measure: Measure this machine's rates if that was never done, which imports torch and takes seconds.
        trace: Run the model's code without memory instead of the formula, which imports torch and takes seconds.

    Raises:
        FtkError: a setting cannot work there.

    """
    there = as_if(hardware, card) if card else hardware
    plan = autoconfig.resolve(config, there, source, dataset, elsewhere=card is not None)
    return of_plan(plan, card=card, price=price, measure=measure, trace=trace)


def of_plan(
    plan: Plan, *, card: Card | None = None, price: Price | None = None, measure: bool = False, trace: bool = False
) -> Outlook:
    """What a plan will take; see `outlook`."""
    config = plan.config
    space = space_of(plan.hardware, config.device)
    need = _memory(plan, trace=trace)
    rates = rates_of.of_card(card, str(config.precision)) if card else None
    time: TimeEstimate | None = None
    with contextlib.suppress(ModelError):
        time = for_plan(plan, measure_rates=measure, rates=rates)
    return Outlook(
        plan=plan,
        memory=need,
        room=space.free if space else None,
        fits=space.fits(need) if need and space else None,
        time=time,
        price=price or _price(plan, card),
        basis="; ".join(part for part in (need and need.basis, time and time.basis) if part),
    )


def _memory(plan: Plan, *, trace: bool) -> Breakdown | None:
    if plan.fit is None:
        return None
    if not trace:
        return plan.fit.breakdown
    device = plan.fit.space.card or "cpu"
    try:
        return memory.estimate(plan.source, plan.fit.settings, device, trace=True, machine=plan.hardware.memory)
    except FtkError:
        return plan.fit.breakdown


def _price(plan: Plan, card: Card | None) -> Price | None:
    """A card's price by the list; this machine's own only if the user's list has it: it may be theirs."""
    if card:
        return prices.price_of(card.id)
    name = "cpu"
    if plan.config.device.startswith("cuda"):
        name = of_gpu(rates_of.gpu_of(plan.hardware, plan.config.device)).id
    return prices.price_of(name, own_only=True)


def as_if(hardware: Hardware, card: Card) -> Hardware:
    """A machine like this one, but with one such card, empty, and a torch that can use it."""
    capability = (card.capability[0], card.capability[1])
    gpu = Gpu(0, card.name, card.memory, 0, capability, "", vendor=card.vendor)
    return replace(hardware, gpus=(gpu,), accelerators=(), remarks=(), torch_uses_gpus=True)
