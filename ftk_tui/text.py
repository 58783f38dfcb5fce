"""Numbers and foreign text as people read them on a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def shown(text: str) -> str:
    r"""Text from data, models and errors made safe to print: control characters are shown, not sent.

    Line breaks and tabs stay, and so do the joiners that emoji and some scripts are written with; escapes, bells and
    bidirectional overrides become ``\x1b``, ``\u202e``.
    """
    return "".join(
        char
        if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") or _joins(text, place)
        else char.encode("unicode_escape", "surrogatepass").decode()
        for place, char in enumerate(text)
    )


def _joins(text: str, place: int) -> bool:
    """Whether a joiner stands behind an emoji or a letter beyond Latin, where it has its business."""
    return text[place] in "\u200c\u200d" and text[place - 1 : place] > "\u05ff"


def counted(number: int, noun: str) -> str:
    """``1 row``, ``1,234 rows``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def clock(seconds: float) -> str:
    """Seconds as ``0:42``, ``12:05`` or ``3:07:00``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, last = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{last:02d}" if hours else f"{minutes}:{last:02d}"


def remaining(seconds: float, low: float | None, high: float | None) -> str:
    """Seconds that are left, as a range while nobody is sure: ``12:05``, ``10:30 to 14:10``."""
    if low is None or high is None or clock(low) == clock(high):
        return clock(seconds)
    return f"{clock(low)} to {clock(high)}"


def bar(part: float, width: int) -> str:
    """A bar of `part` (0 to 1) of `width` characters, never empty where there is anything."""
    return "█" * max(round(part * width), int(part > 0))


def sparkline(values: Sequence[float], width: int) -> str:
    """The course of some numbers in one line of `width` characters, highest and lowest at full scale."""
    values = [value for value in values if value == value]  # not NaN
    if not values:
        return ""
    size = min(width, len(values))
    means = []
    for index in range(size):
        part = values[index * len(values) // size : (index + 1) * len(values) // size]
        means.append(sum(part) / len(part))
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)
