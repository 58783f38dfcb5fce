"""What is known of a model: what it is, the memory it takes, and why each setting is what it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from ..candidates import Candidate, explain
from ..setting_fields import as_text
from ..text import shown
from .memory_view import MemoryView
from .spans import duration, money

if TYPE_CHECKING:
    from ftk.config import RunConfig

    from ..outlook import Outlook

_KEY, _VALUE = 23, 12
_BESIDE = 70
"""Columns from which the reasons stand beside the values."""
_OWN = ("model", "data", "compare", "template")
"""Settings that the screens show in other places."""


class ModelPanel(Vertical):
    """The model that is marked."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._told: object = None

    def compose(self) -> ComposeResult:
        """What it is; memory; reasons."""
        yield Static("", id="about", markup=False)
        yield MemoryView(id="memory")
        with VerticalScroll(id="reasons"):
            yield Static("", id="why", markup=False)

    def show(self, model: Candidate | None, settings: RunConfig, *, missing: str = "") -> None:
        """Show another model, or other settings.

        Args:
            model: The model; None where none is marked.
            settings: The settings that were chosen.
            missing: Why the rows that were chosen cannot be read, if they cannot.

        """
        memory = self.query_one(MemoryView)
        memory.visible = model is not None
        memory.show(model.outlook if model else None)
        width = self.query_one("#reasons").size.width or self.size.width
        if (model, settings, missing, width) == self._told:
            return
        self._told = (model, settings, missing, width)
        self.query_one("#about", Static).update(
            _about(model) if model else Text("No model is marked: none matches what was typed.")
        )
        outlook = model.outlook if model else None
        why = _reasons(outlook, settings, missing, width) if outlook else Text("…" if model else "")
        self.query_one("#why", Static).update(why)


def _about(model: Candidate) -> Text:
    """What it is called and where it is from; then line by line what matters about it here, the most first."""
    entry, outlook = model.entry, model.outlook
    text = Text.assemble((shown(model.title), "bold"))
    if entry:
        text.append(f"  {entry.hub}", "dim")
    if outlook and outlook.problem:
        return text.append(f"\n✗ {shown(' '.join(outlook.problem.split()))}")
    if model.star:
        text.append(f"\n★ recommended: {model.star}.")
    if outlook and outlook.time:
        span = outlook.time
        text.append(f"\nAbout {duration(span.seconds)} ({duration(span.low)} to {duration(span.high)})")
        text.append(f", {money(outlook.cost)}." if outlook.cost is not None else ".")
    facts = explain(model.state, model.source)
    return text.append(f"\n{facts}" if facts else "")


def _reasons(outlook: Outlook, settings: RunConfig, missing: str, width: int) -> Table | Text:
    """A line for each setting that was decided, and for each that was chosen."""
    if outlook.problem:
        return Text(f"✗ {shown(outlook.problem)}")
    rows = list(_lines(outlook, settings))
    if missing:
        rows.append(("data", "–", f"not read: {missing} A sample stands in.", False))
    return _beside(rows) if width >= _BESIDE else _below(rows, width)


def _lines(outlook: Outlook, settings: RunConfig) -> Iterator[tuple[str, str, str, bool]]:
    """Key, value, reason, and whether it was chosen."""
    from ftk.config import field_names

    for key in field_names():
        value = as_text(getattr(outlook.config, key)) or "auto"
        if key in _OWN:
            continue
        if key in outlook.reasons:
            yield key, value, outlook.reasons[key], False
        elif key in settings.model_fields_set and value != "auto":
            yield key, value, "chosen by you", True


def _beside(rows: Iterable[tuple[str, str, str, bool]]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, max_width=_VALUE, overflow="ellipsis")
    table.add_column()
    for key, value, reason, chosen in rows:
        table.add_row(Text(key), Text(shown(value), style="bold" if chosen else ""), Text(shown(reason)))
    return table


def _below(rows: Iterable[tuple[str, str, str, bool]], width: int) -> Text:
    """For narrow places: the reason on a line of its own."""
    text = Text()
    for key, value, reason, chosen in rows:
        short = Text(shown(value), style="bold" if chosen else "")
        short.truncate(max(8, width - _KEY - 2), overflow="ellipsis")
        text.append(f"{key:<{_KEY}}").append_text(short).append("\n")
        text.append(f"  {shown(reason)}\n", "dim")
    return text
