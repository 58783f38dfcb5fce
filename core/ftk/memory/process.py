"""From what torch allocates to what the process takes."""

from __future__ import annotations

from dataclasses import replace

from .card import Card
from .result import Breakdown
from .stages import Census

LIBRARIES = 600 * 2**20
"""Bytes of the interpreter with torch, transformers, peft and what they bring (Linux, torch for CPU)."""


def completed(made: Breakdown, card: Card | None, census: Census) -> Breakdown:
    """The breakdown with what lies outside of torch's tensors."""
    if card:
        return replace(made, context=card.context, fragmentation=made.tensors // 50)
    return replace(made, context=LIBRARIES)
