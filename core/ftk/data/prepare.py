"""A data set made ready for training: split, encoded, counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from . import templates, tokens
from .dataset import Dataset, load_dataset
from .encoding import Encoded, Shape, nothing_fits
from .split import Split, first_rows, split, unique_rows


@dataclass(frozen=True)
class Prepared:
    """The rows that are used, both sides of them, their examples, and the name of their chat template."""

    dataset: Dataset
    parts: Split
    train: Encoded
    held_out: Encoded
    template: str


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
    train_on: Literal["all", "last"] = "all",
    long_rows: Literal["cut", "drop"] = "cut",
    columns: str | None = None,
    skip_bad: int = 0,
    duplicates: Literal["keep", "drop"] = "keep",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Split a data set and turn it into tokens; the tokens are kept on disk and found again.

    Args:
        dataset: Whatever `load_dataset` takes.
        tokenizer: The model's tokenizer; gets a chat template if it has none.
        max_length: Longest row in tokens.
        eval_fraction: Part set aside for evaluation.
        eval_data: A data set to evaluate on instead.
        max_rows: Use only the first rows.
        template: ``auto``, ``chatml``, ``alpaca`` or ``plain``.
        system_prompt: Put before conversations that have no system turn.
        train_on: The assistant turns that are learnt: ``all``, or the ``last`` of each conversation.
        long_rows: Longer rows are ``cut`` at their end, or ``drop`` leaves them out.
        columns: Which column is what; see `load_dataset`.
        skip_bad: So many rows that cannot be read, or that the chat template refuses, are left out.
        duplicates: ``drop`` keeps one of each of the equal rows.
        seed: Which rows are set aside.
        progress: Called with rows done and rows in all; may raise to cancel.

    Raises:
        DataError: see `load_dataset` and `encoding.encode`; or nothing is left to learn.

    """
    loaded = first_rows(load_dataset(dataset, columns=columns, skip_bad=skip_bad), max_rows)
    loaded = unique_rows(loaded, duplicates)
    other = load_dataset(eval_data, columns=columns, skip_bad=skip_bad) if eval_data else None
    parts = split(loaded, eval_fraction, seed=seed, held_out=other)
    name = templates.choose(tokenizer, template)
    shape = Shape(max_length, train_on, long_rows, system_prompt, max(0, skip_bad - loaded.info.faults))
    if other is None:
        train, held_out = tokens.tokenised([parts.train, parts.held_out], tokenizer, shape, progress)
    else:
        (train,) = tokens.tokenised([parts.train], tokenizer, shape, progress)
        (held_out,) = tokens.tokenised([parts.held_out], tokenizer, shape)
    if not train.examples:
        raise nothing_fits(max_length)
    return Prepared(loaded, parts, train, held_out, name)
