"""`ftk doctor`: a line for everything that a run needs of this machine, with the mend where it is not well."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ftk import doctor
from ftk.doctor import Check, Finding, Level
from ftk.errors import EXIT_DONE, EXIT_FAILED
from ftk.secrets import redact

from .parsing import command_parser
from .text import counted, shown

_STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red"}
_MARGIN = 22
"""Columns of the level and of the name of the check."""


def main(arguments: Sequence[str]) -> int:
    """Run `ftk doctor`; returns the exit code: 1 if anything failed."""
    parser = command_parser("doctor", "What is well on this machine, what is not, and how to mend it.")
    parser.add_argument(
        "--quick", action="store_true", help="Leave out what takes seconds: hub, torch, bitsandbytes, compile."
    )
    options = parser.parse_args(arguments)
    if options.json:
        levels: list[Level] = []
        for finding in doctor.examine(quick=options.quick):
            print(finding.to_json(), flush=True)
            levels.append(finding.level)
    else:
        levels = _told(quick=options.quick, debug=options.debug)
    return EXIT_FAILED if "failure" in levels else EXIT_DONE


def _told(*, quick: bool, debug: bool) -> list[Level]:
    """Print the findings for people; returns their levels."""
    console = Console(highlight=False)
    waiting = _Waiting(console)
    levels: list[Level] = []
    for finding in doctor.examine(quick=quick, begun=waiting.begin):
        waiting.end()
        _print(console, finding)
        if debug and finding.details.get("log"):
            console.print(Text(shown(redact(str(finding.details["log"])))), soft_wrap=True)
        levels.append(finding.level)
    waiting.end()
    counts = [counted(levels.count("failure"), "failure"), counted(levels.count("warning"), "warning")]
    left_out = " Left out: " + ", ".join(check.name for check in doctor.CHECKS if check.heavy) + "." if quick else ""
    console.print(Text(f"\n{levels.count('ok')} ok, {counts[1]}, {counts[0]}.{left_out}"))
    return levels


def _print(console: Console, finding: Finding) -> None:
    """A finding, broken between words where a person reads it; never in a pipe, where a program may."""
    width = max(30, console.width - _MARGIN - 1) if console.is_terminal else 10_000
    lines = _wrapped(finding.text, width)
    if finding.mend:
        lines += _wrapped(f"-> {finding.mend}", width, indent="   ")
    line = Text(no_wrap=True, overflow="ignore")
    line.append(f"{finding.level:<9}", _STYLES[finding.level])
    line.append(f"{finding.check:<{_MARGIN - 9}}")
    line.append(("\n" + " " * _MARGIN).join(lines))
    console.print(line, crop=False, soft_wrap=True)


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The lines of a text; words stay whole, because many are commands and paths to copy."""
    return textwrap.wrap(
        shown(redact(" ".join(text.split()))),
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


class _Waiting:
    """Says on a terminal what is being checked, in a line that goes away."""

    def __init__(self, console: Console) -> None:
        self._shows = console.is_terminal and not console.is_dumb_terminal and os.environ.get("TERM") != "dumb"
        self._shown = False

    def begin(self, check: Check) -> None:
        self.end()
        if self._shows:
            sys.stdout.write(f"...      {check.name}")
            sys.stdout.flush()
            self._shown = True

    def end(self) -> None:
        if self._shown:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
            self._shown = False
