"""Three ways to show a run without an app: Rich progress, plain lines, JSON lines. All read the same events."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.text import Text

from ftk.autoconfig import Plan
from ftk.events import CheckpointSaved, Evaluation, Event, Finished, Phase, Started, Step, Warned
from ftk.hardware import gib
from ftk.training.trainer import RunResult

from . import report
from .text import clock, shown, sparkline

_PHASES = {
    "import": "Loading the libraries",
    "download": "Downloading",
    "convert": "Converting",
    "load": "Loading the model",
    "quantise": "Loading and quantising the model",
    "prepare": "Preparing the data",
    "check": "Checking the data",
    "adapter": "Putting the adapter on",
    "compile": "Compiling the layers",
    "train": "Training",
    "save": "Saving",
    "compare": "Asking base and tuned model",
}


class Display:
    """Hears the events of a run, in its thread, and says the result at the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, event: Event) -> None:
        """Take an event."""

    def note(self, text: str) -> None:
        """Say something that is no event."""

    def close(self) -> None:
        """Leave the terminal as it was."""

    def summary(self, result: RunResult) -> None:
        """Say how it ended."""


class SilentDisplay(Display):
    """For the processes of a distributed run that are not the first."""


class JsonDisplay(Display):
    """One event a line on standard output, flushed; the last line is the ending."""

    def __call__(self, event: Event) -> None:
        print(event.to_json(), flush=True)


class _Told(Display):
    """What the two displays for people have in common: they collect the answers for the summary."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.summary_of = report.Collected()

    def __call__(self, event: Event) -> None:
        self.summary_of.take(event)

    def summary(self, result: RunResult) -> None:
        report.ending(result, self.summary_of)


class PlainDisplay(_Told):
    """A line for what matters: about fifty for the steps of a run, and one for every other event."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._last = -1
        self._phase = ""

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, Phase):
            if event.name != self._phase:
                self._phase = event.name
                self._say(": ".join(filter(None, (_PHASES.get(event.name, event.name), event.detail))))
        elif isinstance(event, Step):
            portion = 50 * event.step // event.total_steps
            if portion != self._last or event.step == event.total_steps:
                self._last = portion
                self._say(f"step {event.step}/{event.total_steps}  {_figures(event)}")
        elif text := _line(event):
            self._say(text)

    def note(self, text: str) -> None:
        self._say(text)

    @staticmethod
    def _say(text: str) -> None:
        print(shown(text), flush=True)


class RichDisplay(_Told):
    """Phase, bar, loss with a sparkline, tokens a second, memory and time left, in place."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._console = Console()
        self._lock = threading.Lock()
        self._losses: list[float] = []
        self._step: Step | None = None
        self._evaluation: Evaluation | None = None
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            console=self._console,
            expand=True,
        )
        self._task = self._progress.add_task("Starting", total=None)
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def close(self) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        with self._lock:
            if isinstance(event, Phase):
                text = f"{_PHASES.get(event.name, event.name)} {event.detail}".strip()
                total = self.plan.total_steps if event.name == "train" else event.total
                self._progress.update(self._task, description=shown(text)[:60], total=total, completed=event.done or 0)
            elif isinstance(event, Step):
                self._step = event
                self._losses.append(event.loss)
                self._progress.update(
                    self._task,
                    description=f"Training step {event.step}/{event.total_steps}",
                    total=event.total_steps,
                    completed=event.step,
                )
            elif isinstance(event, Evaluation):
                self._evaluation = event
        if not isinstance(event, CheckpointSaved) and (text := _line(event)):
            self._console.print(Text(shown(text), style="yellow" if isinstance(event, Warned) else ""))

    def note(self, text: str) -> None:
        self._console.print(Text(text, style="yellow"))

    def _render(self) -> Group:
        with self._lock:
            lines: list[Text] = []
            if self._step:
                width = max(10, min(60, self._console.width - 30))
                lines.append(Text(f"  loss {self._step.loss:.4f}  {sparkline(self._losses, width)}"))
                lines.append(Text(f"  {_figures(self._step, loss=False)}", style="dim"))
            return Group(self._progress, *lines)


def _figures(event: Step, *, loss: bool = True) -> str:
    memory = event.memory_bytes if event.gpu_memory_bytes is None else event.gpu_memory_bytes
    where = "RAM" if event.gpu_memory_bytes is None else "GPU"
    parts = [f"loss {event.loss:.4f}"] if loss else []
    parts += [
        f"rate {event.learning_rate:.1e}",
        f"grad {event.grad_norm:.2f}",
        f"{event.tokens_per_s:.0f} tokens/s",
        f"{gib(memory)} {where}",
        f"{clock(event.eta_s)} left",
    ]
    return "  ".join(parts)


def _line(event: Event) -> str:
    """An event other than a step or a phase in one line; empty where there is nothing to say."""
    if isinstance(event, Started):
        return f"Run {event.run}: {event.model} on {event.data}  ({event.folder})"
    if isinstance(event, Evaluation):
        return f"held-out loss {event.loss:.4f} (perplexity {event.perplexity:.2f}) after step {event.step}"
    if isinstance(event, CheckpointSaved):
        return f"checkpoint at step {event.step} ({gib(event.bytes)}, {event.seconds:.1f} s)"
    if isinstance(event, Warned):
        return f"Warning: {event.message} {event.hint}".rstrip()
    if isinstance(event, Finished) and event.reason:
        return f"Stopped early: {event.reason}."
    return ""
