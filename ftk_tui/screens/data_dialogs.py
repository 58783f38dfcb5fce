"""The small questions of the Dataset screen: to which row, and whether to go on where a run would be refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from ..text import counted, shown
from .dialogs import AskText, Choose

if TYPE_CHECKING:
    from ftk.data.checks import Finding

    from ..data_work import Shelf


class GoTo(AskText):
    """Asks for a row; the answer is its number, or ``line`` and a number."""

    def __init__(self, shelf: Shelf) -> None:
        total = f"{len(shelf):,}" if shelf.checked else f"{len(shelf):,} (the first ones: k reads all)"
        text = f"A number from 1 to {total}; or a line of the file, such as: line 12"

        def check(typed: str) -> str:
            return "" if shelf.at(typed) is not None else "There is no such row."

        super().__init__("Go to a row", text, placeholder="12", check=check)


class Refusals(Choose):
    """Says why a run would be refused; the answer is ``"f"`` to see it, ``"s"`` to leave rows out, ``"t"`` to go on."""

    def __init__(self, refusals: Sequence[Finding]) -> None:
        text = Text()
        for finding in refusals[:5]:
            text.append("✗ ", "bold").append(f"{shown(finding.message)[:200]}\n")
            if finding.rows:
                text.append(f"    {shown(finding.rows[0])[:200]}\n", "dim")
        answers = [("f", "Findings")]
        bad = sum(finding.count for finding in refusals if finding.code == "unreadable")
        if bad and all(finding.code == "unreadable" for finding in refusals):
            answers.append(("s", f"Leave out {counted(bad, 'row')}"))
        answers.append(("t", "To Train all the same"))
        super().__init__("A run would be refused", text, answers)
