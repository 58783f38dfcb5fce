"""What is said before a run (the plan) and after it (what was learnt, where it lies, what to do next)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftk import files
from ftk.config import RunConfig
from ftk.events import Answered, Evaluation, Event, Finished, Started, Stopped

from .text import clock, shown

if TYPE_CHECKING:
    from ftk.autoconfig import Plan
    from ftk.estimate import TimeEstimate


@dataclass
class Collected:
    """What the summary needs of a run's events."""

    run: str = ""
    """What `ftk resume` calls the run: its name, or its folder where that is not among the runs here."""
    answers: list[Answered] = field(default_factory=list)
    best: Evaluation | None = None

    def take(self, event: Event) -> None:
        """Keep an event if it is needed."""
        if isinstance(event, Started):
            here = Path(event.folder).parent == files.runs_dir()
            self.run = event.run if here else event.folder
            self.answers = []
        elif isinstance(event, Answered):
            self.answers.append(event)
        elif isinstance(event, Evaluation) and event.best:
            self.best = event


def plan(what: Plan, time: TimeEstimate | None) -> None:
    """Print the plan: every setting, whether chosen by ftk and why, and the time to expect."""
    console = Console()
    _say(console, f"Machine   {what.hardware.summary}")
    _say(console, f"Model     {what.config.model}  ({_whence(what)})")
    aside = f", {len(what.dataset.held_out)} more held out" if what.dataset.held_out else ""
    _say(console, f"Data      {what.dataset.name}, {len(what.dataset)} rows{aside}")
    if what.fit:
        _say(console, f"Memory    {what.fit.words}")
    for remark in what.remarks:
        _say(console, f"          {remark.message} {remark.hint}")
    if time:
        span = f"about {clock(time.seconds)} ({clock(time.low)} to {clock(time.high)}), {_parts(time)}"
        _say(console, f"Time      {span}: {time.basis}")
    else:
        _say(console, "Time      not known before the model is downloaded: the Hub does not tell its size")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("setting", "value", "why"):
        table.add_column(heading, no_wrap=heading == "setting")
    for section in RunConfig.sections:
        for key in section.model_fields:
            value = getattr(what.config, key)
            if value is not None and (key != "epochs" or "max_steps" in what.reasons):
                text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
                asked = "as asked" if key in what.config.model_fields_set else "the default"
                table.add_row(key, Text(shown(text)), Text(what.reasons.get(key, asked)))
    console.print(table)
    _say(console, "Nothing was trained. Leave --dry-run out to start.")


def _parts(time: TimeEstimate) -> str:
    """What the time goes into besides the updates."""
    rest = [f"{name} {clock(seconds)}" for name, seconds in time.parts.items() if name != "train" and seconds >= 1]
    return f"updates {clock(time.parts.get('train', time.seconds))}{''.join(f', {part}' for part in rest)}"


def _whence(what: Plan) -> str:
    source = what.source
    if source.on_disk:
        return f"on disk: {source.path}"
    return {
        "hub": f"to be downloaded from the Hub: {source.hub}",
        "embedded": "to be downloaded from the Python package index, 93 MB",
        "gguf": "a GGUF file, converted once",
    }.get(source.kind, source.kind)


def ending(event: Event, collected: Collected) -> None:
    """Print how a run ended."""
    console = Console()
    if isinstance(event, Finished):
        _finished(console, event, collected)
    elif isinstance(event, Stopped):
        _say(console, f"\nStopped at step {event.step}: {event.reason}.")
        if event.checkpoint:
            _say(console, f"Everything is saved in {_short(event.checkpoint)}")
        _say(console, f"Go on with:  ftk resume {collected.run}")


def _finished(console: Console, event: Finished, collected: Collected) -> None:
    for answer in collected.answers:
        _say(console, f"\n> {answer.prompt}")
        table = Table(box=box.ROUNDED, expand=True)
        table.add_column("base model", ratio=1)
        table.add_column("your model", ratio=1)
        table.add_row(Text(shown(answer.base)), Text(shown(answer.tuned)))
        console.print(table)
    whole, training = clock(event.seconds), clock(event.training_s)
    _say(console, f"\nDone: {event.step} steps in {training}, {whole} with everything around.")
    for line in _learnt(event, collected.best):
        _say(console, line)
    adapter = _short(event.adapter)
    whole_model = adapter.name == "model"
    _say(console, f"{'Model  ' if whole_model else 'Adapter'}        {adapter}")
    _say(console, "\nUse it in Python:")
    kind = "AutoModelForCausalLM" if whole_model else "AutoPeftModelForCausalLM"
    _say(console, f"  from {'transformers' if whole_model else 'peft'} import {kind}")
    _say(console, f"  model = {kind}.from_pretrained({str(adapter)!r})")
    _say(console, "\nThe same on your own data:")
    _say(console, f"  ftk --preset {adapter.parent / 'config.yaml'} --data YOUR.jsonl")


def _learnt(event: Finished, best: Evaluation | None) -> list[str]:
    """What the losses say, and what to do where they do not look good."""
    before, after = event.loss_before, event.loss_after
    if before is None or after is None:
        loss = "unknown" if event.train_loss is None else f"{event.train_loss:.4f}"
        return [f"Training loss  {loss} at the end (nothing was held out to measure with)"]
    lines = [f"Held-out loss  {before:.4f} before, {after:.4f} after ({(after - before) / before:+.0%})"]
    if after > 0.99 * before:
        lines.append("It hardly fell: try more steps, a higher --learning-rate, or look at the data.")
    elif best and best.step and after > 1.02 * best.loss:
        lines.append(f"It was {best.loss:.4f} at step {best.step} and rose since: fewer steps, or --early-stopping 2.")
    return lines


def _short(path: str) -> Path:
    """The path relative to the working folder where it lies below it."""
    here = Path.cwd()
    return Path(path).relative_to(here) if Path(path).is_relative_to(here) else Path(path)


def _say(console: Console, text: str) -> None:
    console.print(Text(shown(text)), soft_wrap=True)
