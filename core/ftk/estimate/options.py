"""The same run with other quantisations and portions, and on other cards: what `ftk estimate` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import memory
from ..config import RunConfig
from ..data.dataset import Dataset
from ..errors import FtkError
from ..fitting import halves
from ..hardware import Hardware
from ..memory import Card
from ..models.sources import Source
from .outlook import Outlook, outlook
from .prices import Price


@dataclass(frozen=True)
class Run:
    """What is asked about: settings, machine (or a card that is not here), rows, model, and what an hour costs."""

    config: RunConfig
    hardware: Hardware
    dataset: Dataset
    source: Source
    card: Card | None = None
    price: Price | None = None
    measure: bool = False
    trace: bool = False

    def look(self, config: RunConfig | None = None, card: Card | None = None) -> Outlook:
        """The answers for these settings on this card; by default the run's own."""
        return outlook(
            config or self.config,
            self.hardware,
            self.dataset,
            self.source,
            card=card or self.card,
            price=None if card and card != self.card else self.price,
            measure=self.measure,
            trace=self.trace and card is None,
        )


@dataclass(frozen=True)
class Option:
    """One way to do it: its settings, the answers (None where it cannot work: `problem`), whether ftk takes it."""

    settings: dict[str, Any]
    outlook: Outlook | None
    chosen: bool = False
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        answers = self.outlook.to_dict() if self.outlook else {"fits": None, "problem": self.problem}
        return {**self.settings, **answers, "chosen": self.chosen}


_SHOWN = ("quantization", "batch_size", "gradient_accumulation", "gradient_checkpointing", "precision")


def ways(run: Run, chosen: Outlook) -> list[Option]:
    """The run with each quantisation and portion; the rows of a step stay the same.

    Args:
        run: The run.
        chosen: What ftk would take.

    """
    plan = chosen.plan.config
    rows = plan.batch_size * plan.gradient_accumulation
    sizes = sorted({*halves(rows), plan.batch_size, 2 * plan.batch_size}, reverse=True)
    asked = run.config.quantization
    kinds = ["none", "nf4"] if asked == "auto" else [asked]
    found = []
    for kind in kinds if plan.method != "full" else ["none"]:
        for size in sizes:
            changes: dict[str, Any] = {"quantization": kind, "batch_size": size}
            changes["gradient_accumulation"] = max(1, -(-rows // size))
            if size > rows and (size, kind) != (plan.batch_size, plan.quantization):
                continue  # larger steps would learn otherwise, so times could not be compared
            found.append(_option(run, changes, chosen))
    return found


def _option(run: Run, changes: dict[str, Any], chosen: Outlook) -> Option:
    try:
        answers = run.look(run.config.merged(changes))
    except FtkError as error:
        return Option(changes, None, problem=str(error))
    made = answers.plan.config
    same = all(getattr(made, key) == getattr(chosen.plan.config, key) for key in _SHOWN)
    return Option(shown(answers), answers, chosen=same)


def shown(answers: Outlook) -> dict[str, Any]:
    """The settings by which the ways differ."""
    return {key: getattr(answers.plan.config, key) for key in _SHOWN}


def across_cards(run: Run) -> list[Option]:
    """The run on every card of the list, each with the settings that ftk would take there."""
    found = []
    for card in memory.cards():
        try:
            answers = run.look(card=card)
        except FtkError as error:
            found.append(Option({"card": card.id}, None, problem=str(error)))
        else:
            found.append(Option({"card": card.id, **shown(answers)}, answers, chosen=card == run.card))
    return found
