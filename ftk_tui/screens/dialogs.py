"""The questions that the app asks: yes or no, one of several, a line of text, the name of a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Footer, Input, Static

from ftk import dataspec

from ..text import shown

Result = TypeVar("Result")


class Dialog(ModalScreen[Result | None]):
    """A box over the screen; Esc closes it without an answer.

    Args:
        title: What it is about, in a few words.
        text: What the person should know; data in it is shown as it is.

    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Back", id="dialog.cancel"),
        Binding("down,right", "app.focus_next", "Next", id="dialog.next", show=False),
        Binding("up,left", "app.focus_previous", "Before", id="dialog.previous", show=False),
    ]

    def __init__(self, title: str, text: str | Text = "") -> None:
        super().__init__()
        self._title = title
        self._text = text if isinstance(text, Text) else Text(shown(text))

    def compose(self) -> ComposeResult:
        """A box with a title, the text, and what is asked."""
        with Vertical(classes="box"):
            if self._text.plain:
                with VerticalScroll(classes="text", can_focus=False):
                    yield Static(self._text)
            yield from self.compose_question()
        yield Footer(compact=True, show_command_palette=False)

    def compose_question(self) -> ComposeResult:
        """The widgets that take the answer."""
        yield from ()

    def on_mount(self) -> None:
        """Put the title into the frame."""
        self.query_one(".box").border_title = Text(shown(self._title)).markup

    def action_cancel(self) -> None:
        """Close without an answer."""
        self.dismiss(None)


class Choose(Dialog[str]):
    """Asks for one of several answers; the answer is its key, or None.

    Args:
        title: What it is about.
        text: What the person should know.
        answers: Key (a letter, which also works on the keyboard), words for the button; the first one has the focus.
        danger: Keys of the answers by which something is lost.

    """

    def __init__(
        self, title: str, text: str | Text, answers: Sequence[tuple[str, str]], *, danger: Sequence[str] = ()
    ) -> None:
        super().__init__(title, text)
        self._answers, self._danger = answers, danger

    def compose_question(self) -> ComposeResult:
        """A button an answer."""
        with Horizontal(classes="buttons"):
            for key, words in self._answers:
                label = Text.assemble((key, "bold underline"), f" {words}")
                yield Button(
                    label, id=f"answer-{key}", variant="error" if key in self._danger else "default", compact=True
                )

    def on_mount(self) -> None:
        """Let the letters work."""
        super().on_mount()
        for key, words in self._answers:
            self._bindings.bind(key, f"answer('{key}')", words, show=False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take the answer."""
        self.dismiss((event.button.id or "").removeprefix("answer-"))

    def action_answer(self, key: str) -> None:
        """Take the answer."""
        self.dismiss(key)


class Confirm(Choose):
    """Asks whether to do something; the answer is ``"y"``, ``"n"`` or None. Enter does nothing that is lost for good.

    Args:
        title: What is to be done, as a question.
        text: What the person should know.
        yes: Words for doing it.
        no: Words for leaving it.
        danger: Whether something is lost by it; then the button for leaving it has the focus.

    """

    def __init__(
        self, title: str, text: str | Text = "", *, yes: str = "Yes", no: str = "No", danger: bool = False
    ) -> None:
        answers = [("y", yes), ("n", no)]
        super().__init__(title, text, answers[::-1] if danger else answers, danger=["y"] if danger else [])


class AskText(Dialog[str]):
    """Asks for a line of text; the answer is the text, or None.

    Args:
        title: What is asked for.
        text: What the person should know.
        value: What stands there at first.
        placeholder: What is shown while nothing stands there.
        check: Says what is wrong with a text, in words; empty if it is right.

    """

    def __init__(
        self,
        title: str,
        text: str | Text = "",
        *,
        value: str = "",
        placeholder: str = "",
        check: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(title, text)
        self._value, self._placeholder, self._check = value, placeholder, check

    def compose_question(self) -> ComposeResult:
        """A line to type in, and what is wrong with it."""
        field = Input(self._value, placeholder=self._placeholder, id="answer")
        field.cursor_blink = False
        yield field
        yield Static("", id="problem", markup=False)
        with Horizontal(classes="buttons"):
            yield Button("OK", id="ok", variant="primary", compact=True)
            yield Button("Cancel", id="cancel", compact=True)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say what is wrong as it is typed, but not before anything is."""
        self.query_one("#problem", Static).update(shown(self.problem(event.value)) if event.value else "")

    def problem(self, value: str) -> str:
        """What is wrong with a text; empty if it is right."""
        if not value.strip():
            return "Type something, or press Esc."
        return self._check(value) if self._check else ""

    def on_input_submitted(self) -> None:
        """Take what was typed."""
        self._take()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take what was typed, or leave it."""
        self._take() if event.button.id == "ok" else self.dismiss(None)

    def _take(self) -> None:
        value = self.query_one("#answer", Input).value
        if problem := self.problem(value):
            self.query_one("#problem", Static).update(shown(problem))
        else:
            self.dismiss(value.strip())


class AskFileName(AskText):
    """Asks for the name of a file to write; the answer is its path, or None. Says if there is one already.

    Args:
        title: What is to be written.
        value: The name that stands there at first.
        suffix: The ending that is added where it is missing, such as ``.yaml``.
        folder: Where a name without a folder belongs; where ftk was started by default. It need not exist.
        overwrites: Whether a file that exists may be chosen; it is said that it will be replaced.

    """

    def __init__(
        self, title: str, *, value: str = "", suffix: str = "", folder: Path | None = None, overwrites: bool = False
    ) -> None:
        where = f"A name without a folder goes to {folder}." if folder else ""
        super().__init__(title, where, value=value, placeholder=f"name{suffix}")
        self._suffix, self._folder, self._overwrites = suffix, folder, overwrites

    def path(self, value: str) -> Path:
        """The path that a text means."""
        path = dataspec.expanded(value.strip())
        if self._suffix and path.suffix != self._suffix:
            path = path.with_name(path.name + self._suffix)
        return self._folder / path if self._folder and os.sep not in value else path

    def problem(self, value: str) -> str:
        """What is wrong with a name, in words."""
        if empty := super().problem(value):
            return empty
        try:
            path = self.path(value)
            there = _there(path)
            if there and path.is_dir():
                return f"{path} is a folder."
            if there and not self._overwrites:
                return f"{path} exists. Choose another name."
            if path.parent != self._folder and not path.absolute().parent.is_dir():
                return f"There is no folder {path.parent}."
        except (OSError, ValueError, RuntimeError) as error:
            return f"That cannot be a file: {error}"
        return ""

    def _take(self) -> None:
        value = self.query_one("#answer", Input).value
        if problem := self.problem(value):
            self.query_one("#problem", Static).update(shown(problem))
        else:
            self.dismiss(str(self.path(value)))


def _there(path: Path) -> bool:
    """Whether something of that name is there; unlike `Path.exists`, names that cannot be are an error."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
