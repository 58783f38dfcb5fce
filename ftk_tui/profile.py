"""`--profile`: where the time of a run went, from the start of the command to its end."""

from __future__ import annotations

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from ftk.events import CheckpointSaved, Evaluation, Event, Phase, Step

_LABELS = {
    "start": "start, plan, data read",
    "import": "libraries imported",
    "download": "model downloaded",
    "convert": "model converted",
    "load": "model loaded",
    "quantise": "model loaded and quantised",
    "prepare": "data tokenised",
    "check": "data checked",
    "adapter": "adapter, optimiser",
    "compile": "layers compiled",
    "first": "first step",
    "steps": "other steps",
    "evaluation": "evaluations",
    "checkpoint": "checkpoints",
    "save": "adapter written",
    "compare": "prompts answered",
}


class Profile:
    """Hears the events of a run; the time between two of them belongs to what the second one ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(_LABELS, 0.0)
        self.to_first_step: float | None = None
        self._began = self._last = psutil.Process().create_time()
        self._phase = "start"

    def __call__(self, event: Event) -> None:
        """Take an event, in the thread that trains."""
        name = self._ended_by(event)
        self.seconds[name] = self.seconds.get(name, 0.0) + max(0.0, event.time - self._last)
        self._last = max(self._last, event.time)
        if isinstance(event, Phase):
            self._phase = "steps" if event.name == "train" else event.name
        if isinstance(event, Step) and self.to_first_step is None:
            self.to_first_step = event.time - self._began

    def _ended_by(self, event: Event) -> str:
        if isinstance(event, Step):
            return "first" if self.to_first_step is None else "steps"
        if isinstance(event, Evaluation):
            return "evaluation"
        return "checkpoint" if isinstance(event, CheckpointSaved) else self._phase

    def show(self) -> None:
        """Print the table: seconds, and their part of all."""
        whole = sum(self.seconds.values()) or 1.0
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("where the time went")
        table.add_column("seconds", justify="right")
        table.add_column("part", justify="right")
        for name, seconds in self.seconds.items():
            if seconds > 0:
                table.add_row(_LABELS.get(name, name), f"{seconds:.2f}", f"{seconds / whole:.0%}")
        console = Console()
        console.print(table)
        if self.to_first_step is not None:
            console.print(f"From the command to the end of the first step: {self.to_first_step:.1f} s", highlight=False)
