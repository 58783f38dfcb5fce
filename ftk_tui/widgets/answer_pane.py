"""An answer under its name: it grows while a model writes, is scrolled by keys, and shows where another one differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType

from ..text import shown
from .painted import Painted, Part, Row
from .wrapping import wrap


class AnswerPane(Painted, can_focus=True):
    """Shows one answer; over a slow link only what is new is sent.

    The words in which two answers differ are underlined, those of the first one in one colour, those of the second in
    bold and another, so that they are told apart without colours too.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "pane--title", "pane--focus", "pane--first", "pane--second", "pane--note", "pane--error",
    }  # fmt: skip
    DEFAULT_CSS = """
    AnswerPane {
        height: 1fr;
        width: 1fr;
        .pane--title { text-style: bold; color: $text-primary; }
        .pane--focus { text-style: bold reverse; color: $text-primary; }
        .pane--first { text-style: underline; color: $text-warning; }
        .pane--second { text-style: bold underline; color: $text-success; }
        .pane--note { color: $text-muted; }
        .pane--error { color: $text-error; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "scroll(1)", "Line down", show=False),
        Binding("up", "scroll(-1)", "Line up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("home", "scroll(-1000000)", "Begin", show=False),
        Binding("end", "scroll(1000000)", "End", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title = self._note = ""
        self._parts: Sequence[Part] = ()
        self._top: int | None = 0
        self._lines = 0

    def show(self, title: str, parts: Sequence[Part], note: str = "", *, follow: bool = False) -> None:
        """Show an answer.

        Args:
            title: Whose it is.
            parts: Its text, safe to print, with names of styles: ``pane--first`` and so on, or none.
            note: What is to be known of it, at the right of the title.
            follow: Keep its end in sight, because it grows.

        """
        if title != self._title or not parts:
            self._top = 0
        if follow:
            self._top = None
        elif self._top is None:
            self._top = 0
        self._title, self._parts, self._note = title, parts, note
        self.draw()

    @property
    def _room(self) -> int:
        return max(1, self.content_size.height - 1)

    def _begin(self) -> int:
        """The first line that is shown."""
        last = max(0, self._lines - self._room)
        return last if self._top is None else min(self._top, last)

    def rows(self, width: int, height: int) -> list[Row]:
        """The title, and as much of the answer as there is room for; the last line says what is below."""
        lines = wrap([(text.replace("\t", "    "), style) for text, style in self._parts], max(1, width - 2))
        self._lines = len(lines) if self._parts else 0
        begin, room = self._begin(), max(1, height - 1)
        seen: list[Row] = [[(" ", ""), *line] for line in lines[begin : begin + room]] if self._parts else []
        below = self._lines - begin - room
        if below > 0 and self._top is not None and seen:
            seen[-1] = [(f" ↓ {below + 1} more lines", "pane--note")]
        return [self._head(width, begin), *seen]

    def _head(self, width: int, begin: int) -> Row:
        title = f" {shown(self._title)} ".replace("\n", " ")
        above = f"↑ {begin}" if begin and self._top is not None else ""
        note = "  ".join(filter(None, (above, shown(self._note).replace("\n", " "))))
        while cell_len(title) > width - 1 and len(title) > 2:
            title = title[:-1]
        room = width - cell_len(title) - cell_len(note) - 2
        style = "pane--focus" if self.has_focus else "pane--title"
        if room < 1:
            return [(title, style), ("─" * (width - cell_len(title)), "pane--note")]
        tail = [(f" {note}", "pane--note"), (" ", "")] if note else [("──", "pane--note")]
        return [(title, style), ("─" * room, "pane--note"), *tail]

    # Scrolling

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave the arrows to the screen where there is nothing to scroll."""
        if action in ("scroll", "page"):
            return self._lines > self._room
        return True

    def action_scroll(self, lines: int) -> None:
        """Scroll by some lines."""
        top = self._begin() + lines
        self._top = min(max(top, 0), max(0, self._lines - self._room))
        self.draw()

    def action_page(self, pages: int) -> None:
        """Scroll by whole pages, of which a line stays in sight."""
        self.action_scroll(pages * max(1, self._room - 1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll by the wheel."""
        event.stop()
        self.action_scroll(2)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll by the wheel."""
        event.stop()
        self.action_scroll(-2)

    def on_focus(self) -> None:
        """Show where the keys go."""
        self.draw()

    def on_blur(self) -> None:
        """Show where the keys go."""
        self.draw()
