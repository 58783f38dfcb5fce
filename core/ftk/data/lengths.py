"""How long rows are in tokens, guessed from their words before any tokenizer is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .rows import Row

_WORDS = re.compile(r"[^\W\d_]+|\d|[^\w\s]|\s\s+")
_LETTERS_PER_TOKEN, _BYTES_PER_TOKEN = 6, 3
"""Of words in ASCII, and of others: on the samples and on Alpaca within 5 % of SmolLM2's tokenizer."""
_TEMPLATE_TOKENS = 12
"""What a chat template puts around a turn, its part of a system message that it adds by itself included."""
_ROWS_LOOKED_AT = 500
_MOST_KNOWN = 16
_known: dict[tuple[str, bytes], list[tuple[int, int]]] = {}


@dataclass(frozen=True)
class Lengths:
    """The rows of a data set in tokens.

    `mean` and `longest` are cut at the longest row that is allowed, `uncut` is what all but one row in a hundred have
    at most without that; `supervised` is the part that the loss counts.
    """

    mean: float
    longest: int
    uncut: int
    supervised: float


def measure(rows: Sequence[Row], longest: int) -> Lengths:
    """How long rows are, none longer than `longest`; looks at 500 of them at most, evenly spread."""
    counts = _counts(rows[:: max(1, -(-len(rows) // _ROWS_LOOKED_AT))] if len(rows) else rows)
    if not counts:
        return Lengths(float(longest), longest, longest, 1.0)
    whole = sorted(learnt + other for learnt, other in counts)
    cut = [min(count, longest) for count in whole]
    usual = whole[round(0.99 * (len(whole) - 1))]
    share = sum(learnt for learnt, _ in counts) / sum(whole)
    return Lengths(sum(cut) / len(cut), cut[-1], usual, max(0.01, min(1.0, share)))


def _counts(sample: Sequence[Row]) -> list[tuple[int, int]]:
    """The tokens of each row; those of a data set are kept, because every model of the catalogue asks for them."""
    store = getattr(sample, "store", None)
    if store is None:
        return [_tokens(row) for row in sample]
    key = (store.info.fingerprint, sample.indices.tobytes())  # type: ignore[attr-defined]
    if key not in _known:
        while len(_known) >= _MOST_KNOWN:
            _known.pop(next(iter(_known)), None)
        _known[key] = [_tokens(row) for row in sample]
    return _known[key]


def tokens_per_row(rows: Sequence[Row], longest: int) -> float:
    """The mean tokens of a row with its chat template; see `measure`."""
    return measure(rows, longest).mean


def tokens_in(text: str) -> int:
    """About how many tokens a text has: one for a short word, a digit, a sign; more for others and other scripts."""
    return sum(_of_word(word) for word in _WORDS.findall(text))


def _of_word(word: str) -> int:
    if word.isascii():
        return max(1, round(len(word) / _LETTERS_PER_TOKEN)) if word.isalpha() else 1
    return max(1, round(len(word.encode("utf-8", "replace")) / _BYTES_PER_TOKEN))


def _tokens(row: Row) -> tuple[int, int]:
    """The tokens of a row that are learnt, and the others."""
    learnt = other = 0
    if row.text is not None:
        learnt = tokens_in(row.text) + 1
    for turn in row.messages:
        found = tokens_in(str(turn["content"]))
        if turn["role"] == "assistant":
            learnt, other = learnt + found + 1, other + _TEMPLATE_TOKENS - 1
        else:
            other += found + _TEMPLATE_TOKENS
    return learnt, other
