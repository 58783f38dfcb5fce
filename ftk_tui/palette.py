"""What the command palette offers: every action that works now, with its key."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual.app import SystemCommand
from textual.binding import Binding
from textual.screen import Screen

if TYPE_CHECKING:
    from .common import Common

_NOT_OFFERED = frozenset({"step.focus_next", "step.focus_previous", "dialog.next", "dialog.previous"})
"""Bindings that make no sense in a list."""


def offered(binding: Binding) -> bool:
    """Whether a binding is one of ours that does something worth listing; those of Textual's widgets have no name."""
    return bool(binding.id and binding.description) and binding.id not in _NOT_OFFERED


def commands(app: Common, screen: Screen[object]) -> Iterator[SystemCommand]:
    """The actions of a screen and of the app that work now, each once, and those that have no key.

    Args:
        app: The app.
        screen: The screen over which the palette was opened.

    """
    told: set[str] = set()
    for node, binding, enabled, tooltip in screen.active_bindings.values():
        title = binding.description
        if not (enabled and offered(binding)) or title in told:
            continue
        told.add(title)
        text = ". ".join(filter(None, (tooltip.rstrip("."), f"Key: {app.get_key_display(binding)}")))
        yield SystemCommand(title, text, partial(app.run_action, binding.action, node))
    yield SystemCommand("Theme", "Choose the colours.", app.action_change_theme)
    yield SystemCommand(
        "Screenshot", "Save a picture of the screen (SVG).", partial(app.set_timer, 0.1, app.deliver_screenshot)
    )
    if app.can_switch_mouse:
        state = "off: the terminal selects text as always" if app.preferences.mouse else "on"
        yield SystemCommand("Mouse", f"Switch it {state}.", app.action_toggle_mouse)
