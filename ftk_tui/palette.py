"""What the command palette offers: every action that works now, with its key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual.app import SystemCommand
from textual.screen import Screen

if TYPE_CHECKING:
    from .app import FtkApp

_NOT_OFFERED = frozenset(
    {"command_palette", "app.focus_next", "app.focus_previous", "screen.copy_text", "help_quit", "app.help_quit"}
)
"""Actions that make no sense from a list of actions."""


def commands(app: FtkApp, screen: Screen[object]) -> Iterator[SystemCommand]:
    """The actions of a screen and of the app, each once, and those that have no key.

    Args:
        app: The app.
        screen: The screen over which the palette was opened.

    """
    told: set[str] = set()
    for node, binding, enabled, tooltip in screen.active_bindings.values():
        action, title = binding.action, binding.description
        if not (enabled and title) or action in _NOT_OFFERED or title in told or _of_widget(binding.id):
            continue
        told.add(title)
        text = ". ".join(filter(None, (tooltip.rstrip("."), f"Key: {app.get_key_display(binding)}")))
        yield SystemCommand(title, text, partial(app.run_action, action, node))
    yield SystemCommand("Theme", "Choose the colours.", app.action_change_theme)
    yield SystemCommand("Screenshot", "Save a picture of the screen (SVG).", lambda: _later(app))


def _of_widget(name: str | None) -> bool:
    """Whether a binding belongs to a widget, such as the keys that move a cursor: all of ours have a name."""
    return not name


def _later(app: FtkApp) -> None:
    app.set_timer(0.1, app.deliver_screenshot)


def titles(app: FtkApp, screen: Screen[object]) -> Iterable[str]:
    """The names of what is offered."""
    return [command.title for command in commands(app, screen)]
