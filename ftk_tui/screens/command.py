"""The settings of the wizard as a command line, and saved as a preset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.widgets import Button, Static

from ftk.errors import FtkError

from ..text import shown
from .dialogs import AskFileName, Choose

if TYPE_CHECKING:
    from ..wizard import Wizard


class CommandScreen(Choose):
    """Shows the command line that does what the wizard holds; the answer is ``"p"`` to save it as a preset."""

    def __init__(self, command: str) -> None:
        super().__init__(
            "The same as a command", shown(command), [("c", "Copy"), ("p", "Save as preset"), ("x", "Close")]
        )
        self._command = command

    def compose_question(self) -> ComposeResult:
        """The buttons, and what copying did."""
        yield Static("", id="copied", markup=False)
        yield from super().compose_question()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Copy, or close with the answer."""
        event.stop()
        self.action_answer((event.button.id or "").removeprefix("answer-"))

    def action_answer(self, key: str) -> None:
        """Copy, or close with the answer."""
        if key != "c":
            super().action_answer(key)
            return
        self.app.copy_to_clipboard(self._command)
        self.query_one("#copied", Static).update("Sent to the terminal's clipboard, if it takes that (OSC 52).")


def preset_name() -> AskFileName:
    """Asks for the name of a preset; a name without a folder goes to the user's own presets."""
    from ftk import recipes

    return AskFileName("Save the settings as a preset", suffix=".yaml", folder=recipes.user_dir())


def save_preset(wizard: Wizard, path: str) -> tuple[str, bool]:
    """Save the settings; returns what to say, and whether it went well."""
    from ftk import recipes

    try:
        saved = wizard.save_preset(Path(path))
    except (FtkError, ValueError) as error:  # the latter for a name that no file can have
        return str(error), False
    name = saved.stem if saved.parent == recipes.user_dir() else str(saved)
    return f"Saved: ftk --preset {name}", True
