"""A data set made ready for training: split, encoded, counted."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import DataError
from . import encoding, templates
from .encoding import Encoded
from .reading import Dataset, load_dataset
from .rows import Row, with_system


@dataclass(frozen=True)
class Prepared:
    """Training and held-out examples with their rows, and the name of the chat template they were made with."""

    name: str
    train: Encoded
    held_out: Encoded
    held_out_rows: tuple[Row, ...]
    template: str
    fingerprint: str


@dataclass(frozen=True)
class Split:
    """The rows to learn from and those to measure with."""

    train: tuple[Row, ...]
    held_out: tuple[Row, ...]


def split(dataset: Dataset, fraction: float, *, seed: int = 0, held_out: Dataset | None = None) -> Split:
    """Set rows aside for evaluation.

    Args:
        dataset: All rows; its own held-out part is used if it has one.
        fraction: Part of the rows otherwise set aside, at least one; 0 sets none aside at all.
        seed: Which ones.
        held_out: A data set to evaluate on instead.

    Raises:
        DataError: a single row cannot be split.

    """
    if held_out is not None:
        return Split(dataset.rows, held_out.rows)
    if fraction == 0:
        return Split(dataset.rows, ())
    if dataset.held_out:
        return Split(dataset.rows, dataset.held_out)
    if len(dataset) < 2:
        raise DataError(f"{dataset.name} has one row; evaluation needs another.", hint="Use --eval-fraction 0.")
    count = max(1, round(len(dataset) * fraction))
    aside = set(random.Random(seed).sample(range(len(dataset)), count))  # noqa: S311 - not a secret
    return Split(
        tuple(row for index, row in enumerate(dataset.rows) if index not in aside),
        tuple(row for index, row in enumerate(dataset.rows) if index in aside),
    )


def first_rows(dataset: Dataset, count: int | None) -> Dataset:
    """The data set with only its first `count` rows, or as it is."""
    return Dataset(dataset.name, dataset.rows[:count], dataset.held_out) if count else dataset


def prepare_dataset(  # noqa: PLR0913 - the settings of the section `data`, each by name
    dataset: Any,
    tokenizer: Any,
    *,
    max_length: int = 512,
    eval_fraction: float = 0.1,
    eval_data: Any = None,
    max_rows: int | None = None,
    template: Any = "auto",
    system_prompt: str | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Split a data set and turn it into tokens.

    Args:
        dataset: Whatever `load_dataset` takes.
        tokenizer: The model's tokenizer; gets a chat template if it has none.
        max_length: Longest row in tokens.
        eval_fraction: Part set aside for evaluation.
        eval_data: A data set to evaluate on instead.
        max_rows: Use only the first rows.
        template: ``auto``, ``chatml``, ``alpaca`` or ``plain``.
        system_prompt: Put before conversations that have no system turn.
        seed: Which rows are set aside.
        progress: Called with rows done and rows in all.

    Raises:
        DataError: see `load_dataset` and `encoding.encode`.

    """
    loaded = load_dataset(dataset)
    loaded = first_rows(loaded, max_rows)
    parts = split(loaded, eval_fraction, seed=seed, held_out=load_dataset(eval_data) if eval_data else None)
    train, held_out = parts.train, parts.held_out
    if system_prompt:
        train, held_out = (
            tuple(with_system(train, system_prompt)),
            tuple(with_system(held_out, system_prompt)),
        )
    name = templates.choose(tokenizer, template)
    return Prepared(
        name=loaded.name,
        train=encoding.encode(train, tokenizer, max_length, progress),
        held_out=encoding.encode(held_out, tokenizer, max_length),
        held_out_rows=held_out,
        template=name,
        fingerprint=loaded.fingerprint,
    )


def get_dataset_stats(dataset: Any, tokenizer: Any = None) -> dict[str, Any]:
    """Counts and lengths of a data set.

    Args:
        dataset: Whatever `load_dataset` takes.
        tokenizer: Lengths are in tokens of the formatted rows if given, else in characters.

    Returns:
        ``rows``, ``held_out_rows``, ``turns``, ``unit`` and, for ``prompt`` and ``response`` (with a tokenizer:
        ``row`` and ``supervised``), the minimum, median, 95th percentile, maximum and sum.

    """
    loaded = load_dataset(dataset)
    stats: dict[str, Any] = {
        "name": loaded.name,
        "rows": len(loaded.rows),
        "held_out_rows": len(loaded.held_out),
        "turns": sum(len(row.messages) for row in loaded.rows),
    }
    if tokenizer is None:
        responses = [len(row.response) for row in loaded.rows]
        return stats | {
            "unit": "characters",
            "prompt": _summary([len(row.prompt) for row in loaded.rows]),
            "response": _summary(responses),
        }
    templates.choose(tokenizer)
    encoded = encoding.encode(loaded.rows, tokenizer, max_length=2**31)
    return stats | {
        "unit": "tokens",
        "row": _summary([len(example) for example in encoded.examples]),
        "supervised": _summary([example.targets for example in encoded.examples]),
    }


def _summary(values: list[int]) -> dict[str, int]:
    ordered = sorted(values)
    return {
        "min": ordered[0],
        "median": ordered[len(ordered) // 2],
        "p95": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
        "max": ordered[-1],
        "sum": sum(ordered),
    }
