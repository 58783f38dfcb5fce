"""Prompts with the answers of base and tuned model, as far as the run has asked them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from ..text import shown

if TYPE_CHECKING:
    from ftk.events import Answered

_NEWEST = 12
"""Answers that are kept in sight."""


class Answers(VerticalScroll):
    """Shows answers, the newest first."""

    DEFAULT_CSS = """
    Answers {
        scrollbar-size-vertical: 1;
        padding: 0 1;
        &:focus { background-tint: $foreground 5%; }
    }
    Answers Static { height: auto; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._shown: Sequence[Answered] | None = None

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(markup=False)

    def show(self, answers: Sequence[Answered]) -> None:
        """Show these answers; draws only if there are others than the last time."""
        answers = list(answers[-_NEWEST:])
        if answers != self._shown:
            self._shown = answers
            self.query_one(Static).update(text(answers))


def text(answers: Sequence[Answered]) -> Text:
    """Prompt, base and tuned answer below each other; data is shown as it is."""
    if not answers:
        return Text("Sample answers come here: at the end, base and tuned model answer the same prompts.", "dim")
    found = Text()
    for answer in reversed(answers):
        if found:
            found.append("\n\n")
        found.append(f"> {shown(answer.prompt)}\n", "bold")
        found.append("base   ", "dim").append(f"{shown(answer.base).strip()}\n")
        found.append("tuned  ", "dim").append(shown(answer.tuned).strip())
    return found
