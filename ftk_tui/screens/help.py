"""What `?` shows: what the screen is for, the keys that work on it now, and the terms in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Static

from ..glossary import matching
from ..palette import offered

if TYPE_CHECKING:
    from textual.binding import ActiveBinding

    from .base import StepScreen

_KEY = 12  # columns of the keys at the left
_EVERYWHERE = (
    ("0 … 4", "Home, Model, Dataset, Train, Compare"),
    ("tab, arrows", "from field to field, and within lists"),
    ("enter", "the obvious next thing"),
    ("esc", "back; nothing is lost"),
    ("ctrl+p", "search everything that can be done now"),
    ("f2, f3", "the settings as a command; save them as a preset"),
    ("f4", "light or dark"),
    ("q, ctrl+q", "leave; a run that goes on is asked about first"),
)


class HelpScreen(ModalScreen[None]):
    """Help over a screen; what is typed searches the terms.

    Args:
        about: The screen below.
        bindings: The keys that work on it.

    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,q", "dismiss", "Close", id="help.close", key_display="esc"),
        Binding("slash", "find", "Find a term", id="help.find"),
    ]
    AUTO_FOCUS = "#help-text"

    def __init__(self, about: StepScreen | None, bindings: Mapping[str, ActiveBinding]) -> None:
        super().__init__()
        self._about = about
        keys: dict[str, tuple[str, str]] = {}
        for _, binding, enabled, _ in bindings.values():
            if enabled and offered(binding) and not (binding.id or "").startswith(("app.", "go.")):
                keys.setdefault(binding.action, (binding.key, binding.tooltip or binding.description))
        self._keys = list(keys.values())

    def compose(self) -> ComposeResult:
        """A search line, and all the text below it."""
        with Vertical(classes="help"):
            find = Input(placeholder="Find a term: rank, epoch, NF4 …", id="help-find", compact=True)
            find.cursor_blink = False
            yield find
            with VerticalScroll(id="help-text"):
                yield Static(self._first(), id="help-first")
                yield Static(_terms(""), id="help-terms")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Put the screen's name into the frame."""
        self.query_one(".help").border_title = f"Help: {self._about.step.title()}" if self._about else "Help"

    def _first(self) -> Text:
        """What the screen is for, and the keys."""
        text = Text()
        if self._about and self._about.ABOUT:
            text.append(f"{self._about.ABOUT}\n\n")
        if self._keys:
            text.append("Keys here, now\n", "bold underline")
            for key, words in self._keys:
                text.append(f"{self.app.get_key_display(Binding(key, '')):<{_KEY}}", "bold").append(f" {words}\n")
            text.append("\n")
        text.append("Keys everywhere\n", "bold underline")
        for key, words in _EVERYWHERE:
            text.append(f"{key:<{_KEY}}", "bold").append(f" {words}\n")
        return text

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show the terms that are meant, and nothing else while something is searched for."""
        self.query_one("#help-first").display = not event.value.strip()
        self.query_one("#help-terms", Static).update(_terms(event.value))
        self.query_one("#help-text").scroll_home(animate=False)

    def on_input_submitted(self) -> None:
        """Back to the text."""
        self.query_one("#help-text").focus()

    def action_find(self) -> None:
        """To the search line."""
        self.query_one("#help-find").focus()


def _terms(words: str) -> Text:
    """The terms that are meant by some words; all where there are none."""
    text = Text.assemble(("Terms\n", "bold underline"))
    found = matching(words)
    for term, meaning in found.items():
        text.append(term, "bold").append(f"  {meaning}\n\n")
    if not found:
        text.append("No such term here. Try another word.")
    return text
