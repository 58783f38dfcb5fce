"""Near duplicates: texts that differ by a few words, found without comparing all with all.

MinHash with banding (Broder 1997; Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, ch. 3): a text becomes
the set of its three-word runs; equal minima of random hashes tell how alike two sets are; texts that agree on
a whole band of minima are compared.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any
from zlib import crc32

_HASHES = 64
_BANDS = 16  # of four minima each: texts with 80 % of their runs in common meet in a band with 99.98 %
_PRIME = (1 << 31) - 1
_WORD = re.compile(r"\w+")
THRESHOLD = 0.8
"""Share of common minima from which two texts count as nearly the same."""


def normalised(text: str) -> str:
    """A text without case, punctuation and spacing: what is equal then is equal for a reader."""
    return " ".join(_WORD.findall(text.casefold()))


def signature(text: str) -> Any:
    """The minima of a text, 64 numbers."""
    import numpy as np

    words = text.split()
    runs = {" ".join(words[index : index + 3]) for index in range(max(1, len(words) - 2))}
    values = np.fromiter((crc32(run.encode()) for run in runs), dtype=np.uint64) % _PRIME
    factors, terms = _coefficients()
    return ((values[:, None] * factors[None, :] + terms[None, :]) % _PRIME).min(axis=0)


@cache
def _coefficients() -> tuple[Any, Any]:
    import numpy as np

    random = np.random.default_rng(20010609)
    return (
        random.integers(1, _PRIME, _HASHES, dtype=np.uint64),
        random.integers(0, _PRIME, _HASHES, dtype=np.uint64),
    )


def groups(texts: Sequence[str]) -> list[list[int]]:
    """The numbers of texts that are nearly the same, in groups of two and more, each in order.

    Args:
        texts: Normalised texts. About 3 000 a second; memory grows with their number.

    """
    import numpy as np

    if not texts:
        return []
    signatures = np.stack([signature(text) for text in texts])
    parent = list(range(len(texts)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    width = _HASHES // _BANDS
    for band in range(_BANDS):
        buckets: dict[bytes, int] = {}
        part = np.ascontiguousarray(signatures[:, band * width : (band + 1) * width])
        for index in range(len(texts)):
            first = buckets.setdefault(part[index].tobytes(), index)
            if root(first) != root(index) and (signatures[first] == signatures[index]).mean() >= THRESHOLD:
                parent[max(root(first), root(index))] = min(root(first), root(index))
    found: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(texts)):
        found[root(index)].append(index)
    return [group for group in found.values() if len(group) > 1]
