"""Answers against references, word by word: exact match, token F1, ROUGE; and answers alone: repetition, empty ones.

A word is a run of letters, digits and marks, in lower case after compatibility folding (NFKC); characters of scripts
that put no space between words (Chinese, Japanese, Thai, ...) are words of their own.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

_UNSPACED = (
    (0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF),  # Thai, Lao, Tibetan, Burmese, Khmer
    (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),  # Japanese, Chinese
)  # fmt: skip


@lru_cache(4096)
def _kind(char: str) -> str:
    """What a character is in a word: ``letter``, a ``mark`` on the one before, a word ``alone``, or nothing of it."""
    category = unicodedata.category(char)[0]
    if category == "M":
        return "mark"
    if category not in "LN":
        return ""
    return "alone" if any(low <= ord(char) <= high for low, high in _UNSPACED) else "letter"


def words(text: str) -> list[str]:
    """The words of a text, folded and in lower case; punctuation is none."""
    found: list[str] = []
    before = ""
    for char in unicodedata.normalize("NFKC", text).lower():
        kind = _kind(char)
        if (kind == "mark" and before) or (kind == "letter" and before == "letter"):
            found[-1] += char
        elif kind in ("letter", "alone"):
            found.append(char)
            before = kind
        else:
            before = ""
    return found


def exact_match(answer: str, reference: str) -> float:
    """1 where both are the same but for white space and for how accents are composed, else 0."""
    return float(_spaced(answer) == _spaced(reference))


def _spaced(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def token_f1(answer: str, reference: str) -> float:
    """How many words answer and reference share, each counted as often as it occurs in both: F1, 0 to 1.

    As in SQuAD (arXiv:1606.05250), but in any language: no articles are left out. Without words on either side they
    agree where both texts are the same.
    """
    return _f1(Counter(words(answer)), Counter(words(reference)), answer, reference)


def rouge_n(answer: str, reference: str, n: int) -> float:
    """ROUGE-N (Lin 2004): shared n-grams of words, F1, 0 to 1, without stemming.

    Args:
        answer: What the model said.
        reference: What it should have said.
        n: Words of an n-gram.

    """
    return _f1(Counter(ngrams(words(answer), n)), Counter(ngrams(words(reference), n)), answer, reference)


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L (Lin 2004): the longest common subsequence of words, F1, 0 to 1, over the text as one sentence."""
    mine, theirs = words(answer), words(reference)
    if not mine or not theirs:
        return exact_match(answer, reference) if mine == theirs else 0.0
    common = longest_common_subsequence(mine, theirs)
    return 2 * common / (len(mine) + len(theirs))


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest sequence that is in both, in order but not necessarily without gaps.

    In bits of whole numbers (Hyyrö 2004), as long texts take millions of comparisons.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | (1 << place)
    every = (1 << len(one)) - 1
    row = every
    for word in other:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & every
    return len(one) - row.bit_count()


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words."""
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))


def _f1(mine: Counter[Any], theirs: Counter[Any], answer: str, reference: str) -> float:
    if not mine and not theirs:
        return exact_match(answer, reference)
    return 2 * (mine & theirs).total() / (mine.total() + theirs.total())


def distinct(text: str, n: int) -> float | None:
    """The part of an answer's n-grams of words that are different ones (Li et al. 2016); None where it has none."""
    found = ngrams(words(text), n)
    return len(set(found)) / len(found) if found else None


def repetition(text: str) -> float:
    """The part of an answer's triples of words that occurred before in it, 0 to 1; 0 where it has no triple.

    An answer that runs in a circle comes near 1.
    """
    different = distinct(text, 3)
    return 0.0 if different is None else 1 - different


def empty(text: str) -> float:
    """1 where an answer holds nothing that can be seen, else 0."""
    seen = (char for char in text if not char.isspace() and unicodedata.category(char) not in ("Cc", "Cf"))
    return float(next(seen, None) is None)
