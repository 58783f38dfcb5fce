"""A line with the views of a screen: their keys, their names, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text
from textual.message import Message
from textual.widgets import Static

from ..text import shown


@dataclass(frozen=True)
class Tab:
    """A view: its name for the program, the key that leads there, what it is called, and a word on what is in it."""

    name: str
    key: str
    title: str
    about: str = ""


class Tabs(Static):
    """Shows the views of a screen; they can be clicked."""

    DEFAULT_CSS = """
    Tabs {
        height: 1;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        link-style: none;
        link-color: $foreground;
        link-background: transparent;
        link-style-hover: bold;
        link-color-hover: $foreground;
        link-background-hover: $primary-muted;
    }
    """
    ALLOW_SELECT = False

    class Picked(Message):
        """A view was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(markup=False, id=id)
        self._shown: tuple[list[Tab], str] | None = None

    def show(self, tabs: Sequence[Tab], here: str) -> None:
        """Show the views, and which one is seen now; draws only what is another than before."""
        wanted = (list(tabs), here)
        if wanted == self._shown:
            return
        self._shown = wanted
        line = Text(no_wrap=True, end="")
        for tab in tabs:
            click = Style.from_meta({"@click": f"pick('{tab.name}')"})
            about = f" {shown(tab.about)}" if tab.about else ""
            part = Text.assemble(" ", (tab.key, "underline"), f" {tab.title}", about, " ")
            part.stylize(click)
            if tab.name == here:
                part.stylize("bold reverse")
            line.append_text(part).append("  ")
        self.update(line)

    def action_pick(self, name: str) -> None:
        """Pick a view."""
        self.post_message(self.Picked(name))
