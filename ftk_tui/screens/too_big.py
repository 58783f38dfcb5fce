"""Asks what to do about a model that will not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..setting_fields import as_text
from .dialogs import Choose

if TYPE_CHECKING:
    from ..candidates import Candidate

_GIB = 2**30


class TooBig(Choose):
    """The answer is ``"t"`` to take settings with which it fits, ``"c"`` to choose it as it is, ``"n"`` or None."""

    def __init__(self, model: Candidate, changes: dict[str, Any] | None) -> None:
        assert model.outlook
        needed, free = (model.outlook.needed or 0) / _GIB, model.outlook.free / _GIB
        lines = [f"{model.title} takes about {needed:.1f} GiB with these settings; {free:.1f} GiB are free here."]
        answers = [("n", "Back"), ("c", "Choose it as it is")]
        if changes:
            words = "\n".join(f"  {key} {as_text(value)}" for key, value in changes.items())
            lines.append(f"It fits with:\n{words}")
            answers.insert(0, ("t", "Take these"))
        else:
            lines.append("No setting makes it fit. A smaller model would, or another machine.")
        super().__init__("This will not fit", "\n\n".join(lines), answers)
