"""A row of the data, to scroll through: what the loss counts has a bar beside it and is bold, in colours or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.console import Console
from rich.segment import Segment
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..data_words import Kind, Piece
from ..text import shown

BAR = "▌"
"""Stands beside lines with something that is learnt."""
_LINES = 3000
"""Lines of a row that are shown."""
_CLASSES: dict[Kind, str] = {"text": "", "learnt": "row--learnt", "role": "row--role", "note": "row--note"}
_GUTTER = 2


class RowView(ScrollView, can_focus=True):
    """Shows the pieces of a row, broken at the width there is.

    ``left`` and ``right`` ask for another row (`Turn`): nothing is ever wider than the view.
    """

    DEFAULT_CSS = """
    RowView {
        height: 1fr;
        padding: 0 0 0 1;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        &:focus { background-tint: $foreground 5%; }
        .row--learnt { color: $text-success; text-style: bold; }
        .row--role { color: $text-muted; text-style: italic; }
        .row--note { color: $text-warning; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"row--learnt", "row--role", "row--note"}
    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "turn(1)", "Next row", id="rows.right", show=False),
        Binding("left", "turn(-1)", "Row before", id="rows.left", show=False),
    ]

    class Turn(Message):
        """Another row is asked for, so many further."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._pieces: Sequence[Piece] = ()
        self._lines: list[Text] = []
        self._width = 0

    def action_turn(self, by: int) -> None:
        """Ask for another row."""
        self.post_message(self.Turn(by))

    def show(self, pieces: Sequence[Piece], *, stay: bool = False) -> None:
        """Show a row.

        Args:
            pieces: Its text.
            stay: Whether it is the same row as before, so that the place in it is kept.

        """
        if list(pieces) == list(self._pieces):
            return
        self._pieces = list(pieces)
        self._break()
        if not stay:
            self.scroll_home(animate=False, immediate=True)

    def shows(self) -> str:
        """The text that is shown, line by line."""
        return "\n".join(line.plain for line in self._lines)

    def on_resize(self, event: events.Resize) -> None:
        """Break the lines anew for another width."""
        if self.scrollable_content_region.width != self._width:
            self._break()

    def _break(self) -> None:
        self._width = self.scrollable_content_region.width
        self._lines = broken(self._pieces, self._width, self.app.console) if self._width else []
        self.virtual_size = Size(self._width, len(self._lines))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """A line in the styles of the theme that is chosen now."""
        plain = self.rich_style
        place = y + self.scroll_offset.y
        if place >= len(self._lines):
            return Strip.blank(self.size.width, plain)
        line = self._lines[place]
        segments = []
        at = 0
        for span in [*line.spans, None]:
            begin, end, name = (span.start, span.end, str(span.style)) if span else (len(line), len(line), "")
            if at < begin:
                segments.append(Segment(line.plain[at:begin], plain))
            if begin < end:
                segments.append(Segment(line.plain[begin:end], self.get_component_rich_style(name)))
            at = max(at, end)
        return Strip(segments).adjust_cell_length(self.size.width, plain)


def broken(pieces: Sequence[Piece], width: int, console: Console) -> list[Text]:
    """The lines of a row, each with its bar or blanks before it; spans are named after component classes.

    Args:
        pieces: The row.
        width: Cells of a line.
        console: Measures the text.

    """
    whole = Text(end="", tab_size=4)
    for piece in pieces:
        whole.append(shown(piece.text), _CLASSES[piece.kind])
    room = max(1, width - _GUTTER)
    lines = list(whole.wrap(console, room, overflow="fold"))
    more = len(lines) > _LINES
    marked = _marked(lines[:_LINES])
    bar, blank = Text(f"{BAR} ", "row--learnt"), Text("  ")
    made = []
    for line, learnt in zip(lines, marked, strict=False):
        line.rstrip()
        made.append(Text.assemble(bar if learnt else blank, line))
    return [*made, Text("  ⋯ more lines ⋯", "row--note")] if more else made


def _marked(lines: Sequence[Text]) -> list[bool]:
    """Which lines have something that is learnt; an empty one between two of them counts as well."""
    marks: list[bool] = []
    gap = 0
    for line in lines:
        learnt = any(span.style == "row--learnt" for span in line.spans)
        if not line.plain.strip():
            gap += 1
            marks.append(False)
            continue
        if learnt and gap and len(marks) > gap and marks[-gap - 1]:
            marks[-gap:] = [True] * gap
        gap = 0
        marks.append(learnt)
    return marks
