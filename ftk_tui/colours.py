"""Colours of the theme for text that is made outside of style sheets, in 16 colours too."""

from __future__ import annotations

from typing import Any


def style(app: Any, name: str) -> str:
    """The style of Rich for a colour of the theme.

    Args:
        app: The app.
        name: Such as ``text-success``, ``text-muted``; see Textual's design.

    """
    value = str(app.theme_variables.get(name, ""))
    if value.startswith("ansi_"):
        return value.removeprefix("ansi_")
    return value if value.startswith("#") else ""
