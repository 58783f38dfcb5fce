"""Asks for the settings that decide what is made of the rows: held out, lengths, format, steps."""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Input, Select, Static

from ftk.config import RunConfig, allowed_values
from ftk.errors import ConfigError

from ..options import settings_from
from ..text import shown
from .dialogs import Dialog

GROUPS = (
    ("Held out", ("eval_fraction", "eval_data")),
    ("Rows", ("max_rows", "duplicates", "skip_bad", "max_length", "long_rows")),
    ("Format", ("template", "train_on", "system_prompt")),
    ("Steps", ("epochs", "max_steps", "batch_size", "gradient_accumulation")),
)
KEYS = tuple(key for _, keys in GROUPS for key in keys)
_PROBLEM, _HELP = "#setting-problem", "#setting-help"


class DataSettingsDialog(Dialog[dict[str, Any]]):
    """The answer is what was changed, acceptable as a whole; None for nothing.

    Args:
        settings: What is chosen now.

    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "take", "Take all", id="data_settings.take"),
    ]

    def __init__(self, settings: RunConfig) -> None:
        super().__init__("What is made of the rows")
        self._settings = settings

    def compose_question(self) -> ComposeResult:
        """A line for each setting, its help and what is wrong with it, and the buttons."""
        with VerticalScroll(classes="settings", can_focus=False):
            for title, keys in GROUPS:
                yield Static(Text(title, "bold"), classes="heading")
                for key in keys:
                    with Horizontal(classes="line"):
                        yield Static(f"  {key}", classes="name", markup=False)
                        yield self._field(key)
        yield Static("", id=_HELP[1:], markup=False)
        yield Static("", id=_PROBLEM[1:], markup=False)
        with Horizontal(classes="buttons"):
            yield Button("Take", id="use", variant="primary", compact=True)
            yield Button("Cancel", id="cancel", compact=True)

    def _field(self, key: str) -> Select[str] | Input:
        value = getattr(self._settings, key)
        if words := allowed_values(key):
            return Select([(word, word) for word in words], value=value, allow_blank=False, compact=True, id=key)
        default = RunConfig.model_fields[key].default
        text = as_text(value) if value != default else ""
        field = Input(text, placeholder=as_text(default) or "not set", compact=True, id=key)
        field.cursor_blink = False
        return field

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Say what the setting does that is reached."""
        about = RunConfig.model_fields[event.widget.id].description if event.widget.id in KEYS else ""
        self.query_one(_HELP, Static).update(about or "")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say what is wrong with a setting as it is typed."""
        event.stop()
        self.query_one(_PROBLEM, Static).update(shown(self._problem(str(event.input.id))))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """To the next field."""
        event.stop()
        self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take everything, or nothing."""
        event.stop()
        if event.button.id == "use":
            self.action_take()
        else:
            self.dismiss(None)

    def _value(self, key: str) -> Any:
        """What stands in a field, as a value; the default for nothing."""
        if allowed_values(key):
            return str(self.query_one(f"#{key}", Select).value)
        text = self.query_one(f"#{key}", Input).value.strip()
        if not text:
            return RunConfig.model_fields[key].default
        return settings_from(argparse.Namespace(**{key: text}))[key]

    def _problem(self, key: str) -> str:
        """What is wrong with a setting, in words."""
        try:
            self._settings.merged({key: self._value(key)})
        except (ConfigError, ValueError, RecursionError) as error:
            return " ".join(str(error).split())
        return ""

    def action_take(self) -> None:
        """Take everything, unless something is wrong; then go there."""
        for key in KEYS:
            if problem := self._problem(key):
                self.query_one(_PROBLEM, Static).update(shown(problem))
                self.query_one(f"#{key}").focus()
                return
        values = {key: self._value(key) for key in KEYS}
        self.dismiss({key: value for key, value in values.items() if value != getattr(self._settings, key)})


def as_text(value: Any) -> str:
    """A value as it would be typed; empty for none."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
