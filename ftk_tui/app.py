"""FtkApp: the screens, what they share, and the keys that work everywhere. Imports no torch."""

from __future__ import annotations

from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from .screens.base import ORDER, StepScreen
from .session import Session
from .wizard import Wizard

TAKE_EVERY_S = 0.25
"""Seconds between two looks for news of the run: charts change a few times a second at most."""


class FtkApp(App[int]):
    """The wizard over the engine.

    Args:
        wizard: The settings to begin with; what was kept from the last time by default.
        session: The run to show; none by default.

    """

    TITLE = "ftk"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(str(number), f"go('{name}')", name.title(), id=f"go.{name}", show=False)
        for number, name in enumerate(ORDER)
    ]

    def __init__(self, wizard: Wizard | None = None, session: Session | None = None) -> None:
        super().__init__()
        self.wizard = wizard or Wizard.restored()
        self.session = session or Session()
        self.wizard.watch(self._settings_changed)

    def on_mount(self) -> None:
        """Begin to look for news."""
        self.set_interval(TAKE_EVERY_S, self._take)
        self.go("home")

    def go(self, name: str) -> None:
        """Show a screen; each is made when it is first shown, and keeps its state."""
        if self.current_mode != name:
            self.switch_mode(name)
        self.wizard.step = name if name != "home" else self.wizard.step
        if isinstance(self.screen, StepScreen):
            self.screen.on_entered()

    def action_go(self, name: str) -> None:
        """Show a screen."""
        self.go(name)

    def _take(self) -> None:
        events = self.session.take()
        if events and isinstance(self.screen, StepScreen):
            self.screen.on_events(events)

    def _settings_changed(self, changed: frozenset[str]) -> None:
        if isinstance(self.screen, StepScreen):
            self.screen.on_settings(changed)
