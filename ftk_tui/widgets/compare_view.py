"""Prompts, the one that is asked, and two answers to it, beside or below each other."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from ..compare_look import Look, asked, line, panes
from .answer_pane import AnswerPane


class PromptList(OptionList, inherit_bindings=False):
    """A list that leaves Enter to the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "cursor_down", "Down", show=False),
        Binding("up", "cursor_up", "Up", show=False),
        Binding("home", "first", "First", show=False),
        Binding("end", "last", "Last", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
        Binding("pageup", "page_up", "Page up", show=False),
    ]


class CompareView(Horizontal):
    """Shows a `Look`; each part draws only what is another than before."""

    class Picked(Message):
        """Another prompt was chosen in the list."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[Text] = []

    def compose(self) -> ComposeResult:
        """The list of prompts at the left, where there is room; the prompt above its answers."""
        yield PromptList(id="prompts", markup=False)
        with Vertical(id="right"):
            with VerticalScroll(id="asked"):
                yield Static("", id="question", markup=False)
            with Horizontal(id="panes"):
                yield AnswerPane(id="one")
                yield AnswerPane(id="two")

    def show(self, look: Look) -> None:
        """Show what there is."""
        question, text = self.query_one("#question", Static), asked(look)
        if text != question.content:
            question.update(text)
            self.query_one("#asked", VerticalScroll).scroll_home(animate=False)
        for pane, shown in zip((self.query_one("#one", AnswerPane), self.query_one("#two", AnswerPane)), panes(look),
                               strict=True):  # fmt: skip
            pane.show(shown.title, shown.parts, shown.note, follow=look.writing)
        self._show_list(look)

    def _show_list(self, look: Look) -> None:
        options = self.query_one("#prompts", OptionList)
        if not options.display:
            return
        lines = [line(look, entry, place) for place, entry in enumerate(look.opened.sitting.entries)]
        if len(lines) < len(self._lines) or len(lines) - len(self._lines) > 1:
            options.clear_options()
            options.add_options([Option(text) for text in lines])
        else:
            for place, (before, text) in enumerate(zip(self._lines, lines, strict=False)):
                if before != text:
                    options.replace_option_prompt_at_index(place, text)
            options.add_options([Option(text) for text in lines[len(self._lines) :]])
        self._lines = lines
        if lines and options.highlighted != look.place:
            with options.prevent(OptionList.OptionHighlighted):
                options.highlighted = look.place

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Show the prompt that the cursor is on."""
        event.stop()
        self.post_message(self.Picked(event.option_index))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click only shows the prompt."""
        event.stop()
