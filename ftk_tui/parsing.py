"""An argument parser that says what is wrong in a line and knows the nearest known flag."""

from __future__ import annotations

import argparse
import os
import re
from typing import NoReturn

from ftk.errors import UsageError, did_you_mean

_CHOICE = re.compile(r"invalid choice: '(?P<word>.*)' \(choose from (?P<known>.*)\)$")
"""How argparse says that a word is none of those that there are."""


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
        if choice := _CHOICE.search(message):
            words = tuple(re.findall(r"'([^']*)'", choice["known"]))
            message = f"{message[: choice.start()]}{choice['word']!r} is not one of {', '.join(words)}"
            near = did_you_mean(choice["word"], words)
            raise UsageError(f"{message[:1].upper()}{message[1:]}.{near}", hint=f"`{self.prog} --help` shows how.")
        raise UsageError(message[:1].upper() + message[1:] + ".", hint=f"`{self.prog} --help` shows how.")


def command_parser(name: str, description: str) -> Parser:
    """The parser of `ftk NAME`, with the flags that every command has."""
    parser = Parser(prog=f"ftk {name}", description=description, formatter_class=Formatter, allow_abbrev=False)
    add_output(parser)
    return parser


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every command has."""
    parser.add_argument("--json", action="store_true", help="Print one JSON object a line instead of text.")
    parser.add_argument("--debug", action="store_true", help="Show tracebacks and the libraries' own messages.")


def numbers(flag: str, text: str | None) -> list[float]:
    """The numbers of a flag that takes several with commas between; none where it is not given.

    Raises:
        UsageError: they are no numbers.

    """
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise UsageError(f"{flag}: {text!r} is no list of numbers.", hint=f"{flag} 0.7,0.3") from None


def _columns() -> int:
    try:
        return os.get_terminal_size().columns - 2
    except OSError:
        return 98
