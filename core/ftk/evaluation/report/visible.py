"""Text from data, models and errors as text: what would steer a reader's screen is shown instead of obeyed."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any


def visible(text: str) -> str:
    r"""A text with control characters, overrides of direction and halves of surrogate pairs as ``\x1b``, ``\u202e``.

    Line breaks, tabs, and the joiners that emoji and some scripts are written with stay.
    """
    return "".join(
        char
        if char in "\n\t\u200c\u200d" or unicodedata.category(char) not in ("Cc", "Cf", "Cs")
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text.replace("\r\n", "\n")
    )


def shortened(value: Any) -> str:
    """A setting as text, with the home folder as ``~``: a page to show around should not name its owner."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text
