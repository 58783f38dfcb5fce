"""Colours of the theme for text that is made outside of style sheets, in 16 colours too."""

from __future__ import annotations

from typing import Any


def style(app: Any, name: str) -> str:
    """The style of Rich for a colour of the theme.

    Args:
        app: The app.
        name: Such as ``text-success``, ``text-muted``; see Textual's design.

    """
    value, *faint = str(app.theme_variables.get(name, "")).split() or [""]
    if value.startswith("ansi_"):  # of which there is no half: a faint one is told by the terminal's own dimming
        return f"dim {value.removeprefix('ansi_')}" if faint else value.removeprefix("ansi_")
    return value if value.startswith("#") else ""
