"""All settings of a run: a table of them, and below it a field for the one that is marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widgets import DataTable, Input, Static

from ..setting_fields import SettingField, as_text
from ..text import shown
from .setting_table import SettingTable, standings

if TYPE_CHECKING:
    from ftk.config import RunConfig

    from ..outlook import Outlook

_GIB = 2**30


class SettingInput(Input):
    """The field; Esc leaves what is there as it was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "As it was", id="setting.leave", tooltip="Leave the setting as it was"),
        Binding("enter", "submit", "Take", id="setting.take", tooltip="Take what is typed; nothing: automatic"),
        Binding("down,up", "submit", "Take", id="setting.take_too", show=False),
    ]

    class Left(Message):
        """What was typed is not wanted."""

    def action_leave(self) -> None:
        """Leave what is there as it was."""
        self.post_message(self.Left())


class SettingsView(Vertical):
    """The settings; what is typed is checked as it is typed, and nothing that is not acceptable is handed on."""

    class Tried(Message):
        """Something acceptable stands in the field: what would it mean? An empty text leaves the setting to ftk."""

        def __init__(self, field: SettingField, text: str) -> None:
            super().__init__()
            self.field, self.text = field, text

    class Taken(Message):
        """A setting has another value, which is acceptable; an empty text leaves it to ftk."""

        def __init__(self, field: SettingField, text: str) -> None:
            super().__init__()
            self.field, self.text = field, text

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._settings: RunConfig | None = None
        self._editing = False
        self._note = ("", Text())
        """What follows from the setting that was tried or taken last."""

    def compose(self) -> ComposeResult:
        """The table; name, field and limits of the setting that is marked; what is wrong or what follows; its help."""
        yield SettingTable()
        with Vertical(id="editor"):
            with Horizontal(id="edit-line"):
                yield Static("", id="edit-name", markup=False)
                field = SettingInput(id="edit", compact=True, select_on_focus=False)
                field.cursor_blink = False
                yield field
                yield Static("", id="edit-limits", markup=False)
            yield Static("", id="edit-note", markup=False)
            yield Static("", id="edit-help", markup=False)

    @property
    def table(self) -> SettingTable:
        """The table of the settings."""
        return self.query_one(SettingTable)

    @property
    def field(self) -> SettingInput:
        """The field below it."""
        return self.query_one(SettingInput)

    def show(
        self, settings: RunConfig, outlook: Outlook | None, style: Callable[[str], str], *, title: str = ""
    ) -> None:
        """Show what the settings are now.

        Args:
            settings: Those that were chosen.
            outlook: What would be decided, and whether it fits; None while that is worked out.
            style: The style for a colour of the theme.
            title: The model that they are shown for.

        """
        self._settings = settings
        self.table.show(standings(settings, outlook), style)
        self.query_one("#editor").border_title = Text(f"{shown(title)}: {_fit(outlook)}").markup
        if not self._editing:
            self._describe()
        self.refresh_bindings()

    def tell(self, field: SettingField, note: Text) -> None:
        """Say what follows from what stands in the field, or from the value that a setting got."""
        self._note = (field.key, note)
        if field == self.table.marked:
            self._say(note)

    def _say(self, note: str | Text) -> None:
        self.query_one("#edit-note", Static).update(note)

    def _describe(self) -> None:
        """Show the setting that is marked in the field."""
        if not (field := self.table.marked):
            return
        now = self.table.standing(field.key)
        self.query_one("#edit-name", Static).update(field.key)
        self.query_one("#edit-limits", Static).update(field.limits)
        help_text = f"{field.help} {'' if field.default in ('auto', None) else f'Default: {as_text(field.default)}.'}"
        self.query_one("#edit-help", Static).update(help_text)
        with self.prevent(Input.Changed):
            self.field.value = now.text if now.chosen else ""
        self.field.placeholder = f"{shown(now.text)} (automatic)" if now.why.startswith("auto") else shown(now.text)
        self.field.suggester = SuggestFromList(field.words, case_sensitive=False) if field.words else None
        if self._note[0] == field.key:
            self._say(self._note[1])
        else:
            self._say(shown(now.why) if now.why.startswith("auto") else "")

    # The table

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show the setting that is marked."""
        event.stop()
        if self.table.marked and self.table.marked.key != self._note[0]:
            self._note = ("", Text())
        self._describe()
        self.refresh_bindings()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Change the setting that is marked."""
        event.stop()
        self._edit()

    def on_setting_table_typed(self, message: SettingTable.Typed) -> None:
        """Begin a value with what was typed; who types fast is not in the field yet with the second letter."""
        message.stop()
        before = self.field.value if self._editing else ""
        self._edit()
        self.field.value = before + message.character
        self.field.cursor_position = len(self.field.value)

    def on_setting_table_put(self, message: SettingTable.Put) -> None:
        """Take another word, or none."""
        message.stop()
        self._take(message.field, message.text)

    def _edit(self) -> None:
        self._editing = True
        self.screen.set_focus(self.field)
        self.field.cursor_position = len(self.field.value)

    # The field

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say what is wrong with it, or ask what would follow."""
        event.stop()
        if not (field := self.table.marked) or not self._settings:
            return
        if problem := field.problem(event.value, self._settings):
            self._say(Text(f"✗ {shown(problem)}", style="bold"))
        else:
            self.post_message(self.Tried(field, event.value.strip()))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take what stands there, if it is acceptable."""
        event.stop()
        if (field := self.table.marked) and self._settings:
            if not field.problem(event.value, self._settings):
                self._done()
                self._take(field, event.value.strip())
            else:
                self.app.bell()

    def on_setting_input_left(self, message: SettingInput.Left) -> None:
        """Leave the setting as it was."""
        message.stop()
        self._note = ("", Text())
        self._done()
        self._describe()

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        """What is acceptable is taken when somebody goes elsewhere; anything else is not, and that is said."""
        if event.widget is self.field and self._editing and (field := self.table.marked) and self._settings:
            self._editing = False
            value, now = self.field.value, self.table.standing(field.key)
            if problem := field.problem(value, self._settings):
                self.notify(shown(f"{field.key} stays as it was: {problem}"), severity="warning", markup=False)
                self._describe()
            elif value.strip() != (now.text if now.chosen else ""):
                self._take(field, value.strip())

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The field is also reached by Tab or with the mouse."""
        if event.widget is self.field:
            self._editing = True

    def _done(self) -> None:
        self._editing = False
        self.table.focus()

    def _take(self, field: SettingField, text: str) -> None:
        """Hand a value on; ``auto`` is none."""
        if text.casefold() == "auto" and field.default == "auto":
            text = ""
        self.post_message(self.Taken(field, text))


def _fit(outlook: Outlook | None) -> str:
    """Whether a run with these settings fits, in words."""
    if outlook is None:
        return "…"
    if outlook.problem:
        return "✗ cannot work here"
    if outlook.needed is None:
        return "memory not known yet"
    sign = {"fits": "✓ fits", "tight": "! tight", "too big": "✗ too big"}.get(outlook.verdict, "")
    return f"{outlook.needed / _GIB:.1f} of {outlook.free / _GIB:.1f} GiB free  {sign}"
