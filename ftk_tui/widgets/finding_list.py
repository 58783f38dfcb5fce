"""What the checks found, worst first, each with the rows behind it; Enter goes to a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from ..data_words import SIGNS
from ..text import shown

if TYPE_CHECKING:
    from ftk.data.checks import Finding

_COLOURS = {"error": "text-error", "warning": "text-warning", "note": "text-muted"}
_LONGEST = 300


class FindingList(OptionList):
    """Findings and their rows, one below the other."""

    DEFAULT_CSS = """
    FindingList {
        height: 1fr;
        background: transparent;
        padding: 0 1;
        scrollbar-size-vertical: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Show the row", id="findings.show"),
    ]

    class Asked(Message):
        """The row of an origin is to be shown."""

        def __init__(self, origin: str) -> None:
            super().__init__()
            self.origin = origin

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False, compact=True)
        self._findings: Sequence[Finding] = ()
        self._places: list[tuple[Finding, str]] = []

    @property
    def marked(self) -> tuple[Finding, str] | None:
        """The finding that the cursor is on, and the row of it that is meant (empty: none)."""
        place = self.highlighted
        return self._places[place] if place is not None and place < len(self._places) else None

    def show(self, findings: Sequence[Finding], style: Callable[[str], str]) -> None:
        """Show some findings; the cursor stays where it was if they are the same.

        Args:
            findings: Worst first.
            style: The style for a colour of the theme.

        """
        if list(findings) == list(self._findings) and self.option_count:
            return
        before = self.highlighted
        self._findings = list(findings)
        self._places = []
        options = []
        for finding in findings:
            self._places.append((finding, finding.rows[0] if finding.rows else ""))
            options.append(Option(_headline(finding, style)))
            for origin in finding.rows:
                self._places.append((finding, origin))
                options.append(Option(Text(f"    {_cut(origin)}")))
        self.set_options(options)
        if options:
            self.highlighted = min(before or 0, len(options) - 1)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show the key only where there is a row to be shown."""
        if action == "select":
            return self.marked is not None and bool(row_of(*self.marked))
        return super().check_action(action, parameters)

    def on_option_list_option_highlighted(self) -> None:
        """Another row may be to be shown."""
        self.refresh_bindings()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Ask for the row."""
        event.stop()
        if self.marked and (origin := row_of(*self.marked)):
            self.post_message(self.Asked(origin))


def row_of(finding: Finding, place: str) -> str:
    """The row that can be looked at behind a place of a finding: of a pair the first one; unreadable rows are none."""
    if finding.code in ("unreadable", "refused", "languages", "format"):
        return ""
    return place.split(" ~ ")[0]


def _headline(finding: Finding, style: Callable[[str], str]) -> Text:
    sign, colour = SIGNS[finding.severity], _COLOURS[finding.severity]
    weight = "bold " if finding.severity == "error" else ""
    return Text.assemble((f"{sign} ", f"{weight}{style(colour)}".strip()), (_cut(finding.message), weight.strip()))


def _cut(text: str) -> str:
    safe = shown(" ".join(text.split()))
    return safe if len(safe) <= _LONGEST else safe[: _LONGEST - 1] + "…"
