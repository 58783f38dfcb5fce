"""What a chart of a run can show: the loss, and what else is told with every step."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

from ..series import Series

Numbers = Callable[[Series], "array[float]"]
_GIB = 1 / 2**30


@dataclass(frozen=True)
class Curve:
    """One of the curves of a run.

    `values` are drawn as points, faint; `line` as a line, by its mean in every column. `robust` curves are scaled to
    where most of their points lie, with a mark where some lie beyond; `zero` ones have zero in sight. What is told is
    multiplied by `scale` and is then in `unit`.
    """

    name: str
    values: Numbers
    line: Numbers
    unit: str = ""
    scale: float = 1.0
    held_out: bool = False
    robust: bool = False
    zero: bool = False


def _memory(series: Series) -> array[float]:
    return series.gpu_memory if series.gpu_memory and series.gpu_memory[-1] else series.memory


LOSS = Curve("loss", lambda s: s.losses, lambda s: s.smoothed, held_out=True, robust=True)
RATE = Curve("learning rate", lambda s: s.rates, lambda s: s.rates, zero=True)
NORM = Curve("gradient norm", lambda s: s.norms, lambda s: s.smoothed_norms, robust=True, zero=True)
SPEED = Curve("tokens/s", lambda s: s.speeds, lambda s: s.speeds, zero=True)
MEMORY = Curve("memory", _memory, _memory, unit="GiB", scale=_GIB, zero=True)
CURVES = (LOSS, RATE, NORM, SPEED, MEMORY)
