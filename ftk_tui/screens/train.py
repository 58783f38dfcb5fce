"""Train: start a run, watch it learn, hold it, save it, stop it. Any run is shown here, also one of another process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftk.errors import FtkError
from ftk.events import Event, Phase, Started, Step, Warned

from ..session import LIBRARY
from ..standing import Standing, standing
from ..starting import CancelledError, Planning, Ready, again, new
from ..text import shown
from ..widgets.phase_bar import NAMES, PhaseBar, Progress, progress_of
from ..widgets.run_view import RunView
from .base import StepScreen

PANES = ("figures", "machine", "answers", "log")
"""What is shown below the chart where there is no room for all of it."""
_ZOOM = Binding.Group("Zoom", compact=True)
_MOVE = Binding.Group("Move", compact=True)
_TICK_S = 1.0
_TOAST_S = 30.0
"""Warnings older than that are not news: a run of another process is shown from its beginning."""
_TOASTS = 3
_STYLES = {"": "bold", "good": "bold green", "warn": "bold yellow", "bad": "bold red"}


class TrainScreen(StepScreen):
    """The run: its state, its curve, its figures, the machine, the log; and the keys that work on it now."""

    step = "train"
    ABOUT = (
        "Enter plans the run and starts it; you can leave this screen, and even the terminal, while it goes on. The "
        "curve is the loss: how surprised the model is by the right answers. It should fall, and the held-out points "
        "(◆) with it; where they rise while the curve falls, the rows are being learnt by heart. Everything is saved "
        "on the way: a run that was stopped or interrupted goes on from its newest checkpoint."
    )
    CSS_PATH = "train.tcss"
    AUTO_FOCUS = "#chart"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start", "Start", id="train.start"),
        Binding("enter", "next", "Compare", id="train.compare"),
        Binding("r", "resume", "Go on", id="train.resume"),
        Binding("enter", "resume", "Go on", id="train.resume_enter", show=False),
        Binding("p", "pause", "Pause", id="train.pause"),
        Binding("p", "proceed", "Go on", id="train.proceed"),
        Binding("s", "save", "Save", id="train.save"),
        Binding("x", "stop", "Save, stop", id="train.stop", tooltip="Write a checkpoint and end; r goes on later"),
        Binding("x", "cancel", "Cancel", id="train.cancel"),
        Binding("a", "abort", "Abort", id="train.abort", tooltip="End now, without a checkpoint; asks first"),
        Binding("n", "renew", "New run", id="train.new"),
        Binding("n", "review", "The run", id="train.review"),
        Binding("v", "pane", "View", id="train.pane", tooltip="Figures, machine, answers, log"),
        Binding("f", "filter", "Filter", id="train.filter", tooltip="All of the log, warnings, checkpoints"),
        Binding("t", "chart('next_curve')", "Curve", id="chart.curve", tooltip="Loss, rate, gradient, speed, memory"),
        Binding("plus,equals_sign", "chart('zoom_in')", "Zoom in", id="chart.zoom_in", key_display="+", group=_ZOOM),
        Binding("minus", "chart('zoom_out')", "Zoom out", id="chart.zoom_out", key_display="-", group=_ZOOM),
        Binding("left", "chart('left')", "Earlier steps", id="chart.left", key_display="←", group=_MOVE),
        Binding("right", "chart('right')", "Later steps", id="chart.right", key_display="→", group=_MOVE),
        Binding("left", "app.focus_previous", "Field before", id="train.focus_previous", show=False),
        Binding("right", "app.focus_next", "Next field", id="train.focus_next", show=False),
        Binding("w", "chart('whole')", "Whole run", id="chart.whole"),
        Binding("l", "chart('log_or_linear')", "Log scale", id="chart.log"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._planning: Planning | None = None
        self._refusal: FtkError | None = None
        self._fresh = False  # a new run is looked forward to, though there is one to look at
        self._said = ""
        self._shown_state = ""
        self._expected: int | None = None

    def compose_body(self) -> ComposeResult:
        """State, curve, figures, machine, answers, log."""
        yield Static(id="state", markup=False)
        yield PhaseBar(id="phase")
        with VerticalScroll(id="intro", can_focus=False):
            yield Static(id="settings", markup=False)
        yield RunView(id="run")

    def on_mount(self) -> None:
        """Look now and then at what no event tells."""
        self.add_class(f"-{PANES[0]}")
        self._timer = self.set_interval(_TICK_S, self._tick, pause=True)

    # When something is shown

    def on_entered(self) -> None:
        """Show how it is now; nothing was drawn while another screen was shown."""
        self._timer.resume()
        self._show()

    def on_screen_suspend(self) -> None:
        """Draw nothing while another screen is shown."""
        self._timer.pause()

    def on_settings(self, changed: frozenset[str]) -> None:
        """The settings of the run that is not begun yet are another."""
        self._refusal = None
        self._show()

    def on_events(self, events: Sequence[Event]) -> None:
        """Show what the run told."""
        for event in events:
            if isinstance(event, Started):
                self._began(event)
        self._toast([event for event in events if isinstance(event, Warned)])
        self._show()

    def _began(self, event: Started) -> None:
        self._fresh, self._said = False, ""
        if self.session.own:
            self.wizard.run = event.run or self.wizard.run

    def _toast(self, warnings: Sequence[Warned]) -> None:
        """Warnings of this moment as toasts; where they come in numbers, only how many."""
        since = time.time() - _TOAST_S
        news = [warning for warning in warnings if warning.code != LIBRARY and warning.time >= since]
        for warning in news[:_TOASTS]:
            text = shown(f"{warning.message} {warning.hint}".strip())[:400]
            self.notify(text, title="Warning", severity="warning", markup=False, timeout=8)
        if more := len(news) - _TOASTS if len(news) > _TOASTS else 0:
            self.notify(f"{more} more warnings: see the log.", severity="warning", markup=False)

    def _tick(self) -> None:
        if self._planning or self._state != self._shown_state:
            self._show()

    @property
    def _state(self) -> str:
        """What is shown: the state of the run, or that one is planned or waited for."""
        if self._planning:
            return "planning"
        return "none" if self._fresh else self.session.state

    # What is shown

    def _show(self) -> None:
        """Bring everything up to date; each part draws only what is another than before."""
        state, session = self._state, self.session
        another = state != self._shown_state
        if another:
            self._shown_state, self._said = state, ""
        empty = not session.series.steps and not (session.active or session.log)
        before = state in ("none", "planning") or (state == "failed" and empty)
        self.set_class(before, "-before")
        self._show_standing(state)
        progress, bar = self._progress(state), self.query_one(PhaseBar)
        bar.display = progress is not None
        bar.show(progress)
        if before:
            self.query_one("#settings", Static).update(self._outlook())
        else:
            self._show_run()
        if another:
            self.refresh_bindings()

    def _show_standing(self, state: str) -> None:
        if self._refusal and state in ("none", *_AT_REST):
            now = Standing("✗", self._refusal.message, self._refusal.hint or "", "bad")
        elif state == "planning":
            now = Standing("▷", "Planning: looking at model, data and machine.", "x cancels.")
        elif state == "none":
            now = Standing("▷", "Ready.", "Enter plans and starts. Everything that you left open is decided then.")
        else:
            now = standing(self.session)
        text = Text.assemble(
            (f"{now.sign} {shown(now.headline)}", _STYLES[now.tone]), f"  {shown(self._said or now.advice)}"
        )
        label = self.query_one("#state", Static)
        if text != label.content:
            label.update(text)

    def _progress(self, state: str) -> Progress | None:
        if planning := self._planning:
            name = NAMES["read"] if planning.total else NAMES[planning.name]
            return Progress(name, "", planning.done, planning.total or None)
        if state not in ("running", "paused", "stopping"):
            return None
        phase, step = self.session.last.get("phase"), self.session.last.get("step")
        return progress_of(phase if isinstance(phase, Phase) else None, step if isinstance(step, Step) else None)

    def _outlook(self) -> Text:
        """What a run would be made of: the settings that were chosen, and how many are left open."""
        chosen = self.wizard.chosen
        model, data = self.wizard.settings.model, self.wizard.settings.data
        lines = [("model", model), ("data", data)]
        lines += [(key, str(value)) for key, value in chosen.items() if key not in ("model", "data")]
        text = Text()
        for key, value in lines:
            text.append(f"{key.ljust(24)}", "dim").append(f"{shown(value)[:200]}\n")
        return text.append(f"\nThe same on the command line:  {shown(self.wizard.command())}", "dim")

    def _show_run(self) -> None:
        own = self.session.own
        self.query_one(RunView).show(
            self.session,
            cores=self.ftk.hardware.cores if self.ftk.hardware else 1,
            expected=self._expected if own else None,
            price=getattr(self.ftk, "price", None) if own else None,
        )

    # The keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key does anything now."""
        if action in ("chart", "filter", "pane"):
            return not self.has_class("-before") and self._may_look(action, parameters)
        if action not in _ALLOWED:
            return super().check_action(action, parameters)
        return self._state in _ALLOWED[action] and self._may(action)

    def _may(self, action: str) -> bool:
        """Whether what a key needs is there, in a state in which it can be had."""
        session = self.session
        if action == "start":
            return self._fresh or session.run is None
        if action == "review":
            return self._fresh and session.state != "none"
        if action == "resume":
            return session.run is not None
        if action == "renew":
            return not session.busy
        return action != "save" or "step" in session.last

    def _may_look(self, action: str, parameters: tuple[object, ...]) -> bool:
        if action == "chart":
            return self.query_one(RunView).chart.may(str(parameters[0]))
        return action == "filter" or not self._roomy

    @property
    def _roomy(self) -> bool:
        return self.has_class("-huge") and self.has_class("-tall")

    def why_not_next(self) -> str:
        """The run has to be done before it can be compared."""
        if self._state in ("finished", "stopped"):
            return ""
        return "There is nothing to compare yet: Enter starts a run." if self._state == "none" else "The run goes on."

    def action_start(self) -> None:
        """Plan a new run in a thread, then begin it."""
        self._plan(Planning("plan"), partial(new, self.wizard.settings))

    def action_resume(self) -> None:
        """See in a thread whether the run can be gone on with, then do so."""
        if self.session.run:
            self._plan(Planning("look"), partial(again, self.session.run))

    def _plan(self, planning: Planning, work: Callable[[Planning], Ready]) -> None:
        if self._planning or self.session.busy:
            return
        self.ftk.make_room()  # what is free is looked at next
        self._planning, self._refusal = planning, None
        self.in_background(partial(work, planning), partial(self._ready, planning), partial(self._refused, planning))
        self._show()

    def _ready(self, planning: Planning, found: Ready) -> None:
        self._planning = None
        if not planning.cancelled.is_set() and not self.session.busy:
            self._expected, self._fresh = found.memory, False
            self.session.start(found.plan, resume=found.resume, remarks=found.remarks, past=found.past)
        self._show()

    def _refused(self, planning: Planning, error: FtkError) -> None:
        self._planning = None
        self._refusal = None if isinstance(error, CancelledError) else error
        self._show()

    def action_cancel(self) -> None:
        """Want the plan no more."""
        if self._planning:
            self._planning.cancelled.set()

    def action_pause(self) -> None:
        """Hold before the next micro-batch."""
        self._ask(self.session.pause, "It will hold before the next rows.")

    def action_proceed(self) -> None:
        """Go on after a pause."""
        self._ask(self.session.proceed, "It goes on.")

    def action_save(self) -> None:
        """Write a checkpoint after this step."""
        self._ask(self.session.save, "It will save after this step.")

    def action_stop(self) -> None:
        """Write a checkpoint, and end."""
        self._ask(self.session.stop, "It will save and stop.")

    def action_abort(self) -> None:
        """Ask, then end without a checkpoint."""
        from .dialogs import Confirm

        text = "What was learnt since the newest checkpoint is lost. x saves first and then stops."
        dialog = Confirm("Abort the run?", text, yes="Abort", no="Leave it", danger=True)
        self.app.push_screen(dialog, lambda answer: self._abort() if answer == "y" else None)

    def _abort(self) -> None:
        if self.session.active:
            self._ask(partial(self.session.stop, save=False), "It stops without saving.")

    def _ask(self, function: Callable[[], None], said: str) -> None:
        """Tell the run something; in a thread if that means to write into another process's folder."""
        if self.session.own:
            function()
            self._told(said)
        else:
            self.in_background(function, lambda _: self._told(said))

    def _told(self, said: str) -> None:
        self._show()
        self._said = said
        self._show()

    def action_renew(self) -> None:
        """Look forward to a new run; the old one stays where it is."""
        self._fresh, self._refusal = True, None
        self._show()

    def action_review(self) -> None:
        """Look at the run again."""
        self._fresh, self._refusal = False, None
        self._show()

    def action_pane(self) -> None:
        """Show something else below the chart."""
        place = next((number for number, name in enumerate(PANES) if self.has_class(f"-{name}")), 0)
        self.remove_class(f"-{PANES[place]}")
        self.add_class(f"-{PANES[(place + 1) % len(PANES)]}")
        self.call_after_refresh(self._show)

    def action_chart(self, what: str) -> None:
        """Zoom, move or change the chart."""
        getattr(self.query_one(RunView).chart, what)()

    def action_filter(self) -> None:
        """Show other lines of the log."""
        log = self.query_one(RunView).log_view
        log.next_filter()
        self.notify(f"The log shows {'everything' if log.filter == 'all' else log.filter}.", timeout=2)

    def on_loss_chart_changed(self) -> None:
        """Other keys may work now."""
        self.refresh_bindings()

    def on_resize(self) -> None:
        """Fill what came into sight."""
        if self.entered:
            self.call_after_refresh(self._show)
            self.refresh_bindings()


_AT_REST = ("finished", "stopped", "failed", "interrupted")
_ALLOWED: dict[str, tuple[str, ...]] = {
    "start": ("none", "failed"),
    "next": ("finished",),
    "resume": ("stopped", "failed", "interrupted"),
    "pause": ("running",),
    "proceed": ("paused",),
    "save": ("running", "paused"),
    "stop": ("running", "paused"),
    "cancel": ("planning",),
    "abort": ("running", "paused", "stopping"),
    "renew": (*_AT_REST, "running", "paused"),
    "review": ("none",),
}
"""The states in which each action can be had."""
