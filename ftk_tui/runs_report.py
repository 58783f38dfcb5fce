"""How runs are shown: a table of all, everything about one. Names and reasons are data and shown as such."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftk import files, recipes, run_list
from ftk.config import RunConfig, field_names
from ftk.errors import FtkError, RunError
from ftk.events import Step
from ftk.plain_files import tree_bytes
from ftk.run_list import RunSummary
from ftk.runs import RunFolder

from .text import clock, counted, shown, sparkline

_NARROW = 72  # columns below which age and size are left out, so that names need not be cut
_COURSE = 40  # characters of a course of losses
_STYLES = {"running": "green", "paused": "yellow", "interrupted": "yellow", "failed": "red", "damaged": "red"}


def line(text: str) -> str:
    r"""Foreign text in one line: line breaks too are shown as ``\n``."""
    return shown(text).replace("\n", r"\n").replace("\t", r"\t")


def size(number: float) -> str:
    """Bytes as ``812 B``, ``3.4 MiB``, ``120 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def age(seconds: float) -> str:
    """How long ago, in the unit that suits: ``42s``, ``5m``, ``3h``, ``12d``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{max(0, seconds):.0f}s"


def table(runs: list[RunSummary]) -> None:
    """Print all runs, one a row; what is wrong with damaged ones, and which hosts are gone, below."""
    console = Console()
    if not runs:
        _say(console, f"No runs in {files.runs_dir()} yet. Begin with: ftk --preset smollm2")
        return
    headings = ("name", "state", "step", "loss") + (() if console.width < _NARROW else ("age", "size"))
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        right = heading in ("step", "age", "size")
        made.add_column(heading, justify="right" if right else "left", no_wrap=heading != "name", overflow="fold")
    for run in runs:
        cells = _cells(run)
        made.add_row(*(cells[heading] for heading in headings))
    console.print(made)
    for run in runs:
        if run.state == "damaged":
            _say(console, f"{line(run.name)}: {run.reason}")
        elif run.state == "interrupted" and run.reason:
            _say(console, f"{line(run.name)}: interrupted ({line(run.reason)})")
    _say(console, "\nloss: held out, before → after. `ftk runs show NAME` says all, `ftk resume NAME` goes on.")


def _cells(run: RunSummary) -> dict[str, Text]:
    total = f"/{run.total_steps}" if run.total_steps else ""
    return {
        "name": Text(line(run.name)),
        "state": Text(run.state, style=_STYLES.get(run.state, "")),
        "step": Text(f"{run.step}{total}" if run.step or total else ""),
        "loss": Text(_losses(run)),
        "age": Text("" if run.updated is None else age(time.time() - run.updated)),
        "size": Text(size(run.bytes)),
    }


def _losses(run: RunSummary) -> str:
    if run.loss_before is not None:
        return f"{run.loss_before:.3f} → " + ("" if run.loss_after is None else f"{run.loss_after:.3f}")
    return "" if run.loss is None else f"train {run.loss:.3f}"


@dataclass(frozen=True)
class Detail:
    """Everything about a run; `problem` says why its settings cannot be read."""

    run: RunFolder
    summary: RunSummary
    settings: dict[str, Any]
    reasons: dict[str, str]
    problem: str
    losses: list[float]

    @classmethod
    def of(cls, run: RunFolder) -> Detail:
        """Look at a run; nothing in its folder is an error."""
        settings, problem, reasons = {}, "", {}
        try:
            settings = _changed(recipes.load(str(run.config_file)).config)
        except (FtkError, OSError, ValueError) as error:
            problem = error.message if isinstance(error, FtkError) else f"{run.config_file}: {error}"
        try:
            told = run.provenance().get("reasons")
            reasons = {key: str(text) for key, text in told.items()} if isinstance(told, dict) else {}
        except RunError:
            pass  # the summary says so
        losses = [event.loss for event in run.history() if isinstance(event, Step)]
        return cls(run, run_list.summary(run), settings, reasons, problem, losses)

    @property
    def checkpoints(self) -> list[Path]:
        """The folders of its checkpoints, by step."""
        return sorted(path for path in self.run.checkpoints.glob("step-*") if path.is_dir())

    @property
    def result(self) -> Path | None:
        """Where the result lies, if there is one."""
        return self.run.trained if self.run.trained.is_dir() else None

    @property
    def next(self) -> str:
        """The command that a person will want now; empty where there is none."""
        state, name = self.summary.state, shlex.quote(self.run.name)
        if state in ("running", "paused"):
            return f"ftk attach {name}"
        if state == "finished":
            return f"ftk --preset {shlex.quote(str(_short(self.run.config_file)))} --data YOUR.jsonl"
        return f"ftk resume {name}" if self.run.resumable else f"ftk runs delete {name}"

    def to_dict(self) -> dict[str, Any]:
        """What the summary does not hold, as plain values."""
        return {
            "settings": self.settings,
            "checkpoints": [str(path) for path in self.checkpoints],
            "result": str(self.result) if self.result else None,
            "next": self.next,
        }


def _changed(config: RunConfig) -> dict[str, Any]:
    """The settings that differ from the defaults."""
    values = {key: getattr(config, key) for key in field_names()}
    return {key: value for key, value in values.items() if value != RunConfig.model_fields[key].default}


def facts(what: Detail) -> list[tuple[str, str]]:
    """What there is to say about a run but its settings, as labels and texts; some of the texts may be empty."""
    run = what.summary
    return [
        ("Run", line(run.name)),
        ("State", run.state + (f": {line(run.reason)}" if run.reason else "")),
        ("Model", line(run.model)),
        ("Data", line(run.data)),
        ("Step", f"{run.step} of {run.total_steps}" if run.total_steps else ""),
        ("Loss", _all_losses(run, what.losses)),
        ("Time", _times(run)),
        ("Folder", f"{_short(run.path)}, {size(run.bytes)}"),
        ("Checkpoints", ", ".join(f"{line(p.name)} ({size(tree_bytes(p))})" for p in what.checkpoints)),
        ("Result", str(_short(what.result)) if what.result else "none yet"),
        ("Settings", what.problem),
    ]


def detail(what: Detail) -> None:
    """Print everything about a run."""
    console = Console()
    for label, text in facts(what):
        if text:
            _say(console, f"{label:<12} {text}")
    if what.settings and not what.problem:
        _settings(console, what)
    _say(console, f"\nNext         {what.next}")


def _settings(console: Console, what: Detail) -> None:
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("changed setting", "value", "why"):
        made.add_column(heading, no_wrap=heading == "changed setting", overflow="fold")
    for key, value in what.settings.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        made.add_row(key, Text(shown(text)), Text(shown(what.reasons.get(key, ""))))
    console.print(made)


def _all_losses(run: RunSummary, losses: list[float]) -> str:
    parts = []
    if run.loss_before is not None:
        after = "" if run.loss_after is None else f", {run.loss_after:.4f} after"
        parts.append(f"held out {run.loss_before:.4f} before{after}")
    if run.loss is not None:
        parts.append(f"training {run.loss:.4f}  {sparkline(losses, _COURSE)}".rstrip())
    return "; ".join(parts)


def _times(run: RunSummary) -> str:
    parts = []
    if run.started is not None:
        parts.append(f"begun {datetime.fromtimestamp(run.started):%Y-%m-%d %H:%M}")
    if run.updated is not None:
        parts.append(f"last heard of {age(time.time() - run.updated)} ago")
    if run.seconds is not None:
        parts.append(f"trained {clock(run.seconds)}")
    return ", ".join(parts)


def holdings(run: RunFolder, about: RunSummary) -> str:
    """What would be lost with a run: ``finished, step 120 of 120, the trained adapter, 2 checkpoints; 81.2 MiB``."""
    parts: list[str] = [about.state]
    if about.step:
        parts.append(f"step {about.step}" + (f" of {about.total_steps}" if about.total_steps else ""))
    if run.trained.is_dir():
        parts.append("the trained model" if run.trained == run.model else "the trained adapter")
    saved = sum(path.is_dir() for path in run.checkpoints.glob("step-*"))
    parts += [counted(saved, "checkpoint")] if saved else []
    return f"{', '.join(parts)}; {size(about.bytes)}"


def _short(path: Path) -> Path:
    """The path relative to the working folder where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _say(console: Console, text: str) -> None:
    console.print(Text(shown(text)), soft_wrap=True)
