"""Which rows are measured: held-out ones, never any that were trained on, and as many training rows beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config import RunConfig
from ..data import rows as rows_module
from ..data.dataset import Dataset, Rows, load_dataset
from ..data.rows import Row
from ..data.split import Split, first_rows, mixed, split, unique_rows
from ..errors import DataError, FtkError, RunError
from ..runs import IN_MEMORY

_ANOTHER = "Measure on rows of your own: --data FILE."


@dataclass(frozen=True)
class Chosen:
    """The rows to measure.

    Args:
        held_out: Rows that were not trained on.
        train: Rows that were, at most as many.
        name: The data set's name.
        sha256: Of its content.
        available: How many held-out rows there are in all.
        notes: What is to be known of the choice.

    """

    held_out: tuple[Row, ...]
    train: tuple[Row, ...]
    name: str
    sha256: str
    available: int
    notes: tuple[str, ...] = ()


def marks(rows: tuple[Row, ...]) -> list[str]:
    """The hash of each row's content, 16 hexadecimal digits."""
    return [f"{rows_module.digest(row.payload()):016x}" for row in rows]


def rows_of_run(
    config: RunConfig,
    provenance: Mapping[str, Any],
    *,
    data: Any = None,
    given: Dataset | None = None,
    most: int = 1000,
) -> Chosen:
    """The rows to measure a run with.

    Args:
        config: Its settings.
        provenance: What its `run.json` holds.
        data: Other rows to measure on: whatever `load_dataset` takes.
        given: The rows of a run whose data was given as Python objects.
        most: Rows to take at most; which ones is decided by their content.

    Raises:
        RunError: the rows of the run are gone, or are others than it was trained on.
        DataError: nothing was held out, or every row of `data` was trained on.

    """
    if data is not None:
        return _other(config, provenance, load_dataset(data), given, most)
    parts, dataset = _parts(config, provenance, given)
    if not len(parts.held_out):
        raise DataError("Nothing was held out in this run, so that there is nothing to measure on.", hint=_ANOTHER)
    held_out, train = _unique(parts.held_out), _unique(parts.train)
    picked = _picked(held_out, most, config.seed)
    beside = _picked(train, len(picked), config.seed)
    notes = (f"{len(picked)} of {len(held_out)} held-out rows were measured.",) if len(picked) < len(held_out) else ()
    return Chosen(tuple(picked), tuple(beside), dataset.name, dataset.fingerprint, len(held_out), notes)


def _parts(config: RunConfig, provenance: Mapping[str, Any], given: Dataset | None) -> tuple[Split, Dataset]:
    """Both sides of the run's rows, as training divided them."""
    if given is None and config.data == IN_MEMORY:
        raise RunError(
            "The rows of this run were given as Python objects, which are gone.",
            hint="Measure from Python: evaluate_run(RUN, dataset=rows). Or on other rows: --data FILE.",
        )
    found = given or load_dataset(config.data, columns=config.columns, skip_bad=config.skip_bad)
    known = (provenance.get("data") or {}).get("sha256")
    if known and known != found.fingerprint:
        raise RunError(
            f"The rows of {found.name} are not those that the run was trained on, so that nobody can tell which of "
            "them it has seen.",
            hint=f"Put the old file back. {_ANOTHER}",
        )
    dataset = unique_rows(first_rows(found, config.max_rows), config.duplicates)
    other = None
    if config.eval_data:
        other = load_dataset(config.eval_data, columns=config.columns, skip_bad=config.skip_bad)
    return split(dataset, config.eval_fraction, seed=config.seed, held_out=other), found


def _other(
    config: RunConfig, provenance: Mapping[str, Any], found: Dataset, given: Dataset | None, most: int
) -> Chosen:
    """Rows of another data set: its held-out part if it has one, without those that the run was trained on."""
    rows = _unique(found.held_out if len(found.held_out) else found.rows)
    notes: list[str] = []
    train: Rows | None = None
    try:
        train = _unique(_parts(config, provenance, given)[0].train)
    except FtkError:
        notes.append("The rows that the run was trained on are gone: nobody can tell whether it has seen these.")
    if train is not None:
        rows, seen = _without(rows, train)
        if not len(rows):
            raise DataError(
                f"Every row of {found.name} was trained on, so that it tells nothing.", hint="Give rows that are new."
            )
        if seen:
            notes.append(f"{seen} rows of {found.name} were left out because the run was trained on them.")
    picked = _picked(rows, most, config.seed)
    if len(picked) < len(rows):
        notes.append(f"{len(picked)} of {len(rows)} rows were measured.")
    beside = () if train is None else tuple(_picked(train, len(picked), config.seed))
    return Chosen(tuple(picked), beside, found.name, found.fingerprint, len(rows), tuple(notes))


def _unique(rows: Rows) -> Rows:
    """One of each of the equal rows, in their order."""
    import numpy as np

    _, first = np.unique(rows.store.digests[rows.indices], return_index=True)
    return Rows(rows.store, rows.indices[np.sort(first)])


def _without(rows: Rows, others: Rows) -> tuple[Rows, int]:
    """The rows that are not among others, and how many are."""
    import numpy as np

    seen = np.isin(rows.store.digests[rows.indices], others.store.digests[others.indices])
    return Rows(rows.store, rows.indices[~seen]), int(seen.sum())


def _picked(rows: Rows, most: int, seed: int) -> Rows:
    """At most so many of the rows, chosen by content and seed, in their order."""
    import numpy as np

    if len(rows) <= most:
        return rows
    rank = mixed(rows.store.digests[rows.indices], seed + 1)  # not the split's order: it chose by that already
    return Rows(rows.store, rows.indices[np.sort(np.argsort(rank, kind="stable")[:most])])
