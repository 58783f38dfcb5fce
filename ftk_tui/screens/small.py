"""What is shown on a terminal that is too small for the screens."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widgets import Static


class SmallScreen(ModalScreen[None]):
    """Says how large the terminal is and how large it has to be; goes away when it is made larger."""

    DEFAULT_CSS = """
    SmallScreen {
        align: center middle;
        background: $background;
    }
    SmallScreen Static {
        width: auto;
        max-width: 100%;
        height: auto;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,escape", "dismiss", "Go on all the same", id="small.dismiss"),
        Binding("q", "app.quit", "Quit", id="small.quit"),
    ]

    def __init__(self, size: Size) -> None:
        super().__init__()
        self._first = size

    def compose(self) -> ComposeResult:
        """The words."""
        yield Static(_words(self._first), markup=False)

    def on_resize(self, event: events.Resize) -> None:
        """Say how large it is now."""
        self.query_one(Static).update(_words(event.size))


def _words(size: Size) -> str:
    from ..app import SMALLEST

    return (
        f"This terminal has {size.width} columns and {size.height} lines;\n"
        f"ftk needs {SMALLEST[0]} and {SMALLEST[1]}.\n\n"
        "Make it larger.\nEnter: go on all the same.  q: quit."
    )
