"""How an evaluation is shown: a table of scores, and what they say in words. Texts of data are shown as such."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftk.evaluation.report.words import SIGNS, about_scores, score_rows
from ftk.evaluation.results import Evaluated

from .text import shown

_NARROW = 110
"""Columns below which only differences have intervals and verdicts are signs, so that numbers need not be broken."""
_LEGEND = "▲ better, ▼ worse, ● different: by more than noise. ≈ no more than noise."
_STYLES = {"better": "green", "worse": "red"}


def show(found: Evaluated, run: str, path: Path) -> None:
    """Print an evaluation for people."""
    console = Console()
    narrow = console.width < _NARROW
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("metric", "base", "tuned", "difference", ""):
        made.add_column(heading, justify="left", no_wrap=heading == "metric", overflow="fold")
    for row, measure in zip(score_rows(found.measures), found.measures, strict=True):
        cells = _brief(row) if narrow else row
        if measure.tuned.value is None:
            cells = (row[0], "–", "–", "–", "")
        style = _STYLES.get(measure.difference.verdict if measure.difference else "", "")
        made.add_row(*(Text(shown(cell)) for cell in cells[:-1]), Text(shown(cells[-1]), style=style))
    console.print(made)
    console.print()
    if narrow and any(measure.difference and measure.difference.value is not None for measure in found.measures):
        console.print(Text(_LEGEND))
    for line in (*_missing(found), *about_scores(found)):
        console.print(Text(shown(line)))
    _say(console, f"\nEvaluation   {_short(path)}")
    _say(console, f"To show it   ftk report {run}")


def _brief(row: Sequence[str]) -> tuple[str, ...]:
    """A row that fits into 80 columns: an interval for the difference alone, of the verdict its sign."""
    metric, base, tuned, difference, verdict = row
    sign = verdict[:1] if verdict[:1] in SIGNS.values() else verdict
    return metric, base.partition(" [")[0], tuned.partition(" [")[0], difference, sign


def _missing(found: Evaluated) -> list[str]:
    """Why there is no number where there is none, a line for each reason."""
    by_note: dict[str, list[str]] = {}
    for measure in found.measures:
        if measure.tuned.value is None:
            by_note.setdefault(measure.tuned.note or "unknown", []).append(measure.kind.name)
    return [
        f"No numbers{'' if len(names) == len(found.measures) else ' for ' + ', '.join(names)}: {note}."
        for note, names in by_note.items()
    ]


def _short(path: Path) -> Path:
    """The path relative to the working folder where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _say(console: Console, text: str) -> None:
    console.print(Text(shown(text)), soft_wrap=True)
