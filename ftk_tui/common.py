"""What can be done on every screen of the app: show and keep the settings, choose colours, leave the mouse alone."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from textual import work
from textual.app import App, SystemCommand
from textual.screen import Screen

from .preferences import Preferences, counterpart, suited

if TYPE_CHECKING:
    from .own_terminal import OwnTerminal
    from .wizard import Wizard


class Common(App[int]):
    """The part of the app that knows no run.

    Args:
        terminal: The terminal; what Textual finds by default.

    """

    def __init__(self, terminal: OwnTerminal | None = None) -> None:
        super().__init__(driver_class=terminal.driver() if terminal else None)
        self._terminal = terminal
        self.preferences = Preferences.restored()
        """What was chosen for the app itself."""
        self.theme = suited(self.preferences.theme, dict(self.available_themes), self.console.color_system)

    @property
    def wizard(self) -> Wizard:
        """The settings that are being put together."""
        raise NotImplementedError

    def action_command(self) -> None:
        """Show the command line that does what the wizard holds."""
        from .screens.command import CommandScreen

        self.push_screen(CommandScreen(self.wizard.command()), self._after_command)

    def _after_command(self, answer: str | None) -> None:
        if answer == "p":
            self.action_save_preset()

    def action_save_preset(self) -> None:
        """Ask for a name, and save the settings under it."""
        from .screens.command import preset_name

        self.push_screen(preset_name(), self._save_preset)

    def _save_preset(self, path: str | None) -> None:
        if path:
            self._write_preset(path)

    @work(thread=True, exit_on_error=False, group="preset")
    def _write_preset(self, path: str) -> None:
        from .screens.command import save_preset

        said, well = save_preset(self.wizard, path)
        self.call_later(
            partial(self.notify, said, severity="information" if well else "error", markup=False, timeout=10)
        )

    def action_toggle_light(self) -> None:
        """A light theme for a dark one, and the other way round."""
        other = counterpart(self.theme, dark=self.current_theme.dark)
        self.theme = other if other in self.available_themes else counterpart("", dark=self.current_theme.dark)

    def watch_theme(self, theme: str) -> None:
        """Keep a theme that was chosen."""
        if self.is_running and theme != self.preferences.theme:
            self.preferences.theme = theme
            self._keep_preferences()

    @work(thread=True, exit_on_error=False, group="store")
    def _keep_preferences(self) -> None:
        self.preferences.store()

    @property
    def can_switch_mouse(self) -> bool:
        """Whether the mouse can be taken and let go while the app is shown."""
        return self._terminal is not None

    def action_toggle_mouse(self) -> None:
        """Take the mouse, or leave it to the terminal, whose own selection works then."""
        self.preferences.mouse = not self.preferences.mouse
        if self._terminal:
            self._terminal.take_mouse(self.preferences.mouse)
        self.notify("The mouse is the app's." if self.preferences.mouse else "The mouse is the terminal's.")
        self._keep_preferences()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that can be done now: the keys that work on the screen below, and what has none."""
        from .palette import commands

        yield from commands(self, screen)
