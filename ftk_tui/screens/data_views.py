"""What the Dataset screen shows, and how it goes from view to view; what can be done there is in `dataset`."""

from __future__ import annotations

from functools import partial

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import OptionList, Static

from ftk.errors import FtkError

from .. import data_words
from ..colours import style
from ..reading import Reading
from ..text import shown
from ..widgets.finding_list import FindingList
from ..widgets.lengths import Lengths
from ..widgets.row_pane import RowPane
from ..widgets.row_view import RowView
from ..widgets.source_pane import ChoiceList, SourcePane, SpecField
from ..widgets.tabs import Tab, Tabs
from .base import StepScreen

VIEWS = ("source", "rows", "findings", "lengths")
_DOING = {
    "look": "Reading the first rows", "read": "Reading all rows", "measure": "Measuring", "check": "Checking",
    "tokenise": "Counting tokens", "tokenizer": "Loading the tokenizer", "time": "Working out the time",
}  # fmt: skip


class DataViews(StepScreen):
    """How the data is read, its rows, the findings, the lengths, and what a run would make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = Reading(self.in_background, self.show)

    def compose_body(self) -> ComposeResult:
        """How the data is read, what goes on, the views, and what follows."""
        yield Static(id="about", markup=False)
        yield Tabs(id="tabs")
        with Horizontal(id="middle"):
            yield SourcePane(id="source")
            with Horizontal(id="panes"):
                yield RowPane(id="rows", classes="pane")
                with Vertical(id="right"):
                    with Vertical(id="findings", classes="pane"):
                        yield Static("Findings", classes="title", markup=False)
                        yield FindingList()
                        yield Static(id="advice", markup=False)
                    with Vertical(id="lengths", classes="pane"):
                        yield Static("Lengths", classes="title", markup=False)
                        yield Lengths()
        yield Static(id="schedule", markup=False)

    # What is shown

    @property
    def _pane(self) -> SourcePane:
        return self.query_one(SourcePane)

    @property
    def _rows(self) -> RowPane:
        return self.query_one(RowPane)

    def show(self) -> None:
        """Bring everything up to date; each part draws only what is another than before."""
        if not self.entered:
            return
        reading, settings = self.reading, self.wizard.settings
        self._show_doing()
        self._update("#about", self._about())
        self._update("#schedule", self._schedule())
        self._pane.show(settings.data, short(reading.problem) if not reading.look else "")
        self._rows.show(reading, settings)
        self._show_findings()
        self.query_one(Lengths).show(reading.statistics, reading.lengths_note)
        self._show_tabs()
        self.refresh_bindings()

    def _update(self, name: str, text: Text) -> None:
        label = self.query_one(name, Static)
        if text != label.content:
            label.update(text)

    def _show_doing(self) -> None:
        """Say in the line above the last ones what goes on."""
        done, total = self.reading.far
        far = f" {min(done / total, 1):.0%}" if total and self.reading.busy else ""
        name = _DOING.get(self.reading.doing, "") if self.reading.busy else ""
        label = self.query_one("#schedule", Static)
        title = f"{name}{far}" + (" …" if name else "")
        if label.border_title != title:
            label.border_title = title

    def _about(self) -> Text:
        """How the data is read, or what is wrong with it."""
        reading = self.reading
        called = shown(data_words.named(self.wizard.settings.data))
        bold = f"bold {style(self.app, 'text-error')}".strip()
        if reading.look is None:
            if reading.problem:
                return Text.assemble((f"✗ {called}", bold), "  cannot be used. ", ("o chooses other data.", "dim"))
            return Text.assemble((called, "bold"), "  is being looked at …")
        sources = reading.sources
        text = Text.assemble((called, "bold"), f"  {shown(data_words.what(sources, guessed=reading.checked is None))}")
        if said := data_words.read_as(sources):
            text.append("\nread as ", "dim").append(shown(said)[:400])
        if weights := data_words.weights(sources):
            text.append("\n").append(shown(weights)[:200])
        if reading.problem:
            text.append(f"\n✗ {shown(short(reading.problem))}", bold)
        return text

    def _schedule(self) -> Text:
        if found := self.reading.schedule:
            return Text(data_words.schedule_said(found, self.wizard.settings))
        return Text("How many steps follow is seen when the rows can be read.", "dim")

    def _show_findings(self) -> None:
        found = self.reading.findings
        listing = self.query_one(FindingList)
        listing.show(found, partial(style, self.app))
        self._show_advice()

    def _show_advice(self) -> None:
        marked = self.query_one(FindingList).marked
        text = data_words.advice(marked[0]) if marked else self.reading.findings_note
        self._update("#advice", Text(shown(text)))

    def _show_tabs(self) -> None:
        reading = self.reading
        where = f"{self._rows.place + 1:,}/{len(reading.shelf):,}" if len(reading.shelf) else ""
        self.query_one(Tabs).show(
            [
                Tab("source", "o", "Data"),
                Tab("rows", "r", "Rows", where),
                Tab("findings", "f", "Findings", reading.findings_count),
                Tab("lengths", "l", "Lengths", str(reading.statistics.get("unit", ""))),
            ],
            self._view,
        )

    # The views

    @property
    def _view(self) -> str:
        """The view that is shown where there is room for one."""
        if self.has_class("-at-source"):
            return "source"
        return next(name for name in VIEWS[1:] if self.has_class(f"-show-{name}"))

    @property
    def _roomy(self) -> bool:
        return self.has_class("-huge") and self.has_class("-tall")

    def action_view(self, name: str) -> None:
        """Show a view, and go there with the keys."""
        self.set_class(name == "source", "-at-source")
        if name != "source":
            for other in VIEWS[1:]:
                self.set_class(other == name, f"-show-{other}")
        self.show()
        self.call_after_refresh(self._arrive, name)

    def _arrive(self, name: str) -> None:
        """Draw what came into sight, and go there with the keys."""
        self.show()
        self._focus(name)

    def _focus(self, name: str) -> None:
        if self.focused is not None and isinstance(self.focused, SpecField) and name == "source":
            return
        widget = {
            "source": ChoiceList, "rows": RowView, "findings": FindingList, "lengths": RowView if self._roomy else None,
        }[name]  # fmt: skip
        if widget is not None:
            self.query_one(widget).focus()
        else:
            self.set_focus(None)

    def on_tabs_picked(self, event: Tabs.Picked) -> None:
        """Show the view that was clicked."""
        self.action_view(event.name)

    def action_next_view(self) -> None:
        """Show the next view."""
        self.action_view(VIEWS[(VIEWS.index(self._view) + 1) % len(VIEWS)])

    def action_open(self) -> None:
        """To the list of what can be chosen."""
        self.action_view("source")

    def action_type(self) -> None:
        """To the field for a name."""
        self.action_view("source")
        self.call_after_refresh(self._pane.field.focus)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Say what ftk does about the finding that is marked."""
        if isinstance(event.option_list, FindingList):
            self._show_advice()


def short(problem: FtkError | None) -> str:
    """The first words of an error."""
    if problem is None:
        return ""
    first = problem.message.strip().split("\n")[0]
    return shown(first if len(first) <= 300 else first[:299] + "…")
