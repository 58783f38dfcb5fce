"""Lengths of time as people write them: ``90s``, ``25m``, ``1.5h``, ``1h30m``."""

from __future__ import annotations

import re

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([dhms])")
_WHOLE = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[dhms])+")


def seconds(text: str) -> float:
    """The seconds of a length of time.

    Raises:
        ValueError: it is not written as numbers with d, h, m or s behind them, or it is zero.

    """
    if not _WHOLE.fullmatch(text):
        raise ValueError("write it with its unit: 90s, 25m, 1.5h, 1h30m")
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if total <= 0:
        raise ValueError("must be longer than nothing")
    return total


def check(text: str) -> str:
    """Return `text` if it is a length of time.

    Raises:
        ValueError: see `seconds`.

    """
    seconds(text)
    return text
