"""Will it fit, how long will it take, what will it cost: before a byte is loaded."""

from __future__ import annotations

from .rates import Rates, matmul_rate
from .requirement import vram
from .timing import TimeEstimate, estimate_training_time, for_plan

__all__ = ["Rates", "TimeEstimate", "estimate_training_time", "for_plan", "matmul_rate", "vram"]
