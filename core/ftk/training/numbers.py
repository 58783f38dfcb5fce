"""Watch the numbers of a run: what is no number, a loss that jumps, a gradient that explodes.

Every update is looked at before it is made. One that would harm is left out; several in a row end the run with advice.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import median

_BEGINNING = 20
"""Updates that tell what loss and gradient look like before much is learnt."""
_RECENT = 50
"""Updates that tell what is usual now."""
_LOSS_FACTOR = 1.5
_NORM_FACTOR = 3.0


class NumberWatch:
    """Says whether an update may be made.

    A loss or gradient is out of the ordinary only if it is far from what was usual lately and also beyond anything of
    the run's beginning. A row that was never seen may well have a loss, after hundreds of steps, that is many times
    the usual one; it is not worse than for the untuned model.

    Args:
        factor: How many times the usual gradient norm is too much; 0 looks only for what is not finite.

    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._highest = (0.0, 0.0)
        self._seen = 0
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)

    def objection(self, loss: float, norm: float) -> str:
        """What is wrong with an update of this loss and gradient norm, in words; empty if nothing is."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return "not a finite number"
        if not self._factor or self._seen < _BEGINNING:
            return ""
        usual_loss, usual_norm = (median(values) for values in zip(*self._recent, strict=True))
        if loss > _LOSS_FACTOR * self._highest[0] and loss > 2 * usual_loss:
            return f"the loss is usually {usual_loss:.3g} and was never over {self._highest[0]:.3g} at the beginning"
        if norm > _NORM_FACTOR * self._highest[1] and norm > self._factor * usual_norm:
            return f"the gradient norm is usually {usual_norm:.3g}"
        return ""

    def accept(self, loss: float, norm: float) -> None:
        """Take note of an update that is made."""
        if self._seen < _BEGINNING:
            self._seen += 1
            self._highest = (max(self._highest[0], loss), max(self._highest[1], norm))
        self._recent.append((loss, norm))

    def state(self) -> list[float]:
        """What a resumed run needs to judge as this one would."""
        return [self._seen, *self._highest, *(number for pair in self._recent for number in pair)]

    def restore(self, state: Sequence[float]) -> None:
        """Go on from `state`; an empty one is a beginning."""
        if not state:
            return
        seen, loss, norm, *recent = state
        self._seen, self._highest = int(seen), (loss, norm)
        self._recent = deque(zip(recent[::2], recent[1::2], strict=True), maxlen=_RECENT)
