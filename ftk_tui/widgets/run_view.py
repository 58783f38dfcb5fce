"""A run at a glance: its curve, its figures, the machine, sample answers and the log, as far as there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from ftk.events import Answered, Evaluation, Finished, Step

from .answers import Answers
from .curves import MEMORY, NORM, RATE
from .event_log import EventLog
from .figures import Figures, Readings
from .gauge import Machine, load_of, memory_of
from .loss_chart import LossChart

if TYPE_CHECKING:
    from ..session import Session


class RunView(Vertical):
    """Shows the run of a session, own or followed: whatever `show` finds in it, and nothing by itself."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._peak: tuple[object, int] = (None, 0)

    def compose(self) -> ComposeResult:
        """The curve and small ones below it, the panes, the log."""
        with Horizontal(id="middle"):
            with Vertical(id="charts"):
                yield LossChart(id="chart")
                with Horizontal(id="small-charts"):
                    yield LossChart((RATE,), id="rate")
                    yield LossChart((NORM,), id="norm")
                    yield LossChart((MEMORY,), id="memory")
            with Vertical(id="panes"):
                yield Figures(id="figures", classes="pane")
                yield Machine(id="machine", classes="pane")
                yield Answers(id="answers", classes="pane")
        yield EventLog(id="log", classes="pane")

    def on_mount(self) -> None:
        """Let all charts show the same part of the run."""
        chart, *small = self._charts
        for other in small:
            other.view = chart.view
            other.can_focus = False

    @property
    def _charts(self) -> list[LossChart]:
        return list(self.query(LossChart))

    @property
    def chart(self) -> LossChart:
        """The large chart."""
        return self._charts[0]

    @property
    def log_view(self) -> EventLog:
        """The log."""
        return self.query_one(EventLog)

    def on_loss_chart_changed(self) -> None:
        """Show the same part of the run in all charts."""
        for chart in self._charts:
            chart.draw()

    def show(self, session: Session, *, cores: int, expected: int | None, price: float | None) -> None:
        """Bring everything up to date; each part draws only what is another than before.

        Args:
            session: The run.
            cores: Cores of this machine.
            expected: Bytes of memory that the run was expected to take.
            price: What an hour of this machine costs.

        """
        last = session.last.get("step")
        step = last if isinstance(last, Step) else None
        total = step.total_steps if step else session.plan.total_steps if session.plan else 0
        for chart in self._charts:
            chart.show(session.series, total)
        self.query_one(Figures).show(_readings(session, step, price))
        sampled = session.telemetry.last if session.own else None
        memory = memory_of(sampled, step, peak=self._highest(session, step), estimated=expected)
        self.query_one(Machine).show(memory, load_of(session.telemetry, cores))
        self.query_one(Answers).show([event for event in session.log if isinstance(event, Answered)])
        self.log_view.show(session.log)

    def _highest(self, session: Session, step: Step | None) -> int | None:
        """The most memory that the run was seen to hold, on the card if it is on one."""
        known, before = self._peak
        found = [before if known is session.series else 0]
        if step:
            found.append(step.memory_bytes if step.gpu_memory_bytes is None else step.gpu_memory_bytes)
        if session.own:
            for sample in [*session.telemetry.kept, session.telemetry.last][-60:]:
                if sample:
                    found.append((sample.gpu_memory_bytes if sample.gpu else sample.memory_bytes) or 0)
        self._peak = (session.series, max(found))
        return self._peak[1] or None


def _readings(session: Session, step: Step | None, price: float | None) -> Readings:
    held_out, ending = session.last.get("evaluation"), session.last.get("finished")
    best = next((event for event in reversed(session.log) if isinstance(event, Evaluation) and event.best), None)
    return Readings(
        step=step,
        held_out=held_out if isinstance(held_out, Evaluation) else None,
        best=best,
        ending=ending if isinstance(ending, Finished) and session.state == "finished" else None,
        active=session.state in ("running", "stopping"),
        price=price,
    )
