"""How long the updates of a run will still take, learnt from those that were made, with a range while it is unsure."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

_WINDOW = 40
"""Updates that are looked back at: what the machine did before that says little of what it will do."""
_FIRST, _LOOKED_AT, _AT_MOST = 8, 12, 1.5
"""The first updates, which may wait for what is done once (memory is had, shapes are compiled), how many they are
held against, and how many times as long as usual one may count."""
_FRESH_CPU, _FRESH_WEIGHT, _FRESH_AT_MOST = 0.3, 3.0, 1.0
"""How much longer an update takes whose micro-batches have sizes that the process meets for the first time, as a part
of its usual time: what oneDNN's preparing of bfloat16 products was measured to take on a CPU; for how many updates of
known sizes that counts before these tell; and what is believed at most."""
_FORWARD = 0.4
"""The forward pass alone, as a part of forward and backward."""
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
        prepares: Whether the device prepares its kernels for each size anew: then updates of new sizes are expected to
            take somewhat longer, before any of known sizes was seen.

    """

    def __init__(self, total: int, per_epoch: int, tokens_per_epoch: int, *, prepares: bool = False) -> None:
        self._total, self._per_epoch, self._tokens_per_epoch = total, max(1, per_epoch), tokens_per_epoch
        self._all: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self._fresh: deque[float] = deque(maxlen=_WINDOW)
        self._expected = _FRESH_CPU if prepares else 0.0
        self._taken = 0

    def take(self, tokens: int, seconds: float, fresh: float = 0.0) -> None:
        """Learn from an update.

        Args:
            tokens: What it learnt from.
            seconds: What it took.
            fresh: The part of its sizes of matrices that were met for the first time.

        """
        self._taken += 1
        self._all.append((max(1, tokens), max(1e-9, seconds)))
        self._fresh.append(fresh)

    @property
    def _seen(self) -> list[tuple[int, float]]:
        """The updates that are looked back at, as if their sizes had been known."""
        more = self._more
        return [
            (tokens, seconds / (1 + more * fresh))
            for (tokens, seconds), fresh in zip(self._even, self._fresh, strict=True)
        ]

    @property
    def _even(self) -> list[tuple[int, float]]:
        """The updates that are looked back at, the first of the run no longer than usual ones."""
        first = max(0, _FIRST - (self._taken - len(self._all)))
        if not first or len(self._all) < 4:
            return list(self._all)
        fixed, each = _usual(list(self._all)[:_LOOKED_AT])
        return [
            (tokens, usual if number < first and seconds > _AT_MOST * usual else seconds)
            for number, (tokens, seconds) in enumerate(self._all)
            for usual in [fixed + each * tokens]
        ]

    @property
    def _more(self) -> float:
        """How much longer an update of new sizes takes, as a part of its usual time."""
        updates = list(zip(self._even, self._fresh, strict=True))
        new = [seconds / tokens for (tokens, seconds), fresh in updates if fresh > 0.5]
        known = [seconds / tokens for (tokens, seconds), fresh in updates if fresh <= 0.5]
        if not new or not known:
            return self._expected
        found = min(max(fmean(new) / fmean(known) - 1, 0.0), _FRESH_AT_MOST)
        told = min(len(new), len(known))
        return (_FRESH_WEIGHT * self._expected + told * found) / (_FRESH_WEIGHT + told)

    def forward(self, tokens: int) -> float | None:
        """Seconds that measuring the loss of so many tokens takes; None before the first update."""
        return _FORWARD * self._fit(self._seen)[1] * tokens if self._all else None

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

    def left(self, step: int, tokens: int, besides: float = 0.0, fresh: float = 0.0) -> Left:
        """What is left after `step`, by which `tokens` were trained on.

        Args:
            step: Updates that were made.
            tokens: Tokens of these.
            besides: Seconds that will go into other things.
            fresh: How many of the updates that are left will meet new sizes.

        """
        seen = self._seen
        if not seen:
            return Left(besides, None, None)
        fixed, each = self._fit(seen)
        updates = max(0, self._total - step)
        seconds = updates * fixed + self.tokens_left(step, tokens) * each
        seconds *= 1 + self._more * fresh / max(1, updates)
        errors = [took / (fixed + each * count) - 1 for count, took in seen]
        spread = (_DOUBT_WEIGHT * _DOUBT**2 + sum(error**2 for error in errors)) / (_DOUBT_WEIGHT + len(errors))
        doubt = 2 * math.sqrt(spread / len(errors))
        if doubt <= _SURE:
            return Left(seconds + besides, None, None)
        return Left(seconds + besides, seconds / (1 + doubt) + besides, seconds * (1 + doubt) + besides)

    @staticmethod
    def _fit(seen: list[tuple[int, float]]) -> tuple[float, float]:
        """Seconds of an update whatever its tokens, and of each token: a line, drawn towards the origin."""
        tokens = sum(count for count, _ in seen) / len(seen)
        seconds = sum(took for _, took in seen) / len(seen)
        ratio = seconds / tokens
        spread = sum((count - tokens) ** 2 for count, _ in seen) / len(seen)
        common = sum((count - tokens) * (took - seconds) for count, took in seen) / len(seen)
        drawn = (_SHRINKING * tokens) ** 2 / len(seen)
        each = min(ratio, max(0.0, (common + drawn * ratio) / (spread + drawn)))
        return seconds - each * tokens, each


def _usual(seen: list[tuple[int, float]]) -> tuple[float, float]:
    """The line of least deviations for each token, which updates that took far longer do not draw to themselves.

    It goes through two of the points, of which the origin may be one.
    """
    best, line = math.inf, (0.0, 0.0)
    for (count, took), (tokens, seconds) in combinations([(0, 0.0), *seen], 2):
        if count == tokens:
            continue
        each = (seconds - took) / (tokens - count)
        fixed = took - each * count
        if each < 0 or fixed < 0:
            continue
        off = sum(abs(passed - fixed - each * number) / number for number, passed in seen)
        if off < best:
            best, line = off, (fixed, each)
    return line
