"""Asks which column is what; shows at once how the first row is read with that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Select, Static

from ftk.errors import FtkError

from .. import mapping
from ..mapping import MEANING, NOTHING, WAYS, Tried, Way
from ..text import shown
from .dialogs import Dialog

if TYPE_CHECKING:
    from ftk.data.recognise import Column

Background = Callable[[Callable[[], Any], Callable[[Any], object], Callable[[FtkError], object]], None]
_PARTS = tuple(dict.fromkeys(part for way in WAYS for part in (*way.needed, *way.optional)))
_MOST = 200
"""Columns that can be chosen from."""


class ColumnsDialog(Dialog[str]):
    """The answer is the setting `columns`, empty for the automatic way; None for nothing changed.

    Args:
        data: The setting `data`.
        columns: The setting `columns`.
        found: The columns there are.
        parts: What they are taken for now.
        background: Has something done in a thread; see `StepScreen.in_background`.

    """

    def __init__(
        self,
        data: str,
        columns: str | None,
        found: Mapping[str, Column],
        parts: Mapping[str, str],
        background: Background,
    ) -> None:
        super().__init__("Which column is what?")
        self._data, self._background = data, background
        self._found, self._parts = found, parts or _guess(found)
        self._way = mapping.way_of(columns) if columns or parts else WAYS[1]
        self._asked = ""
        self._well = False

    def compose_question(self) -> ComposeResult:
        """A line for the way, one for each part, the first row, and the buttons."""
        ways = [(way.title, way.name) for way in WAYS]
        with Horizontal(classes="line"):
            yield Static("A row is", classes="name", markup=False)
            yield Select(ways, value=self._way.name, allow_blank=False, compact=True, id="way")
        for part in _PARTS:
            with Horizontal(classes="line part", id=f"line-{part}"):
                yield Static(Text.assemble(part, (f"  {MEANING[part]}", "dim")), classes="name")
                yield Select(
                    self._choices(), value=self._first(part), allow_blank=False, compact=True, id=f"part-{part}"
                )
        with Vertical(classes="outcome"):
            yield Static("", id="outcome", markup=False)
        with Horizontal(classes="buttons"):
            yield Button("Use it", id="use", variant="primary", compact=True)
            yield Button("Cancel", id="cancel", compact=True)

    def _choices(self) -> list[tuple[Text, str]]:
        found = [(Text("(none)", "dim"), NOTHING)]
        for name, column in list(self._found.items())[:_MOST]:
            label = Text.assemble(shown(name).replace("\n", "\\n")[:40], (f"  {shown(_holds(column))}", "dim"))
            found.append((label, name))
        return found

    def _first(self, part: str) -> str:
        column = self._parts.get(part, NOTHING)
        return column if column in list(self._found)[:_MOST] else NOTHING

    def on_mount(self) -> None:
        """Show the parts of the way."""
        super().on_mount()
        self._show()

    def on_select_changed(self, event: Select.Changed) -> None:
        """Show the parts of the way, and what comes of it."""
        event.stop()
        if event.select.id == "way":
            self._way = next(way for way in WAYS if way.name == event.value)
        self._show()

    @property
    def _chosen(self) -> dict[str, str]:
        return {part: str(self.query_one(f"#part-{part}", Select).value) for part in _PARTS}

    def _show(self) -> None:
        self._pressed = False
        for part in _PARTS:
            self.query_one(f"#line-{part}").display = part in (*self._way.needed, *self._way.optional)
        if lacking := mapping.missing(self._way, self._chosen):
            self._asked, self._well = "", False
            self._say(lacking, well=False)
            return
        wanted = mapping.written(self._way, self._chosen)
        self._asked, self._well = wanted, False
        self._say("Reading the first row …", well=True)
        self._background(
            partial(mapping.tried, self._data, wanted), partial(self._tried, wanted, self._way), lambda error: None
        )

    def _tried(self, wanted: str, way: Way, found: Tried) -> None:
        if self.is_attached and (wanted, way) == (self._asked, self._way):
            self._well = found.well
            self._say(found.text, well=found.well)
            if found.well and self._pressed:
                self.dismiss(wanted)

    def _say(self, text: str, *, well: bool) -> None:
        label = self.query_one("#outcome", Static)
        label.set_class(not well, "-bad")
        label.update(shown(text))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take what was chosen, if a row can be read with it."""
        event.stop()
        if event.button.id != "use":
            self.dismiss(None)
        elif lacking := mapping.missing(self._way, self._chosen):
            self._say(lacking, well=False)
        elif self._well or self._way is WAYS[0]:
            self.dismiss(mapping.written(self._way, self._chosen))
        else:
            self._pressed = True  # taken as soon as the first row has been read


def _guess(found: Mapping[str, Column]) -> dict[str, str]:
    """What may be meant where nothing was recognised: the first two columns of text."""
    texts = [name for name, column in found.items() if column.is_text][:2]
    return dict(zip(("prompt", "response"), texts, strict=False)) if len(texts) == 2 else {}


def _holds(column: Column) -> str:
    """What a column holds, with the beginning of its first text."""
    first = " ".join(column.texts[0][:200].split())[:40] if column.texts else ""
    return f"{column.kinds}: {first}" if first else column.kinds
