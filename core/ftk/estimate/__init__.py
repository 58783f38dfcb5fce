"""Will it fit, how long will it take, what will it cost: before a byte is loaded.

`outlook` answers all three for settings, `of_plan` for a plan; both take milliseconds and import no torch unless asked.
"""

from __future__ import annotations

from .outlook import Outlook, as_if, of_plan, outlook
from .prices import Price, price_of
from .prices import parse as parse_price
from .rates import Rates, matmul_rate
from .requirement import vram
from .timing import TimeEstimate, estimate_training_time, for_plan

__all__ = [
    "Outlook",
    "Price",
    "Rates",
    "TimeEstimate",
    "as_if",
    "estimate_training_time",
    "for_plan",
    "matmul_rate",
    "of_plan",
    "outlook",
    "parse_price",
    "price_of",
    "vram",
]
