"""Counts and lengths of a data set: what is in it, how much of it fits, how much padding it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import templates, tokens
from .batches import StepPlan, lengths_of
from .dataset import load_dataset
from .encoding import Encoded, Shape

_BINS = 12


def get_dataset_stats(
    dataset: Any,
    tokenizer: Any = None,
    *,
    max_length: int = 512,
    batch_size: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Counts and lengths of a data set.

    Args:
        dataset: Whatever `load_dataset` takes.
        tokenizer: Lengths are in tokens of the formatted rows if given, else in characters.
        max_length: The limit that ``fits`` is measured against, in tokens.
        batch_size: Rows of a step, for the padding and the steps of an epoch.
        progress: Called with rows looked at and rows in all; may raise to cancel.

    Returns:
        ``rows``, ``held_out_rows``, ``turns``, ``unit`` and, for ``prompt`` and ``response`` (with a tokenizer also
        ``row`` and ``supervised``), minimum, percentiles, maximum, sum and a histogram. With a tokenizer also
        ``fits`` (part of the rows within `max_length`), ``padding`` (part of the computed tokens that pads),
        ``steps_per_epoch``.

    """
    loaded = load_dataset(dataset)
    turns, prompts, responses = 0, [], []
    for number, row in enumerate(loaded.rows, 1):
        if progress and number % 2000 == 0:
            progress(number, len(loaded.rows))
        turns += max(1, len(row.messages))
        prompts.append(len(row.prompt))
        responses.append(len(row.response))
    stats = {
        "name": loaded.name,
        "rows": len(loaded.rows),
        "held_out_rows": len(loaded.held_out),
        "turns": turns,
        "unit": "characters",
        "prompt": summary(prompts),
        "response": summary(responses),
    }
    if tokenizer is None:
        return stats
    templates.choose(tokenizer)
    (whole,) = tokens.tokenised([loaded.rows], tokenizer, Shape(1 << 30))
    return stats | summary_of(whole, max_length, batch_size)


def summary_of(whole: Encoded, max_length: int, batch_size: int, planned: Encoded | None = None) -> dict[str, Any]:
    """Lengths in tokens, what fits into `max_length`, and what padding costs.

    Args:
        whole: Rows encoded without a limit.
        max_length: The limit.
        batch_size: Rows of a step.
        planned: What training would use within the limit, for the padding and the steps: windows of raw texts are
            more, and dropped rows fewer, than the rows.

    """
    lengths = lengths_of(whole.examples)
    known = getattr(whole.examples, "targets", None)
    targets = known.tolist() if known is not None else [example.targets for example in whole.examples]
    used = lengths_of(planned.examples) if planned else [min(length, max_length) for length in lengths]
    return {
        "unit": "tokens",
        "examples": len(lengths),
        "row": summary(lengths),
        "prompt": summary([length - target for length, target in zip(lengths, targets, strict=True)]),
        "response": summary(targets),
        "supervised": summary(targets),
        "max_length": max_length,
        "fits": sum(length <= max_length for length in lengths) / max(1, len(lengths)),
        "batch_size": batch_size,
        "padding": padding(used, batch_size),
        "steps_per_epoch": -(-len(used) // batch_size),
    }


def padding(lengths: Sequence[int], batch_size: int) -> float:
    """The part of all computed tokens that is padding, with the batches that training would make (seed 0)."""
    if not lengths:
        return 0.0
    plan = StepPlan(lengths, batch_size, 0)
    steps = [plan.rows(step) for step in range(plan.steps_per_epoch)]
    computed = sum(max(lengths[row] for row in rows) * len(rows) for rows in steps)
    return 1 - sum(lengths) / computed


def summary(values: Sequence[int]) -> dict[str, Any]:
    """Minimum, percentiles, maximum, sum and a histogram of some numbers (edges and counts)."""
    ordered = sorted(values) or [0]

    def at(part: float) -> int:
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))]

    return {
        "min": ordered[0],
        "p5": at(0.05),
        "median": at(0.5),
        "p95": at(0.95),
        "p99": at(0.99),
        "max": ordered[-1],
        "sum": sum(values),
        "histogram": histogram(ordered),
    }


def histogram(ordered: Sequence[int]) -> dict[str, list[int]]:
    """Counts in equally wide bins, the last one open: what lies beyond the 99th percentile would empty the others."""
    low, high = ordered[0], max(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], ordered[0] + 1)
    bins = min(_BINS, high - low)
    edges = [low + (high - low) * index // bins for index in range(bins + 1)]
    counts = [0] * bins
    for value in ordered:
        counts[min(bins - 1, max(0, (value - low) * bins // (high - low)))] += 1
    return {"edges": edges, "counts": counts}
