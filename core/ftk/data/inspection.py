"""All there is to know about a data set in one report: what it is, what is wrong with it, how long it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ..errors import DataError
from . import checks, templates, tokens
from .checks import Finding
from .dataset import Dataset, Rows, load_dataset
from .encoding import Encoded, Shape
from .split import Split, first_rows, split, unique_rows
from .statistics import get_dataset_stats, summary_of
from .store import SourceInfo

EVERYTHING = 1 << 62
"""As many faults as there may be: an inspection shows them instead of refusing."""


@dataclass(frozen=True)
class Settings:
    """How a data set would be used: the settings of the same names."""

    columns: str | None = None
    skip_bad: int = 0
    duplicates: Literal["keep", "drop"] = "keep"
    max_rows: int | None = None
    eval_data: str | None = None
    eval_fraction: float = 0.1
    seed: int = 0
    template: Any = "auto"
    batch_size: int = 4
    shape: Shape = field(default_factory=lambda: Shape(512))


@dataclass(frozen=True)
class Inspection:
    """What was found. `statistics` are those of `get_dataset_stats`, in tokens if a tokenizer was given."""

    dataset: Dataset
    sources: tuple[SourceInfo, ...]
    findings: tuple[Finding, ...]
    statistics: dict[str, Any]
    template: str | None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "name": self.dataset.name,
            "sha256": self.dataset.fingerprint,
            "sources": [asdict(source) for source in self.sources],
            "findings": [asdict(finding) for finding in self.findings],
            "statistics": self.statistics,
            "template": self.template,
        }


def inspect_dataset(
    spec: Any,
    tokenizer: Any = None,
    settings: Settings | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Inspection:
    """Read, check and measure a data set; nothing is refused that can be shown instead.

    Args:
        spec: Whatever `load_dataset` takes.
        tokenizer: The model's tokenizer, for lengths in tokens and for what does not fit.
        settings: How it would be used.
        progress: Called with ``read``, ``measure``, ``tokenise`` or ``check``, and what is done of what; may raise.

    Raises:
        DataError: it cannot be read at all, or its columns not be recognised.

    """
    wanted = settings or Settings()

    def telling(phase: str) -> Callable[[int, int], None] | None:
        return (lambda done, total: progress(phase, done, total)) if progress else None

    dataset = load_dataset(spec, columns=wanted.columns, skip_bad=EVERYTHING, progress=telling("read"))
    dataset = unique_rows(first_rows(dataset, wanted.max_rows), wanted.duplicates)
    other = load_dataset(wanted.eval_data, columns=wanted.columns, skip_bad=EVERYTHING) if wanted.eval_data else None
    parts = encoded = template = None
    refused: list[Finding] = []
    try:
        parts = split(dataset, wanted.eval_fraction, seed=wanted.seed, held_out=other)
    except DataError as error:
        refused.append(checks.refused(error))
    statistics = get_dataset_stats(dataset, progress=telling("measure")) | _sides(parts)
    if tokenizer is not None:
        template = templates.choose(tokenizer, wanted.template)
        try:
            encoded, lengths = _measured(parts.train if parts else dataset.rows, tokenizer, wanted, telling("tokenise"))
            statistics = statistics | lengths
        except DataError as error:  # the lengths stay those of characters
            refused.append(checks.refused(error))
    found = checks.check(
        dataset, parts, encoded,
        max_length=wanted.shape.max_length, skip_bad=wanted.skip_bad,
        special=checks.special_tokens(tokenizer) if tokenizer is not None else (), progress=telling("check"),
    )  # fmt: skip
    return Inspection(dataset, tuple(dataset.info.sources), (*refused, *found), statistics, template)


def _measured(
    rows: Rows, tokenizer: Any, wanted: Settings, progress: Callable[[int, int], None] | None
) -> tuple[Encoded, dict[str, Any]]:
    """The rows as training would have them, and their lengths without the limit."""
    shape = replace(wanted.shape, refusals=max(0, wanted.skip_bad - rows.store.info.faults))
    (whole,) = tokens.tokenised([rows], tokenizer, unlimited(shape), progress)
    (encoded,) = tokens.tokenised([rows], tokenizer, shape)
    return encoded, summary_of(whole, wanted.shape.max_length, wanted.batch_size, encoded)


def _sides(parts: Split | None) -> dict[str, Any]:
    """How many rows are trained on and measured with."""
    return {"train_rows": len(parts.train), "eval_rows": len(parts.held_out)} if parts else {}


def unlimited(shape: Shape) -> Shape:
    """The shape without its limit, to see how long rows are."""
    return replace(shape, max_length=1 << 30, long_rows="cut")
