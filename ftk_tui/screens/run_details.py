"""Everything about one run, over the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Static

from ..text import shown
from .dialogs import Dialog

if TYPE_CHECKING:
    from ftk.run_list import RunSummary

_LABEL = 13  # columns of the words at the left


class RunDetails(Dialog[str]):
    """Lines of a label and what it says, to scroll through."""

    def __init__(self, name: str, lines: Sequence[tuple[str, str]]) -> None:
        super().__init__(name)
        self._lines = lines

    def compose_question(self) -> ComposeResult:
        """The lines, and a way out."""
        with VerticalScroll(classes="details"):
            for label, text in self._lines:
                yield Static(Text.assemble((f"{label:<{_LABEL}}", "bold"), shown(text)), classes="fact")
        with Horizontal(classes="buttons"):
            yield Button("Close", id="close", compact=True)

    def on_button_pressed(self) -> None:
        """Close."""
        self.dismiss(None)


def lines(run: RunSummary) -> list[tuple[str, str]]:
    """What there is to say about a run; reads its folder."""
    from ftk.runs import RunFolder

    from ..runs_report import Detail, facts

    what = Detail.of(RunFolder(run.path))
    found = [(label, text) for label, text in facts(what) if text]
    for key, value in what.settings.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        reason = what.reasons.get(key, "")
        found.append(("", f"{key} = {text}" + (f"  ({reason})" if reason else "")))
    return [*found, ("Next", what.next)]
