"""Whether an answer has the form that was asked for: JSON, a regular expression, a number of words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...errors import UsageError

_LENGTH = re.compile(r"(\d*)\.\.(\d*)")


@dataclass(frozen=True)
class Expectation:
    """The form that answers shall have.

    Args:
        json: They shall be JSON, and nothing else.
        regex: They shall match this regular expression from their beginning to their end.
        words: They shall have as many words as this says: ``10..80``, ``..80`` or ``10..``; words are what white
            space divides.

    Raises:
        UsageError: the expression or the range cannot be read.

    """

    json: bool = False
    regex: str | None = None
    words: str | None = None

    def __post_init__(self) -> None:
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise UsageError(f"The regular expression {self.regex!r} cannot be read: {error}.") from None
        if self.words is not None:
            _range(self.words)

    def checks(self) -> dict[str, Callable[[str], float]]:
        """What is to be checked, by the key of its metric: each gives 1 where an answer fits, else 0."""
        found: dict[str, Callable[[str], float]] = {}
        if self.json:
            found["json"] = valid_json
        if self.regex is not None:
            pattern = re.compile(self.regex, re.DOTALL)
            found["regex"] = lambda answer: float(pattern.fullmatch(answer.strip()) is not None)
        if self.words is not None:
            low, high = _range(self.words)
            found["length"] = lambda answer: float(low <= len(answer.split()) <= high)
        return found


def valid_json(answer: str) -> float:
    """1 where an answer is JSON as RFC 8259 has it (NaN is none), else 0."""
    try:
        json.loads(answer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _range(text: str) -> tuple[int, float]:
    match = _LENGTH.fullmatch(text.strip())
    low, high = (match[1], match[2]) if match else ("", "")
    if not (low or high) or (low and high and int(low) > int(high)):
        raise UsageError(f"{text!r} is no range of lengths.", hint="Write 10..80, ..80 or 10.. (words).")
    return int(low or 0), float(high or "inf")
