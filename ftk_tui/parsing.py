"""An argument parser that says what is wrong in a line and knows the nearest known flag."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

from ftk.errors import UsageError, did_you_mean


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help no wider than the terminal, and never wider than 100 columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=min(100, _columns()))


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong."""
        if message.startswith("unrecognized arguments:"):
            word = message.split(":", 1)[1].split()[0]
            known = tuple(self._option_string_actions)
            raise UsageError(
                f"Unknown argument {word!r}.{did_you_mean(word, known)}", hint=f"`{self.prog} --help` lists all."
            )
        raise UsageError(message[:1].upper() + message[1:] + ".", hint=f"`{self.prog} --help` shows how.")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every command has."""
    parser.add_argument("--json", action="store_true", help="Print one JSON object a line instead of text.")
    parser.add_argument("--debug", action="store_true", help="Show tracebacks and the libraries' own messages.")


def _columns() -> int:
    try:
        return os.get_terminal_size().columns - 2
    except OSError:
        return 98
