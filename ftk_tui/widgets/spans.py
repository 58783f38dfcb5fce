"""Times and amounts of money in a few cells."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Some seconds in at most six cells: ``45 s``, ``12 min``, ``3.5 h``, ``2.1 d``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d" if seconds < 100 * 86400 else f"{seconds / 86400:.0f} d"


def money(dollars: float) -> str:
    """Some dollars in at most six cells."""
    return f"${dollars:.2f}" if dollars < 100 else f"${dollars:.0f}"
