"""What can be said of a run before it begins: the settings it would get and why, its memory, its time, its cost.

The one place where the Model screen asks the engine about a run that does not exist yet. Everything here takes
milliseconds and imports no torch, but belongs into a thread: a data set is read, and a model of the Hub may be asked
for its sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ftk.errors import FtkError

if TYPE_CHECKING:
    from ftk.autoconfig import Plan
    from ftk.config import RunConfig
    from ftk.data.dataset import Dataset
    from ftk.fitting import Fit
    from ftk.hardware import Hardware
    from ftk.memory import Breakdown
    from ftk.models.sources import Source

Verdict = Literal["fits", "tight", "too big", ""]
"""Whether a run fits into what is free; empty where nobody knows. Tight: without room for the estimate's error."""
DATA_KEYS = frozenset({"data", "columns", "skip_bad"})
"""The settings that the rows are read by."""
_NUMBERS = {"batch_size": 1, "max_length": 8, "lora_rank": 1, "gradient_accumulation": 1}
"""Settings of which a smaller number takes less memory, with the least there is."""


@dataclass(frozen=True)
class Span:
    """A time in seconds, with the range to expect."""

    seconds: float
    low: float
    high: float


@dataclass(frozen=True)
class Outlook:
    """How a run would do here.

    Attributes:
        config: The settings, without ``auto`` where `plan` is there.
        plan: All settings, with the reason of each that was decided; None if they cannot work here.
        problem: Why not, in words; empty if they can.
        breakdown: The memory that it takes; None where that cannot be known before the model is loaded.
        free: Bytes that are free where it would run; 0 where nobody knows.
        usable: Those of them that an estimate may come to.
        time: How long it takes; None where nobody knows.
        cost: What it costs; None where the machine has no price.

    """

    config: RunConfig
    plan: Plan | None = None
    problem: str = ""
    breakdown: Breakdown | None = None
    free: int = 0
    usable: int = 0
    time: Span | None = None
    cost: float | None = None

    @property
    def needed(self) -> int | None:
        """Bytes that it takes at most."""
        return self.breakdown.process if self.breakdown else None

    @property
    def verdict(self) -> Verdict:
        """Whether it fits."""
        if self.needed is None or not self.free:
            return ""
        if self.needed > self.free:
            return "too big"
        return "fits" if self.needed <= self.usable else "tight"

    @property
    def reasons(self) -> dict[str, str]:
        """Why each setting that was left open is what it is."""
        return self.plan.reasons if self.plan else {}

    @property
    def on_card(self) -> bool:
        """Whether it would run on a card."""
        return self.plan is not None and self.plan.config.device != "cpu"


@dataclass(frozen=True)
class Here:
    """The machine and the rows that outlooks are worked out for.

    `dataset` are some other rows where those that were chosen cannot be read; `missing` says in words why they cannot.
    """

    hardware: Hardware
    dataset: Dataset
    missing: str = ""

    def look(self, config: RunConfig, source: Source) -> Outlook:
        """How a run would do here; raises nothing.

        Args:
            config: The settings.
            source: The model, which need not be the settings' own.

        """
        from ftk import autoconfig

        try:
            plan = autoconfig.resolve(config, self.hardware, source, self.dataset)
            found = Outlook(plan.config, plan)
            if plan.fit:
                space = plan.fit.space
                found = replace(found, breakdown=plan.fit.breakdown, free=space.free, usable=space.usable)
            return _timed(found, plan)
        except FtkError as error:
            return Outlook(config, problem=str(error))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # of a configuration of whatever kind
            return Outlook(config, problem=f"Nothing can be worked out for this model: {error}")


def here(config: RunConfig, hardware: Hardware) -> Here:
    """The machine, and the rows of the settings; a sample stands in for rows that cannot be read."""
    from ftk.data.dataset import load_dataset

    try:
        return Here(hardware, load_dataset(config.data, columns=config.columns, skip_bad=config.skip_bad))
    except (FtkError, OSError, ValueError) as error:
        return Here(hardware, load_dataset("sample:chat"), str(error).splitlines()[0])


def _timed(found: Outlook, plan: Plan) -> Outlook:
    """The same with time and cost, as far as they are known without measuring anything."""
    from ftk import estimate

    answers = estimate.of_plan(plan)
    if not answers.time:
        return found
    span = Span(answers.time.seconds, answers.time.low, answers.time.high)
    return replace(found, time=span, cost=answers.dollars)


def remedy(outlook: Outlook, changed: str = "") -> dict[str, Any] | None:
    """The nearest settings with which a run fits that does not, as changes; None if none makes it fit.

    Args:
        outlook: The run.
        changed: The setting that was changed last: the nearest value of it that fits comes first.

    """
    fit = outlook.plan.fit if outlook.plan else None
    if not fit or not outlook.plan:
        return None
    if changed in _NUMBERS and (nearest := _nearest_number(outlook.plan, fit, changed)):
        return nearest
    if not fit.nearest:
        return None
    names = ("quantization", "gradient_checkpointing", "optimizer", "batch_size", "gradient_accumulation", "max_length")
    now = {name: getattr(fit.settings, name) for name in names}
    then = {name: getattr(fit.nearest, name) for name in names}
    return {name: value for name, value in then.items() if value != now[name]} or None


def _nearest_number(plan: Plan, fit: Fit, key: str) -> dict[str, Any] | None:
    """The largest number below the present one of a setting with which a run fits."""
    from ftk.memory.models import describe

    shape = describe(plan.source)

    def fits(value: int) -> bool:
        changes: dict[str, Any] = {key: value}
        return fit.space.needed(shape, replace(fit.settings, **changes)).process <= fit.space.usable

    found = _largest(int(getattr(fit.settings, key)), _NUMBERS[key], fits)
    return None if found is None else {key: found}


def _largest(value: int, least: int, fits: Callable[[int], bool]) -> int | None:
    """The largest number below `value` that fits, by halving."""
    if value <= least or not fits(least):
        return None
    low, high = least, value
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
