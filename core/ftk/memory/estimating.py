"""The estimate itself, and the largest batch or row that fits."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .. import hardware
from ..errors import FtkError
from . import card as card_list
from . import formula, kept, process, stored, timeline
from .card import Card
from .models import Described, describe
from .result import Breakdown
from .settings import Settings
from .stages import Census
from .timeline import Peak

_MOST_ROWS, _MOST_TOKENS = 65_536, 1 << 20


def estimate(
    model: Any,
    settings: Settings | None = None,
    device: str | Card = "cpu",
    *,
    trace: bool | None = None,
    machine: int | None = None,
) -> Breakdown:
    """How much memory training will take at most; loads no weights and needs no such device.

    Args:
        model: Whatever `models.describe` takes: a catalogue name or entry, a folder, a hub id, a configuration.
        settings: What will be done; the defaults of `Settings` otherwise.
        device: ``cpu``, or a card (`cards.cards`) or its name.
        trace: True: run the model's code without memory, which imports torch and transformers (seconds); False: a
            formula fitted to such traces, at once; None: trace if the libraries are imported already or the answer is
            in the cache, else the formula. `Breakdown.basis` says which it was.
        machine: Bytes of main memory, by which training on a processor decides whether it keeps 4-bit weights
            unpacked; this machine's by default.

    Raises:
        ModelError: there is no such model, or its configuration makes none.
        UsageError: there is no such card.

    """
    settings = settings or Settings()
    card = _card(device)
    described = describe(model)
    unpacked = _unpacks(formula.census(described, settings), settings, card, machine)
    census, found, basis = _peak(described, settings, card, trace, unpacked=unpacked)
    if not unpacked:
        census = replace(census, unpacked=0)
    return _breakdown(described, settings, card, census, found, basis)


def largest_batch(
    model: Any,
    settings: Settings | None = None,
    device: str | Card = "cpu",
    *,
    free: int | None = None,
    trace: bool | None = None,
) -> int:
    """The most rows that can be computed at once; 0 if not even one fits.

    Args:
        model: See `estimate`.
        settings: See `estimate`; `batch_size` does not matter.
        device: See `estimate`.
        free: Bytes that are free; all of the card's memory, or of this machine's, by default.
        trace: See `estimate`.

    Raises:
        FtkError: see `estimate`.

    """
    settings = settings or Settings()
    described = describe(model)

    def needed(rows: int) -> int:
        return estimate(described, replace(settings, batch_size=rows), device, trace=trace).process

    return _largest(needed, _room(device, free), _MOST_ROWS)


def largest_length(
    model: Any,
    settings: Settings | None = None,
    device: str | Card = "cpu",
    *,
    free: int | None = None,
    trace: bool | None = None,
) -> int:
    """The longest row in tokens that `batch_size` rows can have, at most the model's context; 0 if none fits.

    Args:
        model: See `estimate`.
        settings: See `estimate`; `max_length` does not matter.
        device: See `estimate`.
        free: Bytes that are free; all of the card's memory, or of this machine's, by default.
        trace: See `estimate`.

    Raises:
        FtkError: see `estimate`.

    """
    settings = settings or Settings()
    described = describe(model)
    text = described.text
    context = int(text.get("max_position_embeddings") or text.get("n_positions") or _MOST_TOKENS)

    def needed(length: int) -> int:
        return estimate(described, replace(settings, max_length=length), device, trace=trace).process

    return _largest(needed, _room(device, free), min(context, _MOST_TOKENS))


def _largest(needed: Callable[[int], int], room: int, most: int) -> int:
    """The largest number for which no more than `room` is needed; what is needed grows with the number.

    Goes along straight lines, which it nearly is, and halves where they mislead.
    """
    low, high = 0, most + 1  # fits, does not fit
    known = {0: 0}
    guess = 1
    while high - low > 1:
        known[guess] = needed(guess)
        if known[guess] <= room:
            low = guess
        else:
            high = guess
        guess = _next_guess(known, low, high, room)
    return low


def _next_guess(known: dict[int, int], low: int, high: int, room: int) -> int:
    """Where to look next, between a number that fits and one that does not."""
    if low == 0:
        return max(1, high // 2)
    measured = sorted(number for number in known if number)
    if len(measured) < 2:
        return min(high - 1, low * 4)
    before, after = measured[-2:] if low >= measured[-1] else sorted((low, high if high in known else measured[0]))
    slope = (known[after] - known[before]) / (after - before)
    guess = int(low + (room - known[low]) / slope) if slope > 0 else high - 1
    if len(known) > 6:  # the lines mislead
        guess = (low + high) // 2
    return min(max(guess, low + 1), high - 1)


def _card(device: str | Card) -> Card | None:
    if isinstance(device, Card):
        return device
    return None if device == "cpu" else card_list.find(device)


def _room(device: str | Card, free: int | None) -> int:
    card = _card(device)
    if free is not None:
        return free
    return card.memory if card else hardware.usable_memory()


def _peak(
    model: Described, settings: Settings, card: Card | None, trace: bool | None, *, unpacked: bool
) -> tuple[Census, Peak, str]:
    """What lies still, the moment of the most, and how both were found."""
    accumulates = settings.gradient_accumulation > 1
    known = kept.traces(model, settings, card, unpacked=unpacked)
    here = known.knows(settings.batch_size, settings.max_length, accumulates=accumulates)
    reason = "nothing was to be imported"
    if trace or (trace is None and (here or _imported())):
        try:
            found = known.at(settings.batch_size, settings.max_length, accumulates=accumulates)
        except FtkError:
            raise
        except Exception as error:  # noqa: BLE001 - code of any model may run here; the formula is the way out
            words = " ".join(str(error).split())[:120]
            reason = f"the model's code could not be traced ({type(error).__name__}: {words})"
        else:
            return known.census, timeline.peak(found), "trace"
    roughly = formula.peak(model, settings, card, unpacked=unpacked)
    return formula.census(model, settings), roughly, f"formula: {reason}"


def _unpacks(rough: Census, settings: Settings, card: Card | None, machine: int | None) -> bool:
    """Whether a processor keeps 4-bit weights in plain numbers too, as `training.passes.room_to_dequantise` decides."""
    if card or settings.quantization != "nf4" or not settings.fast:
        return False
    return rough.parameters * settings.item < (machine or hardware.usable_memory()) / 3


def _imported() -> bool:
    return "torch" in sys.modules and "transformers" in sys.modules


def _breakdown(
    model: Described, settings: Settings, card: Card | None, census: Census, found: Peak, basis: str
) -> Breakdown:
    trained, copied = sum(census.trained), sum(census.copied)
    moments, paged = stored.moments_bytes(settings.optimizer, census.trained)
    masters = 4 * copied + (4 * trained if settings.keeps_best else 0)
    standing = 0
    if settings.gradient_accumulation > 1:  # the sums of the micro-batches before
        standing = 4 * (copied or trained)
    later, passed = _after_backward(settings, census), found.passed
    if standing + found.total < later.total:
        found, standing = later, 0
    batch = _batch(settings, card)
    computing = found.moment == "loss"
    made = Breakdown(
        model=model.name,
        device=card.name if card else "cpu",
        settings=settings,
        basis=basis,
        moment=found.words,
        weights=census.weights,
        unpacked=census.unpacked,
        adapters=census.adapters,
        masters=masters,
        optimizer=moments,
        gradients=found.gradients + standing,
        activations=found.activations,
        loss=found.passing if computing else 0,
        workspace=(0 if computing else found.passing) + (card.workspace if card else 0),
        batch=batch,
        paged=paged,
    )
    return process.completed(made, model, card, census, replace(found, passed=passed))


def _after_backward(settings: Settings, census: Census) -> Peak:
    """The moment after the backward pass: gradients in the format of the base meet their float32 sums."""
    if not census.copied:
        return Peak("update", 0, 4 * sum(census.trained), 0)
    widest = 4 * max(census.copied)
    return Peak("collect", 0, (settings.item + 4) * sum(census.copied), widest)


def _batch(settings: Settings, card: Card | None) -> int:
    """Bytes of a micro-batch's tokens; on a processor the next one is there already."""
    tokens = settings.batch_size * settings.max_length
    targets = math.ceil(tokens * settings.supervised)
    size = 8 * tokens + tokens + 8 * targets + 8 * tokens
    return size if card else 2 * size
