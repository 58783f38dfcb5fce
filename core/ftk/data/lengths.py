"""How long rows are in tokens, guessed from their characters before any tokenizer is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from .rows import Row

_CHARACTERS_PER_TOKEN = 4.0
_TEMPLATE_TOKENS = 12
_ROWS_LOOKED_AT = 2000


def tokens_per_row(rows: Sequence[Row], longest: int) -> float:
    """The mean tokens of a row with its chat template, none longer than `longest`; looks at 2000 rows at most."""
    sample = rows[:: max(1, len(rows) // _ROWS_LOOKED_AT)]
    characters = sum(_characters(row) for row in sample) / max(1, len(sample))
    return min(float(longest), characters / _CHARACTERS_PER_TOKEN)


def _characters(row: Row) -> int:
    return len(row.text or "") + sum(len(turn["content"]) + 4 * _TEMPLATE_TOKENS for turn in row.messages)
