"""How an evaluation is shown: a table of scores, and what they say in words. Texts of data are shown as such."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftk.evaluation.report.words import about_scores, score_rows
from ftk.evaluation.results import Evaluated

from .text import shown

_NARROW = 110
"""Columns below which intervals are left out, so that numbers need not be broken."""
_STYLES = {"better": "green", "worse": "red"}


def show(found: Evaluated, run: str, path: Path) -> None:
    """Print an evaluation for people."""
    console = Console()
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("metric", "base", "tuned", "difference", ""):
        made.add_column(heading, justify="left", no_wrap=heading == "metric", overflow="fold")
    for row, measure in zip(score_rows(found.measures), found.measures, strict=True):
        cells = row if console.width >= _NARROW or measure.tuned.value is None else tuple(map(_bare, row))
        style = _STYLES.get(measure.difference.verdict if measure.difference else "", "")
        made.add_row(*(Text(shown(cell)) for cell in cells[:-1]), Text(shown(cells[-1]), style=style))
    console.print(made)
    for line in about_scores(found):
        console.print(Text(shown(line)))
    _say(console, f"\nEvaluation   {_short(path)}")
    _say(console, f"To show it   ftk report {run}")


def _bare(cell: str) -> str:
    """A cell without its interval."""
    return cell.partition(" [")[0]


def _short(path: Path) -> Path:
    """The path relative to the working folder where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _say(console: Console, text: str) -> None:
    console.print(Text(shown(text)), soft_wrap=True)
