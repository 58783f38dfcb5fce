"""The table of the models: what each is, and whether it fits here. What is typed in it goes to the search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DataTable

from ..candidates import Candidate, size_of
from ..text import shown
from .spans import duration, money

if TYPE_CHECKING:
    from ..outlook import Outlook

STAR, CHOSEN = "★", "●"
_GIB = 2**30
_WIDTHS = {"model": 16, "family": 10, "size": 5, "memory": 19, "state": 8, "time": 6, "cost": 6, "licence": 13}
_ORDER = ("model", "family", "size", "memory", "state", "time", "cost", "licence")
_WANTED = ("licence", "family")
_FIGURES = 13
"""Cells behind the bar in the column of the memory: the number and the word."""
_WORDS = {"fits": ("fits", "text-success"), "tight": ("tight", "text-warning"), "too big": ("too big", "text-error")}
_BESIDE = 2
"""Cells beside every column."""


class ModelTable(DataTable[Text]):
    """A model a line. Only what changed is drawn again, and the cursor stays on its model."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Choose", id="model.choose", tooltip="Take this model, and on to the data"),
        Binding("home", "scroll_top", "First model", id="model.first", show=False),
        Binding("end", "scroll_bottom", "Last model", id="model.last", show=False),
        Binding("right", "screen.settings", "Settings", id="model.settings_here", key_display="→"),
        Binding("left", "screen.nothing", "", show=False),
    ]

    class Typed(Message):
        """Somebody typed in the list: the beginning of a search."""

        def __init__(self, character: str) -> None:
            super().__init__()
            self.character = character

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False)
        self._shown: dict[str, list[Text]] = {}
        self._headings: list[tuple[str, str, int]] = []

    @property
    def marked(self) -> str | None:
        """The name of the model that the cursor is on."""
        if not self.row_count:
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """Letters begin a search; digits lead to other screens as everywhere."""
        return character is not None and begins_search(character)

    def on_key(self, event: events.Key) -> None:
        """Hand letters to the search."""
        if event.character is not None and begins_search(event.character):
            event.stop()
            event.prevent_default()
            self.post_message(self.Typed(event.character))

    def show(
        self, models: Sequence[Candidate], style: Callable[[str], str], *, chosen: str = "", room: int | None = None
    ) -> None:
        """Show some models.

        Args:
            models: The models, in their order.
            style: The style for a colour of the theme.
            chosen: The name of the one that is chosen.
            room: Bytes that are free here; None while that is not known.

        """
        timed = any(model.outlook and model.outlook.time for model in models)
        priced = any(model.outlook and model.outlook.cost is not None for model in models)
        headings = _headings(self.size.width or self.app.size.width, room, timed=timed, priced=priced)
        rows = {model.name: _cells(model, headings, style, chosen=model.name == chosen) for model in models}
        if headings == self._headings and list(rows) == list(self._shown):
            self._update(rows)
        else:
            self._fill(headings, rows)
        self._shown, self._headings = rows, headings

    def mark(self, name: str) -> None:
        """Put the cursor on a model, if it is in the list."""
        if name in self._shown:
            self.move_cursor(row=self.get_row_index(name), animate=False)

    def _update(self, rows: dict[str, list[Text]]) -> None:
        for name, cells in rows.items():
            for (key, _, _), cell, before in zip(self._headings, cells, self._shown[name], strict=True):
                if cell != before or cell.spans != before.spans:
                    self.update_cell(name, key, cell)

    def _fill(self, headings: list[tuple[str, str, int]], rows: dict[str, list[Text]]) -> None:
        marked = self.marked
        with self.prevent(DataTable.RowHighlighted):
            self.clear(columns=True)
            for key, heading, width in headings:
                self.add_column(Text(heading, no_wrap=True), width=width, key=key)
            for name, cells in rows.items():
                self.add_row(*cells, key=name)
            if marked in rows:
                self.move_cursor(row=self.get_row_index(marked), animate=False)
        if rows:
            at = self.coordinate_to_cell_key(self.cursor_coordinate).row_key
            self.post_message(DataTable.RowHighlighted(self, self.cursor_row, at))


def begins_search(character: str) -> bool:
    """Whether a key that is pressed in the list is the beginning of a search."""
    return character.isalpha() or character in "._~-"


def _headings(width: int, room: int | None, *, timed: bool, priced: bool) -> list[tuple[str, str, int]]:
    """The columns that fit: key, heading, width. What is left makes the bars longer."""
    left = width - 1  # the scroll bar
    wanted = {"model", "size", "memory", "state"} | ({"time"} if timed else set()) | ({"cost"} if priced else set())
    used = sum(_WIDTHS[key] + _BESIDE for key in wanted)
    for key in ("cost", "time"):  # the panel tells them too
        if used > left and key in wanted:
            wanted.remove(key)
            used -= _WIDTHS[key] + _BESIDE
    for key in _WANTED:
        if used + _WIDTHS[key] + _BESIDE <= left:
            wanted.add(key)
            used += _WIDTHS[key] + _BESIDE
    longer = max(0, min(14, left - used))
    words = {"memory": f"GiB of {room / _GIB:.1f} free" if room is not None else "memory", "state": "where"}
    return [
        (key, words.get(key, key), _WIDTHS[key] + (longer if key == "memory" else 0)) for key in _ORDER if key in wanted
    ]


def _cells(
    model: Candidate, headings: list[tuple[str, str, int]], style: Callable[[str], str], *, chosen: bool
) -> list[Text]:
    star, dot = STAR if model.star else " ", CHOSEN if chosen else " "
    entry, outlook, name = model.entry, model.outlook, shown(model.name)
    texts = {
        "model": Text.assemble(
            (star, style("text-warning")), (dot, style("text-primary")), (name, "bold" if chosen else "")
        ),
        "family": Text(entry.family if entry else "–"),
        "size": Text(size_of(model.source.size), justify="right"),
        "state": Text(model.state or " "),
        "time": Text(duration(outlook.time.seconds) if outlook and outlook.time else " ", justify="right"),
        "cost": Text(money(outlook.cost) if outlook and outlook.cost is not None else " ", justify="right"),
        "licence": Text(entry.license if entry else "–"),
    }
    made = []
    for key, _, width in headings:
        cell = _memory(outlook, width - _FIGURES, style) if key == "memory" else texts[key]
        cell.no_wrap, cell.overflow = True, "ellipsis"
        if key == "model" and cell.cell_len > width and not entry:  # of a path the end tells more
            cell = Text(f"{star}{dot}…{name[3 - width :]}", no_wrap=True)
        cell.truncate(width, overflow="ellipsis")
        made.append(cell)
    return made


def _memory(outlook: Outlook | None, width: int, style: Callable[[str], str]) -> Text:
    """A bar of the estimated against the free memory, the estimate in GiB, and a word."""
    if outlook is None:
        return Text("…".rjust(width + 1))
    if outlook.problem:
        return Text("cannot".rjust(width + _FIGURES), style=style("text-error"))
    if outlook.needed is None:
        return Text("not known yet".rjust(width + _FIGURES))
    word, colour = _WORDS.get(outlook.verdict, ("", ""))
    part = min(1.0, outlook.needed / outlook.free) if outlook.free else 1.0
    filled = max(1, round(part * width))
    tone = style(colour) if colour else ""
    figure = f"{outlook.needed / _GIB:.1f}" if outlook.needed < 99.95 * _GIB else f"{outlook.needed / _GIB:.0f}"
    return Text.assemble(("█" * filled, tone), "·" * (width - filled), f" {figure:>4} ", (word, tone))
