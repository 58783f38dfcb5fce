"""The first line of every screen: the steps with their numbers, the one that is shown, and what goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.style import Style
from rich.text import Text
from textual.widgets import Static

if TYPE_CHECKING:
    from textual.app import RenderResult

_STEPS = ("Home", "Model", "Dataset", "Train", "Compare")
_GAP = 2


class StepBar(Static):
    """Numbers and names of the steps, which can be clicked, and at the right a word on the run or the machine."""

    DEFAULT_CSS = """
    StepBar {
        dock: top;
        height: 1;
        width: 100%;
        background: $panel;
        color: $foreground;
        text-wrap: nowrap;
        text-overflow: ellipsis;
    }
    """
    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._status = ""

    def show(self, status: str) -> None:
        """Show another word at the right; draws only if it is another."""
        if status != self._status:
            self._status = status
            self.refresh()

    def render(self) -> RenderResult:
        """One line of the width there is; the steps stay whole, the word at the right is cut."""
        line = Text(no_wrap=True, end="")
        here = getattr(self.screen, "step", "")
        for number, name in enumerate(_STEPS):
            style = "bold reverse" if name.lower() == here else ""
            click = Style.from_meta({"@click": f"app.go('{name.lower()}')"})
            line.append(f" {number} {name} ", Style.combine([Style.parse(style), click]))
        room = self.size.width - line.cell_len - _GAP
        if self._status and room > 0:
            status = Text(self._status)
            status.truncate(room, overflow="ellipsis")
            line.append(" " * (room + _GAP - 1 - status.cell_len))
            line.append_text(status)
        return line
