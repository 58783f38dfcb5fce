"""One row: where it comes from, how long it is, and its text with what is learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from ftk.errors import FtkError

from .. import data_words
from ..data_words import Piece
from ..reading import Reading
from ..text import shown
from .row_view import BAR, RowView

if TYPE_CHECKING:
    from ftk.config import RunConfig
    from ftk.data.rows import Row
    from ftk.data.view import Views

    from ..data_work import Shelf

_WAIT_S = 0.2
"""So long a row is waited for as the model sees it, before it is shown turn by turn."""


class RowPane(Vertical):
    """Shows a row of what is being read."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.place = 0
        """The row that is shown, from 0."""
        self._row: tuple[Shelf, int, Row] | None = None
        self._drawn = ""
        self._late = True

    def compose(self) -> ComposeResult:
        """A line about the row, and the row."""
        yield Static(id="head", markup=False)
        yield Static(id="said", markup=False)
        yield RowView(id="row")

    def go(self, place: int, reading: Reading, config: RunConfig) -> None:
        """Show the row of a place, or the nearest there is."""
        self.place = min(max(place, 0), max(len(reading.shelf) - 1, 0))
        self._late = False
        self.set_timer(_WAIT_S, lambda: self._in_time(reading, config))
        self.show(reading, config)

    def _in_time(self, reading: Reading, config: RunConfig) -> None:
        self._late = True
        self.show(reading, config)

    def show(self, reading: Reading, config: RunConfig) -> None:
        """Show the row as far as it is known by now."""
        view = self.query_one(RowView)
        if not len(reading.shelf):
            self._drawn = ""
            self._update("#head", Text("Rows"))
            self._update("#said", Text())
            view.show(_instead(reading))
            return
        self.place = min(self.place, len(reading.shelf) - 1)
        row = self._row_of(reading)
        found = reading.seen(row)
        self._update("#head", self._about(row, reading))
        self._update("#said", _how(row, found, reading, config))
        if found is None and not self._late and reading.why_unseen(row) == "":
            return  # it comes at once
        view.show(_pieces(row, found, config), stay=row.origin == self._drawn)
        self._drawn = row.origin

    def _row_of(self, reading: Reading) -> Row:
        """The row, read once: it may be long."""
        if self._row is None or self._row[0] is not reading.shelf or self._row[1] != self.place:
            self._row = (reading.shelf, self.place, reading.shelf.row(self.place))
        return self._row[2]

    def _update(self, name: str, text: Text) -> None:
        label = self.query_one(name, Static)
        if text != label.content:
            label.update(text)

    def _about(self, row: Row, reading: Reading) -> Text:
        """Which row it is."""
        many = len(reading.shelf)
        total = f"{many:,}" if reading.checked else f"the first {many:,}"
        text = Text.assemble((f"Row {self.place + 1:,} of {total}", "bold"), f"  {shown(row.origin)[:120]}")
        if side := reading.shelf.side(self.place):
            text.append(f"  {side}", "bold" if side == "held out" else "")
        return text


def _how(row: Row, found: Views | FtkError | None, reading: Reading, config: RunConfig) -> Text:
    """How it is shown."""
    if isinstance(found, FtkError):
        said = f"refused: {found.message}"
    elif found is not None:
        said = data_words.tokens_said(found, data_words.named(config.model))
    else:
        said = reading.why_unseen(row)
    return Text.assemble((BAR, "bold"), f" is learnt.  {shown(said)[:200]}")


def _pieces(row: Row, found: Views | FtkError | None, config: RunConfig) -> list[Piece]:
    if isinstance(found, FtkError):
        return [Piece(f"{found}\n\n", "note"), *data_words.as_written(row, config)]
    return data_words.as_written(row, config) if found is None else data_words.as_seen(found)


def _instead(reading: Reading) -> list[Piece]:
    """What is shown where there are no rows: why, and what to do."""
    if reading.problem is None:
        return [Piece("The first rows come here.", "role")]
    pieces = [Piece(f"{reading.problem.message}\n", "note")]
    if reading.problem.hint:
        pieces.append(Piece(f"\n{data_words.in_app(reading.problem.hint)}.\n", "text"))
    if reading.columns:
        pieces.append(Piece("\nHere, c says which column is what.", "text"))
    return [*pieces, Piece("\no chooses other data.", "text")]
