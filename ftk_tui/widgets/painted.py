"""A widget that is painted line by line, and of a line only what changed: over a slow link, bytes are seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

Part = tuple[str, str]
"""Some text without line breaks, and the name of the component class that it is styled by; empty for the widget's."""
Row = list[Part]


class Painted(Widget):
    """Shows rows; `paint` compares them with those before and redraws only the cells that differ.

    A subclass says in `rows` what is to be seen, and calls `draw` when that may be something else. Nothing is worked
    out while it is not on the screen; when it comes there, or has another size, it is drawn.

    Component classes may set colours and bold or dim, but no background and no line under the text: a blank looks alike
    in all of them.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = set()

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: list[Row] = []
        self._cuts: dict[int, tuple[int, int]] = {}

    def rows(self, width: int, height: int) -> Sequence[Row]:
        """What is to be seen in so many cells and lines."""
        return self._rows

    def draw(self) -> None:
        """Show what is to be seen now, if the widget is on the screen."""
        size = self.content_size
        if size and self.is_on_screen:
            self.paint(self.rows(size.width, size.height)[: size.height])

    def on_resize(self) -> None:
        """Draw in the new size."""
        self.draw()

    def paint(self, rows: Sequence[Row]) -> None:
        """Show these rows from now on."""
        width = self.content_size.width
        regions = []
        for y in range(max(len(rows), len(self._rows))):
            before = self._rows[y] if y < len(self._rows) else []
            after = rows[y] if y < len(rows) else []
            if span := changed(before, after):
                begin, end = span[0], min(span[1], width)
                if begin < end:
                    regions.append(Region(begin, y, end - begin, 1))
                    self._cuts[y] = (begin, end)
        self._rows = list(rows)
        if regions:
            self.refresh(*regions)

    def shows(self) -> str:
        """The text that is shown, line by line."""
        return "\n".join("".join(text for text, _ in row).rstrip() for row in self._rows)

    def render_line(self, y: int) -> Strip:
        """A row in the styles of the theme that is chosen now, cut where a change begins and ends.

        The compositor sends whole segments, so that a change without a cut would send all that is styled alike.
        """
        width = self.content_size.width
        plain = self.rich_style
        row = self._rows[y] if y < len(self._rows) else []
        strip = Strip(
            [Segment(text, self.get_component_rich_style(name) if name else plain) for text, name in row if text]
        ).adjust_cell_length(width, plain)
        begin, end = self._cuts.get(y, (0, width))
        cuts = [cut for cut in (begin, end) if 0 < cut < width]
        return Strip.join(strip.divide([*cuts, width])) if cuts else strip


def changed(before: Row, after: Row) -> tuple[int, int] | None:
    """The cells in which two rows differ, from the first one to behind the last one; None if they look the same."""
    if before == after:
        return None
    (old, looks), (new, likes) = _cells(before), _cells(after)
    longest = max(len(old), len(new))
    old, new = old.ljust(longest), new.ljust(longest)
    looks += [""] * (longest - len(looks))
    likes += [""] * (longest - len(likes))

    def same(place: int) -> bool:
        return old[place] == new[place] and (looks[place] == likes[place] or old[place] == " ")

    begin = next((place for place in range(longest) if not same(place)), longest)
    if begin == longest:
        return None
    end = next(place for place in range(longest, 0, -1) if not same(place - 1))
    wide = max(cell_len(old), cell_len(new))
    if wide == longest:
        return begin, end
    return min(cell_len(old[:begin]), cell_len(new[:begin])), wide  # behind characters of two cells all may have moved


def _cells(row: Row) -> tuple[str, list[str]]:
    """The text of a row, and the style of each character."""
    styles: list[str] = []
    for text, name in row:
        styles += [name] * len(text)
    return "".join(text for text, _ in row), styles
