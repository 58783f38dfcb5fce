"""The questions of the Compare screen: how tokens are chosen, which run, which file to write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from ftk import dataspec
from ftk.errors import UsageError

from ..text import shown
from .dialogs import AskFileName, Dialog

if TYPE_CHECKING:
    from ftk.evaluation.asked import Sampling

    from ..comparing import Choice

FIELDS: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("temperature", "0 takes the likeliest token each time; 1 draws as the model thinks", float),
    ("top_p", "draw from the likeliest tokens that together reach this, above 0 to 1", float),
    ("max_tokens", "the longest answer, in tokens", int),
    ("seed", "fixes what is drawn, the same for both models", int),
)
"""What can be set: its name, what it does, and what its text is read as."""


_WIDTH = 64
"""Cells of a line in the list of runs."""


class SamplingDialog(Dialog["Sampling"]):
    """Asks how tokens are chosen; what is wrong is said as it is typed. The answer is a `Sampling`, or None.

    Args:
        sampling: What stands there at first.

    """

    CSS = """
    SamplingDialog .line { height: 1; }
    SamplingDialog .line .name { width: 13; }
    SamplingDialog .line Input { width: 12; border: none; height: 1; padding: 0 1; background: $boost; }
    SamplingDialog .line Input:focus { background: $primary-muted; }
    SamplingDialog .meaning { height: auto; color: $text-muted; margin-left: 13; }
    """

    def __init__(self, sampling: Sampling) -> None:
        super().__init__("How answers are written", "Other settings begin a new comparison; the old one stays kept.")
        self._sampling = sampling

    def compose_question(self) -> ComposeResult:
        """A field each, with what it does; what is wrong below them."""
        for name, meaning, _ in FIELDS:
            with Horizontal(classes="line"):
                yield Static(name.replace("_", "-"), classes="name")
                field = Input(f"{getattr(self._sampling, name):g}" if name != "seed" else str(self._sampling.seed),
                              id=f"field-{name}", compact=True)  # fmt: skip
                field.cursor_blink = False
                yield field
            yield Static(meaning, classes="meaning")
        yield Static("", id="problem", markup=False)
        with Horizontal(classes="buttons"):
            yield Button("OK", id="ok", variant="primary", compact=True)
            yield Button("Cancel", id="cancel", compact=True)

    def on_input_changed(self) -> None:
        """Say what is wrong as it is typed."""
        self.query_one("#problem", Static).update(shown(self.problem()))

    def problem(self) -> str:
        """What is wrong with what stands there; empty if nothing is."""
        made = self._made()
        return made if isinstance(made, str) else ""

    def _made(self) -> Sampling | str:
        from dataclasses import replace

        values: dict[str, Any] = {}
        for name, _, read in FIELDS:
            text = self.query_one(f"#field-{name}", Input).value.strip()
            try:
                values[name] = read(text)
            except ValueError:
                kind = "a whole number" if read is int else "a number"
                return f"{name.replace('_', '-')}: {text!r} is not {kind}."
        try:
            return replace(self._sampling, **values)
        except UsageError as error:
            return error.message.replace("_", "-")

    def on_input_submitted(self) -> None:
        """Take what stands there."""
        self._take()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take what stands there, or leave it."""
        self._take() if event.button.id == "ok" else self.dismiss(None)

    def _take(self) -> None:
        made = self._made()
        if isinstance(made, str):
            self.query_one("#problem", Static).update(shown(made))
        else:
            self.dismiss(made)


class ChooseModel(Dialog[str]):
    """Asks for a run or a checkpoint; what is typed filters them. The answer is its name, or None.

    Args:
        choices: What there is.
        marked: The one that the cursor is on at first.

    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", "Next", id="dialog.move_down", show=False, priority=True),
        Binding("up", "move(-1)", "Before", id="dialog.move_up", show=False, priority=True),
    ]
    CSS = """
    ChooseModel Input { border: none; height: 1; padding: 0 1; background: $boost; margin-bottom: 1; }
    ChooseModel Input:focus { border: none; }
    ChooseModel OptionList { height: auto; max-height: 12; border: none; margin-bottom: 1; }
    ChooseModel .none { height: auto; margin-bottom: 1; }
    """

    def __init__(self, choices: Sequence[Choice], marked: str = "") -> None:
        text = "" if choices else "No run has trained anything yet. 1 begins one."
        super().__init__("Which run is to be compared with its base?", text)
        self._choices, self._marked = list(choices), marked

    def compose_question(self) -> ComposeResult:
        """A line to type in, and the list."""
        if self._choices:
            field = Input(placeholder="type to find", id="find", compact=True)
            field.cursor_blink = False
            yield field
            yield OptionList(id="runs", markup=False)

    def on_mount(self) -> None:
        """Fill the list."""
        super().on_mount()
        if self._choices:
            self._fill("")
            names = [choice.name for choice in self._choices]
            if self._marked in names:
                self.query_one(OptionList).highlighted = names.index(self._marked)

    def _fill(self, wanted: str) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        words = wanted.casefold().split()
        for number, choice in enumerate(self._choices):
            if all(word in f"{choice.name} {choice.words}".casefold() for word in words):
                options.add_option(Option(_line(choice), id=str(number)))
        options.highlighted = 0 if options.option_count else None

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what fits."""
        self._fill(event.value)

    def on_input_submitted(self) -> None:
        """Take the one that the cursor is on."""
        if self.query_one(OptionList).highlighted is not None:
            self.query_one(OptionList).action_select()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Take it."""
        self.dismiss(self._choices[int(event.option_id or 0)].name)

    def action_move(self, lines: int) -> None:
        """Move the cursor, also while something is typed."""
        for options in self.query(OptionList):
            options.action_cursor_down() if lines > 0 else options.action_cursor_up()


def _line(choice: Choice) -> Text:
    text = Text(no_wrap=True)
    text.append(f"{shown(choice.name)}  ", "bold").append(" ".join(shown(choice.words).split()), "dim")
    text.truncate(_WIDTH, overflow="ellipsis")
    return text


class AskPage(AskFileName):
    """Asks for the name of a page to write; the answer is its path, or None.

    Args:
        value: The name that stands there at first.

    """

    def __init__(self, value: str) -> None:
        super().__init__("Write the comparison to a file", value=value, overwrites=True)
        self._text = Text("The ending says the format: .md for Markdown, .html for a page to show around.")

    def problem(self, value: str) -> str:
        """What is wrong with a name, in words."""
        from ftk.evaluation.render import ENDINGS

        if wrong := super().problem(value):
            return wrong
        return "" if Path(value.strip()).suffix.lower() in ENDINGS else "The name has to end with .md or .html."


def replacing(path: str) -> Any:
    """The question whether a file that is there shall be replaced."""
    from .dialogs import Confirm

    return Confirm("Replace this file?", path, yes="Replace", no="Keep", danger=True)


def check_prompts(value: str) -> str:
    """What is wrong with the name of a file of prompts; empty if nothing is."""
    try:
        path = dataspec.expanded(value.strip())
        return "" if path.is_file() else f"There is no file {path}."
    except (OSError, ValueError, RuntimeError) as error:
        return f"That cannot be a file: {error}"
