"""The table of the settings: what each is, and why. What is typed in it goes to the field below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DataTable

from ..setting_fields import SettingField, as_text, fields
from ..text import shown

if TYPE_CHECKING:
    from ftk.config import RunConfig

    from ..outlook import Outlook

_NAME, _SECTION, _VALUE, _BESIDE = 22, 8, 14, 2


@dataclass(frozen=True)
class Standing:
    """What a setting is now: its text, why, and whether somebody chose it. `problem`: it cannot work here."""

    text: str
    why: str
    chosen: bool = False
    problem: bool = False


def standings(settings: RunConfig, outlook: Outlook | None) -> dict[str, Standing]:
    """What every setting is now.

    Args:
        settings: Those that were chosen, with ``auto`` for the others.
        outlook: What would be decided; None while that is worked out.

    """
    found = {}
    reasons = outlook.reasons if outlook else {}
    for field in fields():
        value = getattr(settings, field.key)
        chosen = field.key in settings.model_fields_set and value not in ("auto", None)
        blamed = bool(outlook and f"--{field.key.replace('_', '-')} " in outlook.problem)
        if chosen:
            found[field.key] = Standing(as_text(value), "chosen", chosen=True, problem=blamed)
            continue
        decided = getattr(outlook.config, field.key) if outlook else value
        why = f"auto: {reasons[field.key]}" if field.key in reasons else "" if decided in ("auto", None) else "default"
        found[field.key] = Standing(as_text(decided), why, problem=blamed)
    return found


class SettingTable(DataTable[Text]):
    """A setting a line. Only what changed is drawn again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Change", id="setting.change", tooltip="Type another value"),
        Binding("delete,backspace", "forget", "Automatic", id="setting.forget", tooltip="Leave it to ftk again"),
        Binding(
            "right", "cycle(1)", "Other value", id="setting.next", tooltip="The next of its words", key_display="←→"
        ),
        Binding("left", "cycle(-1)", "Other value before", id="setting.previous", show=False),
        Binding("home", "scroll_top", "First setting", id="setting.first", show=False),
        Binding("end", "scroll_bottom", "Last setting", id="setting.last", show=False),
    ]

    class Typed(Message):
        """Somebody typed in the table: the beginning of a value."""

        def __init__(self, character: str) -> None:
            super().__init__()
            self.character = character

    class Put(Message):
        """A setting shall have another value; an empty text leaves it to ftk."""

        def __init__(self, field: SettingField, text: str) -> None:
            super().__init__()
            self.field, self.text = field, text

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False)
        self._shown: dict[str, list[Text]] = {}
        self._standings: dict[str, Standing] = {}
        self._width = 0

    @property
    def marked(self) -> SettingField | None:
        """The setting that the cursor is on."""
        return fields()[self.cursor_row] if self.row_count else None

    def standing(self, key: str) -> Standing:
        """What a setting is now."""
        return self._standings.get(key, Standing("", ""))

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """Letters and signs begin a value. So do digits, but the palette leads to the screens that they name."""
        return character is not None and _begins_value(character) and not character.isdigit()

    def on_key(self, event: events.Key) -> None:
        """Hand letters and digits to the field."""
        if event.character is not None and _begins_value(event.character):
            event.stop()
            event.prevent_default()
            self.post_message(self.Typed(event.character))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key does anything with the setting that is marked."""
        if action == "forget":
            return bool(self.marked and self.standing(self.marked.key).chosen)
        if action == "cycle":
            return bool(self.marked and self.marked.words)
        return True

    def action_forget(self) -> None:
        """Leave the setting to ftk again."""
        if self.marked:
            self.post_message(self.Put(self.marked, ""))

    def action_cycle(self, way: int) -> None:
        """The next of its words; among them none, which leaves it to ftk."""
        field = self.marked
        if not field or not field.words:
            return
        now = self.standing(field.key)
        ring = list(field.words) if field.default not in ("auto", None) else ["", *field.words]
        here = ring.index(now.text) if now.text in ring and (now.chosen or "" not in ring) else 0
        self.post_message(self.Put(field, ring[(here + way) % len(ring)]))

    def show(self, found: dict[str, Standing], style: Callable[[str], str]) -> None:
        """Show what the settings are now."""
        width = self.size.width or self.app.size.width
        self._standings = found
        rows = {field.key: _cells(field, found[field.key], width, style) for field in fields()}
        if width == self._width and self._shown:
            for key, cells in rows.items():
                for column, (cell, before) in enumerate(zip(cells, self._shown[key], strict=True)):
                    if cell != before or cell.spans != before.spans:
                        self.update_cell(key, _COLUMNS[column], cell)
        else:
            self._fill(rows, width)
        self._shown, self._width = rows, width

    def _fill(self, rows: dict[str, list[Text]], width: int) -> None:
        place = self.cursor_row
        with self.prevent(DataTable.RowHighlighted):
            self.clear(columns=True)
            for key, size in zip(_COLUMNS, _widths(width), strict=True):
                self.add_column(key, width=size, key=key)
            for key, cells in rows.items():
                self.add_row(*cells, key=key)
            self.move_cursor(row=place, animate=False)
        self.post_message(
            DataTable.RowHighlighted(self, self.cursor_row, self.coordinate_to_cell_key(self.cursor_coordinate).row_key)
        )


_COLUMNS = (" ", "setting", "  value", "why")


def _begins_value(character: str) -> bool:
    return character.isalnum() or character in ".-+"


def _widths(width: int) -> tuple[int, int, int, int]:
    why = width - 1 - _SECTION - _NAME - _VALUE - 4 * _BESIDE
    return _SECTION, _NAME, _VALUE, max(8, why)


def _cells(field: SettingField, now: Standing, width: int, style: Callable[[str], str]) -> list[Text]:
    place = fields().index(field)
    first = place == 0 or fields()[place - 1].section != field.section
    sign = "✗" if now.problem else "●" if now.chosen else " "
    tone = style("text-error") if now.problem else style("text-primary") if now.chosen else ""
    made = [
        Text(field.section if first else " ", style="bold"),
        Text(field.key),
        Text.assemble((f"{sign} ", tone), (shown(now.text) or "–", "bold" if now.chosen else "")),
        Text(shown(now.why) or " "),  # an empty one would have no line
    ]
    for cell, size in zip(made, _widths(width), strict=True):
        cell.no_wrap = True
        cell.truncate(size, overflow="ellipsis")
    return made
