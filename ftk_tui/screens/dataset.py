"""Dataset: choose the rows, see them as the model does, see what is wrong with them and what follows from them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType

from ftk.errors import ConfigError

from .. import choices
from ..data_work import UnrecognisedError
from ..reading import Stage
from ..text import shown
from ..widgets.finding_list import FindingList
from ..widgets.row_view import RowView
from ..widgets.source_pane import SourcePane
from .data_views import DataViews, short

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..choices import Choice, Folder

_ROW = Binding.Group("Row", compact=True)
_TICK_S = 0.5


class DatasetScreen(DataViews):
    """What is chosen, its rows, the findings, the lengths, and what a run would make of it."""

    step = "dataset"
    ABOUT = (
        "A row is one example: what the model is asked, and what it shall answer. Choose a sample, a file, a folder "
        "or a data set of the Hub; the format and the meaning of the columns are recognised, and c changes them. Rows "
        "are shown as the model sees them, with the marks of its chat template; what it learns is bold with a bar "
        "beside it, the rest is only read. The checks look at every row: errors (✗) stop a run before it begins, "
        "warnings (!) are for you to judge. Some rows are held out: never trained on, to measure with. Good rows do "
        "more for the result than any setting."
    )
    CSS_PATH = "dataset.tcss"
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "open", "Other data", id="data.open", show=False, tooltip="Samples, files, names"),
        Binding("v", "next_view", "View", id="data.view", tooltip="Data, rows, findings, lengths"),
        Binding("n", "turn(1)", "Next row", id="data.next_row", group=_ROW),
        Binding("p", "turn(-1)", "Row before", id="data.previous_row", group=_ROW),
        Binding(
            "g",
            "go_to",
            "Go to a row",
            id="data.go_to",
            show=False,
            tooltip="By its number, or by the line of the file",
        ),
        Binding("c", "columns", "Columns", id="data.columns", tooltip="Say which column is what"),
        Binding("e", "settings", "Settings", id="data.settings", tooltip="What is held out, lengths, steps"),
        Binding("k", "check", "Check all", id="data.check", tooltip="Read and check all rows; x cancels"),
        Binding("x", "cancel", "Cancel", id="data.cancel", tooltip="Read no further"),
        Binding("slash", "type", "Type a name", id="data.type", show=False),
        Binding("r", "view('rows')", "Rows", id="data.rows", show=False),
        Binding("f", "view('findings')", "Findings", id="data.findings", show=False),
        Binding("l", "view('lengths')", "Lengths", id="data.lengths", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._asked_for = False  # a person chose this data just now, and has not seen it yet

    def on_mount(self) -> None:
        """Begin where somebody who has chosen nothing yet begins: with the choice."""
        self.set_class(True, "-show-rows")
        self.set_class("data" not in self.wizard.chosen, "-at-source")
        self._timer = self.set_interval(_TICK_S, self._tick, pause=True)

    def on_unmount(self) -> None:
        """Have nothing read any further."""
        self.reading.cancel()

    # When something is shown

    def on_entered(self) -> None:
        """See whether the settings are others than the last time."""
        self._timer.resume()
        first = self.focused is None
        self._sync()
        if first:
            self._focus(self._view)
        if not self._pane.choices.option_count:
            self._pane.ask()

    def on_screen_suspend(self) -> None:
        """Draw nothing while another screen is shown."""
        self._timer.pause()

    def on_settings(self, changed: frozenset[str]) -> None:
        """Look at the data again, as far as it depends on what changed."""
        self._sync()

    def on_hardware(self) -> None:
        """The time can be told now."""
        self._sync()

    def _sync(self) -> None:
        self.reading.want(self.wizard.settings, self.ftk.hardware)
        self.show()

    def _tick(self) -> None:
        if self.reading.busy:
            self._show_doing()

    def on_resize(self) -> None:
        """Keep the focus on something that is seen."""
        if self.entered:
            self.call_after_refresh(self._see_focus)

    def _see_focus(self) -> None:
        if self.focused is None or not self.focused.is_on_screen:
            self._focus(self._view)
        self.show()

    def show(self) -> None:
        """Bring everything up to date; go to the rows when there are some of what was chosen just now."""
        if self.entered and self.reading.look and self._asked_for:
            self._taken()
        super().show()

    def _taken(self) -> None:
        """Go to the rows of what was chosen just now, and remember it."""
        self._asked_for = False
        self._rows.place = 0
        self.action_view("rows")
        kept = choices.remembered(self.ftk.preferences.data, self.wizard.settings.data)
        if kept != self.ftk.preferences.data:
            self.ftk.preferences.data = kept
            self.in_background(self.ftk.preferences.store, lambda _: self._pane.ask())

    # Choosing

    def on_source_pane_wanted(self, event: SourcePane.Wanted) -> None:
        """List a folder in a thread."""
        kept = list(self.ftk.preferences.data)
        self.in_background(partial(_choices, kept, event.folder, event.wanted), self._listed)

    def _listed(self, found: tuple[list[Choice], list[Choice], Folder, str]) -> None:
        self._pane.listed(*found)

    def on_source_pane_chosen(self, event: SourcePane.Chosen) -> None:
        """Take other data; which column is what is recognised anew."""
        self.choose(event.spec)

    def choose(self, spec: str) -> None:
        """Take some data set and look at it."""
        self._asked_for = True
        if spec == self.wizard.settings.data:
            self.wizard.choose(data=spec)
            self.reading.again()
            self._sync()
            return
        try:
            self.wizard.choose(data=spec, columns=None)
        except ConfigError as error:
            self._asked_for = False
            self._pane.refuse(str(error))

    # The rows

    def on_row_view_turn(self, event: RowView.Turn) -> None:
        """Show another row."""
        self.action_turn(event.by)

    def action_turn(self, by: int) -> None:
        """Show the row that lies so many further."""
        self._to(self._rows.place + by)

    def _to(self, place: int) -> None:
        if not self._roomy and self._view != "rows":
            self.action_view("rows")
        self._rows.go(place, self.reading, self.wizard.settings)
        self._show_tabs()
        self.refresh_bindings()

    def on_finding_list_asked(self, event: FindingList.Asked) -> None:
        """Show the row behind a finding."""
        place = self.reading.shelf.find(event.origin)
        if place is None:
            self.notify(f"{shown(event.origin)} is not among the rows.", severity="warning", markup=False)
            return
        self._to(place)
        self.call_after_refresh(self._focus, "rows")

    def action_go_to(self) -> None:
        """Ask for a row."""
        from .data_dialogs import GoTo

        if len(self.reading.shelf):
            self.app.push_screen(GoTo(self.reading.shelf), self._gone_to)

    def _gone_to(self, answer: str | None) -> None:
        if answer is not None and (place := self.reading.shelf.at(answer)) is not None:
            self._to(place)

    # Settings

    def action_columns(self) -> None:
        """Ask which column is what."""
        from .columns import ColumnsDialog

        reading, settings = self.reading, self.wizard.settings
        dialog = ColumnsDialog(settings.data, settings.columns, reading.columns, reading.parts, self.in_background)
        self.app.push_screen(dialog, self._mapped)

    def _mapped(self, answer: str | None) -> None:
        if answer is not None:
            self._asked_for = True
            self.wizard.choose(columns=answer or None)

    def action_settings(self) -> None:
        """Ask what is held out, how long rows may be, and how many steps there are."""
        from .data_settings import DataSettingsDialog

        self.app.push_screen(DataSettingsDialog(self.wizard.settings), self._set)

    def _set(self, answer: dict[str, object] | None) -> None:
        if answer:
            self.wizard.choose(**answer)

    def action_check(self) -> None:
        """Read and check all rows."""
        self.reading.ask()
        self.show()

    def action_cancel(self) -> None:
        """Read no further."""
        self.reading.stop()
        self.show()

    # Onwards

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key does anything now."""
        reading = self.reading
        if action == "turn":
            place = self._rows.place + int(str(parameters[0])) if self.entered else -1
            return True if 0 <= place < len(reading.shelf) else None
        allowed = {
            "go_to": len(reading.shelf) > 1,
            "columns": bool(reading.columns),
            "check": reading.look is not None and reading.checked is None and not reading.busy and not reading.problem,
            "cancel": reading.stage in (Stage.CHECK, Stage.COUNT),
            "next_view": not self._roomy,
        }  # fmt: skip
        if action in allowed:
            return allowed[action]
        return super().check_action(action, parameters)

    def why_not_next(self) -> str:
        """What is missing before a run can begin."""
        reading = self.reading
        if reading.look is not None:
            return ""
        if reading.problem:
            more = " c says which column is what." if isinstance(reading.problem, UnrecognisedError) else ""
            return f"These rows cannot be used yet: {short(reading.problem)}{more}"
        return "The rows are being looked at."

    def action_next(self) -> None:
        """On to Train; asks first where a run would be refused."""
        reading = self.reading
        if reading.look is not None and reading.refusals:
            from .data_dialogs import Refusals

            self.app.push_screen(Refusals(reading.refusals), self._after_refusals)
        else:
            super().action_next()

    def _after_refusals(self, answer: str | None) -> None:
        if answer == "s":
            self.wizard.choose(skip_bad=sum(f.count for f in self.reading.refusals if f.code == "unreadable"))
        elif answer == "f":
            self.action_view("findings")
        elif answer == "t":
            super().action_next()


def _choices(kept: Sequence[str], folder: Path, wanted: str) -> tuple[list[Choice], list[Choice], Folder, str]:
    return choices.samples(), choices.recent(kept), choices.listed(folder, wanted), wanted
