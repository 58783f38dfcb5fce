"""`ftk report`: one page about a run, to show around; or Markdown for a model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ftk.errors import EXIT_DONE, UsageError

from .parsing import command_parser
from .text import shown

_DESCRIPTION = """\
Write what is known of a run as one page of HTML that loads nothing and runs nothing: losses, scores, examples,
settings, data, how to repeat it, machine and versions. Loads no model.

  ftk report RUN                               report.html in the folder of the run
  ftk report RUN --to card.md                  Markdown, for a model card
"""


def main(arguments: Sequence[str]) -> int:
    """Run `ftk report`; returns the exit code."""
    parser = command_parser("report", _DESCRIPTION)
    parser.add_argument("run", metavar="RUN", nargs="?", help="the run's name, or its folder [the newest]")
    parser.add_argument("--to", metavar="FILE", help="Write to FILE.html or FILE.md [report.html of the run].")
    parser.add_argument("--force", action="store_true", help="Replace that file if it is there.")
    parser.add_argument("--examples", type=int, default=8, metavar="N", help="Examples at most [8].")
    options = parser.parse_args(arguments)
    if options.examples < 0:
        raise UsageError(f"--examples: {options.examples} is not accepted: must be 0 or more.")
    from ftk.evaluation.report import make_report

    path = make_report(options.run, options.to, examples=options.examples, overwrite=options.force)
    print(json.dumps({"path": str(path)}) if options.json else shown(str(_short(path))))
    return EXIT_DONE


def _short(path: Path) -> Path:
    """The path relative to the working folder where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
