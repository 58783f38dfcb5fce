"""Stands in for a screen whose module is not there."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from .base import StepScreen


class PlaceholderScreen(StepScreen):
    """Says which screen would be here."""

    def compose_body(self) -> ComposeResult:
        """One line."""
        yield Static(f"The {self.step} screen is not part of this version.")


def placeholder(name: str) -> PlaceholderScreen:
    """A stand-in for the screen of a name."""

    class Named(PlaceholderScreen):
        step = name

    return Named()
