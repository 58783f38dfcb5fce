"""The log of a run: what it told besides steps, filtered, as data and never as markup."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, get_args

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import RichLog

from ftk.events import Event, Failed, Finished, Phase, Started, Stopped

from ..event_words import PHASES, told
from ..text import shown

Filter = Literal["all", "warnings", "checkpoints"]
FILTERS: tuple[Filter, ...] = get_args(Filter)
_MOST = 2000
"""Lines that are kept on the screen; the journal has them all."""
_LONGEST = 2000
"""Characters of a line that are shown."""
_SIGNS = {"warning": "!", "failed": "✗", "finished": "✓", "stopped": "■", "checkpoint": "↓", "evaluation": "◆"}
_STYLES = {"warning": "yellow", "failed": "red", "finished": "green"}
_OF = {
    "warnings": frozenset({"warning", "failed"}),
    "checkpoints": frozenset({"checkpoint", "evaluation", "stopped", "finished"}),
}


def wanted(event: Event, kind: Filter) -> bool:
    """Whether a filter lets an event through, and there is a line to it."""
    return (kind == "all" or event.kind in _OF[kind]) and bool(words(event))


def words(event: Event) -> str:
    """An event in words; empty where it says nothing that belongs into a log."""
    if isinstance(event, Started):  # without its folder, which is long, and which the list of runs tells
        begin = f", on from step {event.resumed_from}" if event.resumed_from else ""
        return f"Run {event.run}: {event.model} on {event.data}{begin}"
    if isinstance(event, Phase):
        return f"{PHASES.get(event.name, event.name)} {event.detail}".rstrip()
    if isinstance(event, Failed):
        return f"Failed: {event.message} {event.hint}".rstrip()
    if isinstance(event, Stopped):
        return f"Stopped at step {event.step}: {event.reason}."
    if isinstance(event, Finished):
        return f"Finished after {event.step} steps. {told(event)}".rstrip()
    return told(event).removeprefix("Warning: ")


def line(event: Event) -> Text:
    """The line of an event: the time, a sign for what it is, and what it says."""
    text = shown(" ".join(words(event).split()))[:_LONGEST]
    at = time.strftime("%H:%M:%S", time.localtime(event.time))
    sign = _SIGNS.get(event.kind, " ")
    return Text.assemble((at, "dim"), f" {sign} ", (text, _STYLES.get(event.kind, "")), end="")


class EventLog(RichLog, can_focus=True):
    """Shows the log of a run; `f` changes the filter."""

    DEFAULT_CSS = """
    EventLog {
        background: transparent;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        height: 1fr;
        &:focus { background-tint: $foreground 5%; }
    }
    """

    class Filtered(Message):
        """Other lines are shown."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(
            id=id, classes=classes, max_lines=_MOST, wrap=True, markup=False, highlight=False, min_width=20
        )
        self.filter: Filter = "all"
        self._log: Sequence[Event] = ()
        self._shown = 0
        self._width = 0

    def show(self, log: Sequence[Event]) -> None:
        """Show a log as far as it is; the same one is only added to.

        Args:
            log: The events; a list that grows.

        """
        if log is not self._log or len(log) < self._shown:
            self._log, self._shown = log, 0
            self.clear()
        if not self.size.width:
            return  # it is not seen now, and would be wrapped for no width
        for event in log[max(self._shown, len(log) - _MOST) :]:
            if wanted(event, self.filter):
                self.write(line(event), width=self.scrollable_content_region.width)
        self._shown = len(log)

    def next_filter(self) -> None:
        """Show other lines: all, only warnings, only checkpoints."""
        self.filter = FILTERS[(FILTERS.index(self.filter) + 1) % len(FILTERS)]
        self._afresh()
        self.post_message(self.Filtered())

    def _afresh(self) -> None:
        self._shown = 0
        self.clear()
        self.show(self._log)

    def on_resize(self, event: events.Resize) -> None:
        """Break the lines anew for another width, and catch up when the log comes into sight."""
        if event.size.width != self._width:
            self._width = event.size.width
            self._afresh()
