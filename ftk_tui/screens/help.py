"""What `?` shows."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.screen import ModalScreen
from textual.widgets import Static


class HelpScreen(ModalScreen[None]):
    """Help."""

    def __init__(self, shown: object, bindings: object) -> None:
        super().__init__()

    def compose(self) -> ComposeResult:
        """Words."""
        yield Static("Help")
