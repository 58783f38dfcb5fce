"""The runs here: go on with one, follow, compare, look at, delete it; or begin a new one."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Static

from ftk.errors import FtkError

from ..colours import style
from ..text import shown
from ..widgets.run_table import RunTable
from .base import StepScreen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftk.events import Event
    from ftk.resume import Resumption
    from ftk.run_list import RunSummary

_LOOK_EVERY_S = 5.0
"""Seconds between two looks at the runs of other processes."""
_MOST = 500
"""Runs that are shown; `ftk runs` lists them all."""
GOING_ON = ("running", "paused")
TO_CONTINUE = ("interrupted", "stopped", "failed", "new")


class HomeScreen(StepScreen):
    """The runs here, newest first, and the way to a new one."""

    step = "home"
    ABOUT = (
        "A run is one training from beginning to end, with everything it made, in a folder of its own. "
        "Enter does what suits the run that is marked: continues an interrupted one, follows one that goes on in "
        "another process, compares base and tuned model of a finished one. The first line begins a new run."
    )
    CSS_PATH = "home.tcss"
    AUTO_FOCUS = "RunTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", id="home.new", tooltip="Begin a new run"),
        Binding("c", "continue", "Continue", id="home.continue", tooltip="Go on with the run where it stopped"),
        Binding("f", "follow", "Follow", id="home.follow", tooltip="Show the run while another process carries it out"),
        Binding("o", "compare", "Compare", id="home.compare", tooltip="Ask base and tuned model side by side"),
        Binding("i", "details", "Details", id="home.details", tooltip="Settings, losses, checkpoints of the run"),
        Binding("d,delete", "delete", "Delete", id="home.delete", tooltip="Remove the run with all it holds; asks"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[RunSummary] | None = None
        self._hidden = 0
        """How many runs are not shown."""
        self._looking = False
        self._doing = ""
        """What a thread is doing with a run, in words."""

    def compose_body(self) -> ComposeResult:
        """The machine, the runs, and what can be said of the one that is marked."""
        yield Static("", id="machine", markup=False)
        yield RunTable()
        yield Static("", id="about", markup=False)

    def on_mount(self) -> None:
        """Look at the runs of other processes from time to time."""
        self.set_interval(_LOOK_EVERY_S, self._look)

    def on_entered(self) -> None:
        """Look at the runs, after what is there is on the screen."""
        self.on_hardware()
        self._describe()
        self.call_after_refresh(self._look)

    def on_hardware(self) -> None:
        """Say what machine this is."""
        machine = self.ftk.hardware
        words = machine.summary if machine else "looking …"
        remarks = [f"! {remark}" for remark in machine.remarks] if machine else []
        self.query_one("#machine", Static).update("\n".join([f"This machine: {words}", *remarks]))

    def on_events(self, events: Sequence[Event]) -> None:
        """Look again when the run of this process begins or ends."""
        if any(event.kind in ("started", "finished", "stopped", "failed") for event in events):
            self._look()

    # The list

    def _look(self) -> None:
        if self.is_current and not self._looking:
            self._looking = True
            self.in_background(_all_runs, self._show, self._unseen)

    def _show(self, runs: list[RunSummary]) -> None:
        self._looking = False
        self._runs, self._hidden = runs[:_MOST], len(runs[_MOST:])
        self.query_one(RunTable).show(self._runs, partial(style, self.app))
        self._describe()

    def _unseen(self, error: FtkError) -> None:
        self._looking = False
        self.complain(error)

    @property
    def marked(self) -> RunSummary | None:
        """The run that the cursor is on; None for the line of the new one."""
        name = self.query_one(RunTable).marked
        return next((run for run in self._runs or () if run.name == name), None)

    def on_data_table_row_highlighted(self) -> None:
        """Say what is known of the run, and which keys work on it."""
        self._describe()
        self.refresh_bindings()

    def on_resize(self) -> None:
        """Show more columns where there is room."""
        if self._runs is not None:
            self.query_one(RunTable).show(self._runs, partial(style, self.app))

    def _describe(self) -> None:
        about, run = self.query_one("#about", Static), self.marked
        if self._doing:
            about.update(self._doing)
        elif self._runs is None:
            about.update("Looking at the runs here …")
        elif run is None:
            first = "" if self._runs else "No runs here yet. "
            older = f"\nNot shown: {self._hidden} older ones: `ftk runs` lists all." if self._hidden else ""
            about.update(f"{first}Enter begins one: choose a model and data, train, compare what was learnt.{older}")
        else:
            about.update(_about(run, own=self._own(run)))

    # What can be done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show the keys that make sense for the run that is marked."""
        if action in ("continue", "follow", "compare", "details", "delete"):
            run = self.marked if self.entered else None
            state = run.state if run else ""
            return {
                "continue": state in TO_CONTINUE,
                "follow": state in GOING_ON,
                "compare": state in ("finished", "stopped"),
                "details": bool(state),
                "delete": bool(state) and state not in GOING_ON,
            }[action]
        if action == "next":
            return False  # Enter is the table's
        return super().check_action(action, parameters)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Do the obvious thing."""
        run = self.marked
        if run is None:
            self.action_new()
        elif run.state in GOING_ON:
            self.action_follow()
        elif run.state == "finished":
            self.action_compare()
        elif run.state in TO_CONTINUE and run.state != "failed":
            self.action_continue()
        else:
            self.action_details()

    def action_new(self) -> None:
        """To the first step of a new run."""
        self.ftk.go("model")

    def action_follow(self) -> None:
        """Show the run that goes on."""
        if (run := self.marked) and self._follow(run):
            self.ftk.go("train")

    def action_compare(self) -> None:
        """Ask base and tuned model of a finished run."""
        if (run := self.marked) and (self.session.busy or self._follow(run)):
            self.wizard.run = run.name
            self.ftk.go("compare")

    def _follow(self, run: RunSummary) -> bool:
        """Show a run on the screens that follow; says so where that cannot be."""
        from ftk.runs import RunFolder

        if not self._own(run):
            if self.session.busy:
                self._busy()
                return False
            self.session.follow(RunFolder(run.path))
        self.wizard.run = run.name
        return True

    def _own(self, run: RunSummary) -> bool:
        """Whether this process carries the run out, or did and still has its model."""
        mine = self.session.run if self.session.own else None
        return mine is not None and mine.path == run.path

    def _busy(self) -> None:
        self.notify("A run of this app goes on: 3 shows it. Stop it first.", severity="warning")

    def action_continue(self) -> None:
        """See whether the run can be gone on with, then ask."""
        if run := self.marked:
            self._prepare(run)

    def _prepare(self, run: RunSummary, *, override: bool = False) -> None:
        if self.session.busy:
            self._busy()
        elif not self._doing:
            self.ftk.make_room()
            self._doing = f"Looking at the settings, the rows and the checkpoints of {shown(run.name)} …"
            self._describe()
            self.in_background(
                partial(_prepared, run, override=override), partial(self._ask, run), partial(self._refused, run)
            )

    def _ask(self, run: RunSummary, found: Resumption) -> None:
        from .continuing import Continue

        self._done()
        self.app.push_screen(Continue(run, found), partial(self._continue, found))

    def _continue(self, found: Resumption, answer: str | None) -> None:
        if answer != "y":
            return
        if self.session.busy:
            self._busy()
            return
        self.session.start(found.plan, resume=found.run, remarks=found.remarks)
        self.wizard.run = found.run.name
        self.ftk.go("train")

    def _refused(self, run: RunSummary, error: FtkError) -> None:
        from .continuing import Refused

        self._done()
        self.app.push_screen(Refused(run, error), partial(self._after_refusal, run))

    def _after_refusal(self, run: RunSummary, answer: str | None) -> None:
        if answer == "t":
            self._prepare(run, override=True)

    def _done(self) -> None:
        self._doing = ""
        self._describe()

    def action_details(self) -> None:
        """Show everything about the run."""
        from .run_details import RunDetails, lines

        if run := self.marked:
            self.in_background(partial(lines, run), lambda found: self.app.push_screen(RunDetails(run.name, found)))

    def action_delete(self) -> None:
        """See whether the run can be deleted, then ask."""
        if run := self.marked:
            self.in_background(partial(_holdings, run), partial(self._ask_to_delete, run))

    def _ask_to_delete(self, run: RunSummary, holdings: str) -> None:
        from .dialogs import Confirm

        text = f"{run.name}: {holdings}\n\nIt is removed for good."
        dialog = Confirm("Delete this run?", text, yes="Delete", no="Keep", danger=True)
        self.app.push_screen(dialog, partial(self._delete, run))

    def _delete(self, run: RunSummary, answer: str | None) -> None:
        if answer == "y":
            self.in_background(partial(_deleted, run), self._deleted)

    def _deleted(self, name: str) -> None:
        self.notify(f"Deleted {shown(name)}.", markup=False)
        if self.wizard.run == name:
            self.wizard.run = None
        self._look()


def _all_runs() -> list[RunSummary]:
    from ftk import run_list

    return run_list.all_runs()


def _prepared(run: RunSummary, *, override: bool) -> Resumption:
    import ftk.runner  # what `session.start` needs, here and not in the app's own thread
    import ftk.telemetry  # noqa: F401
    from ftk import resume

    return resume.prepare(str(run.path), override=override)


def _holdings(run: RunSummary) -> str:
    from ftk import run_edit
    from ftk.runs import RunFolder

    from .. import runs_report

    folder = RunFolder(run.path)
    run_edit.check_deletable(folder)
    return runs_report.holdings(folder, run)


def _deleted(run: RunSummary) -> str:
    from ftk import run_edit

    run_edit.delete(run_edit.find(run.name, run.path.parent))
    return run.name


def _about(run: RunSummary, *, own: bool) -> Text:
    """A run in three lines: what and how far, why it is as it is, what Enter does."""
    what = " on ".join(shown(part) for part in (run.model, run.data) if part) or shown(run.name)
    far = f", step {run.step}" + (f" of {run.total_steps}" if run.total_steps else "") if run.step else ""
    lines = [f"{what}{far}", shown(" ".join(run.reason.split()))]
    if run.state in GOING_ON:
        enter = "shows it." if own else "follows it; it goes on in another process."
    elif run.state == "finished":
        enter = "asks base and tuned model side by side."
    elif run.state == "damaged":
        enter = "shows what is known of it."
    elif run.state == "failed":
        enter = "shows what is known of it; c tries to go on."
    else:
        enter = "continues it" + (f" after step {run.step}." if run.step else " from its beginning.")
    ago = f" Last heard of {_ago(run)} ago." if run.updated and run.state not in GOING_ON else ""
    return Text("\n".join(filter(None, [*lines, f"Enter {enter}{ago}"])))


def _ago(run: RunSummary) -> str:
    from ..runs_report import age

    return age(time.time() - (run.updated or 0))
