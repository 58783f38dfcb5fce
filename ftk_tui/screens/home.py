"""The list of runs."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from .base import StepScreen


class HomeScreen(StepScreen):
    """The runs here, and the way to a new one."""

    step = "home"

    def compose_body(self) -> ComposeResult:
        """The runs."""
        yield Static("Home")
