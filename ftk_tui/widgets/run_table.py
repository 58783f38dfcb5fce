"""The table of the runs, with a first line for a new one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from ..text import shown

if TYPE_CHECKING:
    from ftk.run_list import RunSummary

NEW = "+ new run"
_NEW_KEY = "/new"  # no run can be called so
_SIGNS = {
    "running": ("▶", "text-success"),
    "paused": ("‖", "text-warning"),
    "finished": ("✓", ""),
    "stopped": ("■", "text-warning"),
    "interrupted": ("!", "text-warning"),
    "failed": ("✗", "text-error"),
    "damaged": ("✗", "text-error"),
    "new": ("·", ""),
}
_WIDTHS = {"state": 13, "step": 11, "held-out loss": 14, "age": 4, "size": 9, "model": 22, "data": 26}
_LEAST = 16  # columns that a run's name gets at least


class RunTable(DataTable[Text]):
    """A run a line. Only what changed is drawn again, and the cursor stays on its run."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "scroll_top", "First run", id="runs.first", show=False),
        Binding("end", "scroll_bottom", "Last run", id="runs.last", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False)
        self._shown: dict[str, list[Text]] = {}
        self._headings: list[tuple[str, int]] = []

    @property
    def marked(self) -> str | None:
        """The name of the run that the cursor is on; None on the line of the new one."""
        if not self.row_count:
            return None
        key = self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value
        return None if key == _NEW_KEY else key

    def show(self, runs: Sequence[RunSummary], style: Callable[[str], str]) -> None:
        """Show some runs.

        Args:
            runs: The runs, in their order.
            style: The style for a colour of the theme.

        """
        headings = _headings(self.size.width or self.app.size.width)
        rows = {_NEW_KEY: _new(headings)} | {run.name: _cells(run, headings, style) for run in runs}
        if headings == self._headings and list(rows) == list(self._shown):
            self._update(rows)
        else:
            self._fill(headings, rows, runs)
        self._shown, self._headings = rows, headings

    def _update(self, rows: dict[str, list[Text]]) -> None:
        for key, cells in rows.items():
            for (heading, _), cell, before in zip(self._headings, cells, self._shown[key], strict=True):
                if cell != before or cell.spans != before.spans:
                    self.update_cell(key, heading, cell)

    def _fill(self, headings: list[tuple[str, int]], rows: dict[str, list[Text]], runs: Sequence[RunSummary]) -> None:
        first, marked = not self._shown, self.marked
        self.clear(columns=True)
        for heading, width in headings:
            self.add_column(heading, width=width, key=heading)
        for key, cells in rows.items():
            self.add_row(*cells, key=key)
        if first:  # what waits for somebody comes first
            marked = next((run.name for run in runs if run.state in ("running", "paused", "interrupted")), None)
        if marked in rows:
            self.move_cursor(row=self.get_row_index(marked), animate=False)


def _headings(width: int) -> list[tuple[str, int]]:
    """The columns that fit, with their widths; the name takes what is left."""
    wanted = ["state", "step", "held-out loss", "age"]
    if width >= 100:
        wanted.insert(0, "model")
    if width >= 140:
        wanted[1:1] = ["data"]
        wanted.append("size")
    name = width - sum(_WIDTHS[heading] + 2 for heading in wanted) - 4  # two beside every cell, and a scroll bar
    return [("name", max(_LEAST, min(64, name))), *((heading, _WIDTHS[heading]) for heading in wanted)]


def _new(headings: list[tuple[str, int]]) -> list[Text]:
    return [Text(NEW if heading == "name" else "", style="bold") for heading, _ in headings]


def _cells(run: RunSummary, headings: list[tuple[str, int]], style: Callable[[str], str]) -> list[Text]:
    from ..runs_report import age, size

    sign, colour = _SIGNS[run.state]
    total = f"/{run.total_steps}" if run.total_steps else ""
    texts = {
        "name": Text(shown(run.name).replace("\n", r"\n"), no_wrap=True, overflow="ellipsis"),
        "model": Text(shown(run.model), no_wrap=True, overflow="ellipsis"),
        "data": Text(shown(run.data), no_wrap=True, overflow="ellipsis"),
        "state": Text(f"{sign} {run.state}", style=style(colour) if colour else ""),
        "step": Text(f"{run.step}{total}" if run.step or total else "", justify="right"),
        "held-out loss": Text(_losses(run)),
        "age": Text("" if run.updated is None else age(time.time() - run.updated), justify="right"),
        "size": Text(size(run.bytes), justify="right"),
    }
    made = []
    for heading, width in headings:
        texts[heading].truncate(width, overflow="ellipsis")
        made.append(texts[heading])
    return made


def _losses(run: RunSummary) -> str:
    """Before and after; the training loss where nothing was held out."""
    if run.loss_before is not None:
        return f"{run.loss_before:.3f} → " + ("" if run.loss_after is None else f"{run.loss_after:.3f}")
    return "" if run.loss is None else f"train {run.loss:.3f}"
