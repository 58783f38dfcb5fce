"""Choosing data: a field for a file, folder, glob or hub id, and below it samples, what was used lately, and files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from ftk import dataspec

from ..choices import Choice, Folder, folder_of
from ..data_words import named
from ..text import shown

_HINT = "file, folder, glob, sample:… or owner/name"
_NOT_PLAIN = ("*", "?", "[", "{", ",", "/", "\\", ":")
"""Characters by which a text is more than a word to search for."""


class SpecField(Input):
    """A line for the name of a data set; Esc leaves it as it was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave it", id="field.leave"),
        Binding("enter", "submit", "Take it", id="field.take"),
        Binding("down", "screen.focus_next", "To the list", id="field.down", show=False),
    ]

    class Left(Message):
        """Nothing was chosen."""

    def action_leave(self) -> None:
        """Leave it as it was."""
        self.post_message(self.Left())


class ChoiceList(OptionList):
    """What can be chosen, in groups."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Choose", id="choices.choose"),
        Binding("backspace", "up", "Folder above", id="choices.up", show=False),
    ]

    class Up(Message):
        """The folder above is to be listed."""

    def __init__(self) -> None:
        super().__init__(markup=False, compact=True)
        self._choices: list[Choice | None] = []

    @property
    def marked(self) -> Choice | None:
        """The choice that the cursor is on."""
        place = self.highlighted
        return self._choices[place] if place is not None and place < len(self._choices) else None

    @property
    def first(self) -> Choice | None:
        """The first choice there is."""
        return next((choice for choice in self._choices if choice), None)

    def fill(self, groups: Sequence[tuple[str, Sequence[Choice]]], notes: Sequence[str], marked: str | None) -> None:
        """Show choices in groups.

        Args:
            groups: A heading each, and its choices.
            notes: Lines below them.
            marked: The value of the choice on which the cursor shall be.

        """
        self._choices = []
        options: list[Option] = []
        for heading, choices in groups:
            if choices:
                self._choices.append(None)
                options.append(Option(Text(shown(heading), "bold", no_wrap=True, overflow="ellipsis"), disabled=True))
            for choice in choices:
                self._choices.append(choice)
                options.append(Option(_line(choice)))
        for note in notes:
            self._choices.append(None)
            options.append(Option(Text(shown(note), "dim"), disabled=True))
        self.set_options(options)
        places = [place for place, choice in enumerate(self._choices) if choice]
        wanted = [place for place in places if marked is not None and self._choices[place].value == marked]  # type: ignore[union-attr]
        self.highlighted = next(iter([*wanted, *places]), None)

    def action_cursor_up(self) -> None:
        """Up, and from the first choice to the field above."""
        places = [place for place, choice in enumerate(self._choices) if choice]
        if not places or self.highlighted in (None, places[0]):
            self.screen.focus_previous()
        else:
            super().action_cursor_up()

    def action_up(self) -> None:
        """To the folder above."""
        self.post_message(self.Up())


def _line(choice: Choice) -> Text:
    title = shown(choice.title.replace("\n", "\\n"))
    line = Text.assemble(f"  {title}", no_wrap=True, overflow="ellipsis")
    if choice.about:
        line.append("  ").append(shown(choice.about), "dim")
    return line


class SourcePane(Vertical):
    """The field, what is wrong with what it names, and the list.

    Messages: `Chosen` when something is chosen, `Wanted` when a folder is to be listed; then `listed` is called.
    """

    DEFAULT_CSS = """
    SourcePane {
        SpecField { background: $surface; padding: 0 1; }
        #problem { height: auto; max-height: 8; color: $text-error; padding: 0 1; }
        #problem.-empty { display: none; }
        ChoiceList {
            height: 1fr; padding: 0 1; background: transparent; scrollbar-size-vertical: 1;
            text-wrap: nowrap; text-overflow: ellipsis;
        }
    }
    """

    class Chosen(Message):
        """A data set was chosen."""

        def __init__(self, spec: str) -> None:
            super().__init__()
            self.spec = spec

    class Wanted(Message):
        """A folder is to be listed, with names that hold a text."""

        def __init__(self, folder: Path, wanted: str) -> None:
            super().__init__()
            self.folder, self.wanted = folder, wanted

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._where = Path.cwd()
        self._given = ""
        self._spec = ""
        self._samples: Sequence[Choice] = ()
        self._recent: Sequence[Choice] = ()
        self._folder: Folder | None = None

    def compose(self) -> ComposeResult:
        """Field, problem, list."""
        field = SpecField(placeholder=_HINT, compact=True, id="spec", select_on_focus=True)
        field.cursor_blink = False
        yield field
        yield Static("", id="problem", classes="-empty", markup=False)
        yield ChoiceList()

    @property
    def field(self) -> SpecField:
        """The field."""
        return self.query_one(SpecField)

    @property
    def choices(self) -> ChoiceList:
        """The list."""
        return self.query_one(ChoiceList)

    def show(self, spec: str, problem: str = "") -> None:
        """Show which data set is chosen, and what is wrong with it."""
        if spec != self._spec or not self._given:
            self._spec, self._given = spec, shown(named(spec)).replace("\n", " ")
            self.field.value = self._given
        label = self.query_one("#problem", Static)
        label.set_class(not problem, "-empty")
        if str(label.content) != problem:
            label.update(problem)

    def refuse(self, problem: str) -> None:
        """Say what is wrong with what was typed; it stays in the field."""
        label = self.query_one("#problem", Static)
        label.remove_class("-empty")
        label.update(shown(problem))

    def ask(self) -> None:
        """Want the folder listed that is meant now."""
        typed = self._typed
        folder, wanted = folder_of(typed, self._where)
        self.post_message(self.Wanted(folder, wanted))

    @property
    def _typed(self) -> str:
        """What was typed by the person; nothing where the field shows what is chosen."""
        value = self.field.value.strip()
        return "" if value == self._given.strip() else value

    def listed(self, samples: Sequence[Choice], recent: Sequence[Choice], folder: Folder, wanted: str) -> None:
        """Show what can be chosen, unless something else is wanted by now."""
        if (folder.path, wanted) != folder_of(self._typed, self._where):
            return
        self._samples, self._recent, self._folder = samples, recent, folder
        typed = self._typed.casefold()
        groups = [
            ("Samples", [choice for choice in samples if typed in choice.title.casefold()]),
            ("Used lately", [choice for choice in recent if typed in choice.title.casefold()]),
            (f"Files in {named(str(folder.path)) if folder.path != Path.cwd() else 'this folder'}", folder.choices),
        ]
        notes = [f"  {folder.more:,} more: type a part of the name."] if folder.more else []
        if folder.problem:
            notes.append(f"  The folder cannot be read: {folder.problem}.")
        if not any(found for _, found in groups):
            notes.append("  Nothing here is called so. Enter takes what was typed.")
        marked = self.choices.marked.value if self.choices.marked else self._spec
        self.choices.fill(groups, notes, marked)

    def on_input_changed(self, event: Input.Changed) -> None:
        """List what fits to what is typed."""
        event.stop()
        self.ask()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take what was typed: a folder is gone into, a word that is no name takes the first choice that fits."""
        event.stop()
        typed = event.value.strip()
        if not typed:
            self.refuse("Type the name of a file, a sample or a data set of the Hub, or choose one below.")
            return
        if typed == self._given.strip():
            self.post_message(self.Chosen(self._spec))
            return
        folder, rest = folder_of(typed, self._where)
        if not rest and not dataspec.is_glob(typed):
            self._into(folder)
            return
        first = self.choices.first
        plain = not any(char in typed for char in _NOT_PLAIN) and not _exists(self._where / typed)
        if plain and first and not first.leads and self._folder and self._folder.path == folder:
            self.post_message(self.Chosen(first.value))
        else:
            self.post_message(self.Chosen(self._whole(typed)))

    def _whole(self, typed: str) -> str:
        """The setting that a text means, with whole paths: the app may be started elsewhere the next time."""
        try:
            return dataspec.absolute(typed, self._where)
        except Exception:  # noqa: BLE001 - what is wrong with it is said when it is looked at
            return typed

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Choose, or go into a folder."""
        event.stop()
        choice = self.choices.marked
        if choice and choice.leads:
            self._into(Path(choice.value))
        elif choice:
            self.post_message(self.Chosen(choice.value))

    def on_choice_list_up(self, event: ChoiceList.Up) -> None:
        """List the folder above."""
        event.stop()
        self._into(folder_of(self._typed, self._where)[0].parent)

    def _into(self, folder: Path) -> None:
        """List another folder; what was typed has led there."""
        self._where = Path(os.path.normpath(folder))
        self.field.value = self._given
        self.choices.highlighted = None
        self.ask()
        self.choices.focus()

    def on_spec_field_left(self, event: SpecField.Left) -> None:
        """Show again what is chosen."""
        event.stop()
        self.field.value = self._given
        self.choices.focus()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
