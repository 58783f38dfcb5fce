"""Rows to learn from and rows to measure with: chosen by content, so that the same row is always on the same side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..errors import DataError
from .dataset import Dataset, Rows

_EXACT = 32
"""So many rows set aside of a source make its share come out by chance: each row is judged by its own hash alone."""


@dataclass(frozen=True)
class Split:
    """Both sides; `overlap` training rows were left out because the held-out side holds the same.

    `overlapping` are the first of them.
    """

    train: Rows
    held_out: Rows
    overlap: int = 0
    overlapping: tuple[str, ...] = ()


def split(dataset: Dataset, fraction: float, *, seed: int = 0, held_out: Dataset | None = None) -> Split:
    """Set rows aside for evaluation.

    Every source gives its part. A row is chosen by a hash of its content and the seed, whatever its place, and
    equal rows are never on both sides. Adding rows to a file moves none of the others to the other side; only of
    small sources the exact share is set aside, so that a row added there may move one other.

    Args:
        dataset: All rows; its own held-out part is used if it has one.
        fraction: Part of the rows otherwise set aside, at least one; 0 sets none aside at all.
        seed: Which ones.
        held_out: A data set to evaluate on instead.

    Raises:
        DataError: there are no two different rows, or nothing is left to train on.

    """
    if held_out is not None:
        return _given(dataset, held_out.rows)
    if fraction == 0:
        return Split(dataset.rows, Rows(dataset.store, dataset.rows.indices[:0]))
    if len(dataset.held_out):
        return _given(dataset, dataset.held_out)
    return _chosen(dataset, fraction, seed)


def _given(dataset: Dataset, held_out: Rows) -> Split:
    import numpy as np

    indices = dataset.rows.indices
    known = np.isin(dataset.store.digests[indices], held_out.store.digests[held_out.indices])
    if known.all():
        raise DataError(
            f"Every row of {dataset.name} is also held out, so that nothing is left to train on.",
            hint="Give another file for --eval-data, or set a part aside with --eval-fraction.",
        )
    overlap = np.unique(indices[known])  # a row with a weight of 2 is one row
    first = tuple(dataset.store.origin(int(index)) for index in overlap[:5])
    return Split(Rows(dataset.store, indices[~known]), held_out, len(overlap), first)


def _chosen(dataset: Dataset, fraction: float, seed: int) -> Split:
    import numpy as np

    store, indices = dataset.store, dataset.rows.indices
    once = np.unique(indices)
    groups, first = np.unique(store.digests[once], return_index=True)
    if len(groups) < 2:
        raise DataError(
            f"{dataset.name} has one row (or only equal ones), so that none can be set aside to measure with.",
            hint="Train without measuring: --eval-fraction 0; or name a file to measure with: --eval-data FILE.",
        )
    rank = mixed(groups, seed)
    source_of = store.sources[once[first]]
    aside: list[Any] = []
    for source in np.unique(source_of):
        mine = np.flatnonzero(source_of == source)
        count = round(len(mine) * fraction)
        if count < _EXACT:
            aside.append(groups[mine[np.argsort(rank[mine], kind="stable")[:count]]])
        else:
            aside.append(groups[mine[rank[mine] < np.uint64(min(fraction * 2**64, 2**64 - 1))]])
    chosen = np.concatenate(aside)
    if not len(chosen):
        chosen = groups[[np.argmin(rank)]]
    is_aside = np.isin(store.digests[indices], chosen)
    held_out = np.unique(indices[is_aside])  # whatever their weight, they are measured once
    return Split(Rows(store, indices[~is_aside]), Rows(store, held_out))


def mixed(digests: Any, seed: int) -> Any:
    """Hashes made of hashes and a seed (the finaliser of SplitMix64), as random as the first and repeatable."""
    import numpy as np

    with np.errstate(over="ignore"):
        value = digests.astype(np.uint64) + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) & (2**64 - 1))
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def unique_rows(dataset: Dataset, duplicates: Literal["keep", "drop"]) -> Dataset:
    """The data set with one of each of its equal rows (``drop``), or as it is; weights still count."""
    if duplicates == "keep":
        return dataset
    import numpy as np

    store, indices = dataset.store, dataset.rows.indices
    once = np.unique(indices)
    _, first = np.unique(store.digests[once], return_index=True)
    kept = indices[np.isin(indices, once[first])]
    return dataset.only(kept, "--duplicates drop")


def first_rows(dataset: Dataset, count: int | None) -> Dataset:
    """The data set with only its first `count` rows, or as it is."""
    if not count:
        return dataset
    return dataset.only(dataset.rows.indices[:count], f"--max-rows {count}")
