"""Which cards ``CUDA_VISIBLE_DEVICES`` leaves to this process, read as CUDA reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

_NUMBER = re.compile(r"\s*[+-]?\d+")


def select(wanted: str, cards: Sequence[str], slices: Sequence[str] = ()) -> tuple[list[str], str]:
    """The cards that a list names, in its order, and a remark where it names what is not there.

    As CUDA does it: numbers, or the beginnings of identifiers (``GPU-…``, ``MIG-…``), not both; the first one that
    is not there hides itself and all after it; one that is named twice hides all.

    Args:
        wanted: The list, with commas; empty for no card.
        cards: The identifiers of all cards, by their number.
        slices: The identifiers of all MIG instances, which have no number.

    """
    entries = [entry.strip() for entry in wanted.split(",")]
    if entries in ([""], ["-1"]):
        return [], ""
    prefix = next((p for p in ("GPU-", "MIG-") if entries[0].startswith(p)), "")
    chosen: list[str] = []
    for entry in entries:
        found = _by_name(entry, prefix, (*cards, *slices)) if prefix else _by_number(entry, cards)
        if found is None:
            return chosen, f"names {entry!r}, which is not here: it and all after it are hidden"
        if found in chosen:
            return [], f"names {entry!r} twice: all cards are hidden"
        chosen.append(found)
    return chosen, ""


def _by_name(entry: str, prefix: str, known: Sequence[str]) -> str | None:
    matches = [uuid for uuid in known if entry.startswith(prefix) and uuid.lower().startswith(entry.lower())]
    return matches[0] if len(matches) == 1 else None


def _by_number(entry: str, cards: Sequence[str]) -> str | None:
    match = _NUMBER.match(entry)  # CUDA reads "1gpu" as 1
    number = int(match.group()) if match else -1
    return cards[number] if 0 <= number < len(cards) else None


def listed(names: Sequence[str], environ: Mapping[str, str] = os.environ) -> tuple[str, str] | None:
    """The first of some variables that is set, and its value; None where none is, and all cards are left."""
    return next(((name, environ[name]) for name in names if name in environ), None)
