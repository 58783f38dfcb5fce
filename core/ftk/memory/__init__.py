"""How much memory training will take, before a byte is loaded."""

from __future__ import annotations

from .card import Card, cards
from .estimating import estimate, largest_batch, largest_length
from .result import Breakdown
from .settings import Settings

__all__ = ["Breakdown", "Card", "Settings", "cards", "estimate", "largest_batch", "largest_length"]
