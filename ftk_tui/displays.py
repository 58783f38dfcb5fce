"""Three ways to show a run without an app: Rich progress, plain lines, JSON lines. All read the same events."""

from __future__ import annotations

import math
import os
import sys
import threading
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.text import Text

from ftk.errors import EXIT_DONE, EXIT_FAILED, EXIT_RESUMABLE
from ftk.events import (
    CheckpointSaved,
    Evaluation,
    Event,
    Finished,
    Paused,
    Phase,
    Proceeded,
    Started,
    Step,
    Stopped,
    Warned,
)
from ftk.hardware import gib

from . import report
from .event_words import PHASES, told
from .text import remaining, shown, sparkline


class Display:
    """Hears the events of a run, from one thread, and says the result at the end."""

    may_skip = True
    """Whether steps and phases may be left out where they come faster than they can be shown."""

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

    def ask(self, text: str) -> None:
        """Show a line for the keys that may be pressed, in place of the one before; empty for none."""

    def close(self) -> None:
        """Leave the terminal as it was."""

    def summary(self, ending: Event) -> None:
        """Say how it ended."""


class SilentDisplay(Display):
    """For the processes of a distributed run that are not the first."""


class JsonDisplay(Display):
    """One event a line on standard output, flushed; the last line is the ending."""

    may_skip = False

    def __call__(self, event: Event) -> None:
        print(event.to_json(), flush=True)


class _Told(Display):
    """What the two displays for people have in common: they collect the answers for the summary."""

    def __init__(self) -> None:
        self.summary_of = report.Collected()

    def __call__(self, event: Event) -> None:
        self.summary_of.take(event)

    def summary(self, ending: Event) -> None:
        report.ending(ending, self.summary_of)


class PlainDisplay(_Told):
    """A line for what matters: about fifty for the steps of a run, and one for every other event."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -1
        self._phase = ""

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, Phase):
            if event.name != self._phase:
                self._phase = event.name
                self._say(": ".join(filter(None, (PHASES.get(event.name, event.name), event.detail))))
        elif isinstance(event, Step):
            portion = 50 * event.step // event.total_steps
            if portion != self._last or event.step == event.total_steps:
                self._last = portion
                self._say(f"step {event.step}/{event.total_steps}  {_figures(event)}")
        elif text := told(event):
            self._say(text)

    def note(self, text: str) -> None:
        self._say(text)

    def ask(self, text: str) -> None:
        if text:
            self._say(text)

    @staticmethod
    def _say(text: str) -> None:
        print(shown(text), flush=True)


class RichDisplay(_Told):
    """Phase, bar, loss with a sparkline, tokens a second, memory and time left, in place."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console()
        self._lock = threading.Lock()
        self._losses = Course()
        self._asked = ""
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
            if isinstance(event, Started) and self._step:
                self._losses.keep(event.resumed_from / self._step.step)
            elif isinstance(event, Phase):
                text = f"{PHASES.get(event.name, event.name)} {event.detail}".strip()
                self._show(shown(text)[:60], event.done or 0, event.total)
            elif isinstance(event, Step):
                self._step = event
                self._losses.add(event.loss)
                self._show(f"Training step {event.step}/{event.total_steps}", event.step, event.total_steps)
            elif isinstance(event, Paused | Proceeded) and self._step:
                doing = "Paused after step" if isinstance(event, Paused) else "Training step"
                total = self._step.total_steps
                self._show(f"{doing} {event.step}/{total}", event.step, total)
            elif isinstance(event, Evaluation):
                self._evaluation = event
        if not isinstance(event, CheckpointSaved) and (text := told(event)):
            self._console.print(Text(shown(text), style="yellow" if isinstance(event, Warned) else ""))

    def _show(self, text: str, done: float, total: float | None) -> None:
        self._progress.update(self._task, description=text, total=total, completed=done)

    def note(self, text: str) -> None:
        self._console.print(Text(shown(text), style="yellow"))

    def ask(self, text: str) -> None:
        with self._lock:
            self._asked = text

    def _render(self) -> Group:
        with self._lock:
            lines: list[Text] = []
            if self._step:
                width = max(10, min(60, self._console.width - 30))
                lines.append(Text(f"  loss {self._step.loss:.4f}  {sparkline(self._losses.means, width)}"))
                lines.append(Text(f"  {_figures(self._step, loss=False)}", style="dim"))
            if self._asked:
                lines.append(Text(self._asked, style="bold"))
            return Group(self._progress, *lines)


def suitable(*, as_json: bool) -> Display:
    """The display for what standard output is: JSON where asked for, progress in place on a terminal, else lines."""
    if as_json:
        return JsonDisplay()
    screen = sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    return RichDisplay() if screen else PlainDisplay()


def exit_code(ending: Event) -> int:
    """What a command leaves with. Every stopped run can be gone on with, from its beginning if need be."""
    if isinstance(ending, Stopped):
        return EXIT_RESUMABLE
    return EXIT_DONE if isinstance(ending, Finished) else EXIT_FAILED


class Course:
    """The course of a number over any number of steps, in at most `_POINTS` means: drawn four times a second."""

    _POINTS = 512

    def __init__(self) -> None:
        self.means: list[float] = []
        """Means of equally many values each, in order; the last one perhaps of fewer."""
        self._each = self._count = 1  # as many as the last mean holds: the next value begins another
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Take the next value; what is not a number is left out."""
        if not math.isfinite(value):
            return
        if self._count == self._each:
            self._sum, self._count = 0.0, 0
        if self._count == 0:
            self._halve()
            self.means.append(value)
        self._sum += value
        self._count += 1
        self.means[-1] = self._sum / self._count

    def keep(self, part: float) -> None:
        """Forget all but the first `part` (0 to 1): the rest is computed again."""
        del self.means[round(min(part, 1.0) * len(self.means)) :]
        self._count = self._each  # the next value begins a mean of its own

    def _halve(self) -> None:
        if len(self.means) == self._POINTS:
            pairs = zip(self.means[::2], self.means[1::2], strict=True)
            self.means = [(first + second) / 2 for first, second in pairs]
            self._each *= 2


def _figures(event: Step, *, loss: bool = True) -> str:
    memory = event.memory_bytes if event.gpu_memory_bytes is None else event.gpu_memory_bytes
    where = "RAM" if event.gpu_memory_bytes is None else "GPU"
    parts = [f"loss {event.loss:.4f}"] if loss else []
    parts += [
        f"rate {event.learning_rate:.1e}",
        f"grad {event.grad_norm:.2f}",
        f"{event.tokens_per_s:.0f} tokens/s",
        f"{gib(memory)} {where}",
        f"{remaining(event.eta_s, event.eta_low_s, event.eta_high_s)} left",
    ]
    return "  ".join(parts)
