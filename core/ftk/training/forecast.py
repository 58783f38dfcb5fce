"""How long the updates of a run will still take, learnt from those that were made, with a range while it is unsure."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

_WINDOW = 40
"""Updates that are looked back at: what the machine did before that says little of what it will do."""
_DOUBT, _DOUBT_WEIGHT = 0.12, 2.0
"""The spread that is assumed before any update was seen, and for how many updates that counts."""
_SURE = 0.05
"""A range that is narrower on both sides is no news."""
_SHRINKING = 0.2
"""Tokens, as a part of their mean, by which steps must differ before their times can tell the fixed part apart."""


@dataclass(frozen=True)
class Left:
    """Seconds that are left, and the range to expect; both ends None where the range is narrow."""

    seconds: float
    low: float | None
    high: float | None


class Forecast:
    """Learns what an update takes: a fixed part, and a part that grows with its tokens.

    Steps are made of rows of like length, so some take many times as long as others, and the first ones say little of
    the rest unless their tokens are counted.

    Args:
        total: Updates of the run.
        per_epoch: Updates of a pass over the data.
        tokens_per_epoch: Tokens of all rows; 0 if nobody knows.

    """

    def __init__(self, total: int, per_epoch: int, tokens_per_epoch: int) -> None:
        self._total, self._per_epoch, self._tokens_per_epoch = total, max(1, per_epoch), tokens_per_epoch
        self._seen: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self._taken = 0

    def take(self, tokens: int, seconds: float) -> None:
        """Learn from an update; the very first, in which memory is had and caches fill, is forgotten soon."""
        self._taken += 1
        if self._taken == 3 and len(self._seen) == 2:
            self._seen.popleft()
        self._seen.append((max(1, tokens), max(1e-9, seconds)))

    def tokens_left(self, step: int, tokens: int) -> float:
        """Tokens of the updates after `step`, by which `tokens` were trained on.

        Every row comes once an epoch, so what the rest of an epoch holds is known.
        """
        if not self._tokens_per_epoch:
            return (self._total - step) * tokens / max(1, step)
        epoch, place = divmod(step, self._per_epoch)
        rest = self._tokens_per_epoch - (tokens - epoch * self._tokens_per_epoch)
        rest = min(max(rest, 0), self._tokens_per_epoch)
        left, in_epoch = self._total - step, self._per_epoch - place
        if left <= in_epoch:
            return rest * left / in_epoch
        return rest + self._tokens_per_epoch * (left - in_epoch) / self._per_epoch

    def left(self, step: int, tokens: int, besides: float = 0.0) -> Left:
        """What is left after `step`, by which `tokens` were trained on.

        Args:
            step: Updates that were made.
            tokens: Tokens of these.
            besides: Seconds that will go into other things.

        """
        if not self._seen:
            return Left(besides, None, None)
        fixed, each = self._fit()
        seconds = max(0, self._total - step) * fixed + self.tokens_left(step, tokens) * each
        errors = [seen / (fixed + each * count) - 1 for count, seen in self._seen]
        spread = (_DOUBT_WEIGHT * _DOUBT**2 + sum(error**2 for error in errors)) / (_DOUBT_WEIGHT + len(errors))
        doubt = 2 * math.sqrt(spread / len(errors))
        if doubt <= _SURE:
            return Left(seconds + besides, None, None)
        return Left(seconds + besides, seconds / (1 + doubt) + besides, seconds * (1 + doubt) + besides)

    def _fit(self) -> tuple[float, float]:
        """Seconds of an update whatever its tokens, and of each token: a line, drawn towards the origin."""
        count = len(self._seen)
        tokens = sum(seen[0] for seen in self._seen) / count
        seconds = sum(seen[1] for seen in self._seen) / count
        ratio = seconds / tokens
        spread = sum((seen[0] - tokens) ** 2 for seen in self._seen) / count
        common = sum((seen[0] - tokens) * (seen[1] - seconds) for seen in self._seen) / count
        drawn = (_SHRINKING * tokens) ** 2 / count
        each = min(ratio, max(0.0, (common + drawn * ratio) / (spread + drawn)))
        return seconds - each * tokens, each
