"""What a person should know about the data before the first step: the findings of the checks, as events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..events import Warned

if TYPE_CHECKING:
    from ..data.checks import Finding
    from ..data.prepare import Prepared

CHECKED_ROWS = 50_000
"""Rows up to which a run begins with all checks, which takes a second for some thousand rows."""

_DESCRIPTIONS = ("few", "languages")  # findings that say what a data set is, and nothing about what happens to it


def remarks(
    data: Prepared,
    tokenizer: Any,
    length: int,
    skip_bad: int,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Warned]:
    """Everything that is left out, cut, changed or doubtful, each once and with its number of rows.

    Args:
        data: As it was prepared.
        tokenizer: The model's.
        length: The limit in tokens.
        skip_bad: Unreadable rows that are tolerated.
        progress: Called with rows checked and rows in all; may raise to cancel.

    """
    from ..data import checks

    dataset = data.dataset
    if len(dataset) <= CHECKED_ROWS:
        found = checks.check(
            dataset,
            data.parts,
            data.train,
            held_out=data.held_out,
            max_length=length,
            skip_bad=skip_bad,
            special=checks.special_tokens(tokenizer),
            progress=progress,
        )
    else:
        found = checks.losses(
            dataset, data.parts, data.train, held_out=data.held_out, max_length=length, skip_bad=skip_bad
        )
        yield Warned(
            code="unchecked",
            message=f"The texts of {len(dataset):,} rows were not looked through.",
            hint="`ftk data inspect` does it.",
        )
    for finding in found:
        if finding.code not in _DESCRIPTIONS:
            yield _warned(finding)


def _warned(finding: Finding) -> Warned:
    action = f" ftk {finding.action}." if finding.action else ""
    places = f" ({'; '.join(finding.rows[:3])})" if finding.rows else ""
    change = f"To change that: {finding.change}." if finding.change else ""
    message = finding.message[:1].upper() + finding.message[1:]
    return Warned(code=finding.code, message=f"{message}{places}.{action}", hint=change)
