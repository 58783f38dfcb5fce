"""What a person chose for the app itself and not for a run. Kept from one start to the next."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE = "app.json"


@dataclass
class Preferences:
    """The choices; an empty one is left to the app."""

    theme: str = ""
    mouse: bool = True
    """Whether the app takes the mouse; without, the terminal selects text as always."""
    data: list[str] = field(default_factory=list)
    """The data sets that were looked at lately, the newest first."""

    @classmethod
    def restored(cls) -> Preferences:
        """What was kept; nothing where that cannot be used."""
        try:
            values = json.loads(_path().read_text(encoding="utf-8"))
            theme, mouse, data = values["theme"], values.get("mouse", True), values.get("data", [])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()
        kept = [spec for spec in data if isinstance(spec, str)] if isinstance(data, list) else []
        return cls(theme=theme if isinstance(theme, str) else "", mouse=mouse is not False, data=kept)

    def store(self) -> None:
        """Keep them; a disk that is full or read-only is no reason to complain."""
        from ftk import files

        try:
            files.write_atomic(_path(), json.dumps(asdict(self), indent=1))
        except OSError:
            return


def _path() -> Path:
    from ftk import files

    return files.config_dir() / FILE


def suited(kept: str, known: dict[str, object], colours: str | None) -> str:
    """The theme to begin with.

    Args:
        kept: What was chosen the last time, or nothing.
        known: The themes there are, by name.
        colours: What the terminal has: ``standard`` (16), ``256``, ``truecolor``; None for no colours.

    """
    if kept in known:
        return kept
    few = colours == "standard" and "NO_COLOR" not in os.environ
    return "ansi-dark" if few else "textual-dark"


def counterpart(theme: str, *, dark: bool) -> str:
    """The light theme for a dark one, and the other way round; of the same kind where there is one."""
    for ending, other in (("-dark", "-light"), ("-light", "-dark")):
        if theme.endswith(ending):
            return theme.removesuffix(ending) + other
    return "textual-light" if dark else "textual-dark"
