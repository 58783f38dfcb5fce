"""BLEU and chrF by sacrebleu, in a form that can be drawn anew: counts of every row, and the score of their sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .confidence import Numbers, Sample

POINTS = (0.0, 100.0)


def bleu(answers: Sequence[str], references: Sequence[str]) -> Sample:
    """BLEU of a set (Papineni et al. 2002; arXiv:1804.08771), 0 to 100, with sacrebleu's defaults (13a, exp)."""
    from sacrebleu.metrics.bleu import BLEU

    return _sample(BLEU(force=True), answers, references)


def chrf(answers: Sequence[str], references: Sequence[str]) -> Sample:
    """ChrF of a set (Popović 2015), 0 to 100, with sacrebleu's defaults (six characters, recall counts twice)."""
    from sacrebleu.metrics.chrf import CHRF

    return _sample(CHRF(), answers, references)


def _sample(metric: Any, answers: Sequence[str], references: Sequence[str]) -> Sample:
    """The counts of every row.

    What `corpus_score` does is to sum these up; that a sum of others can be scored too is its inner working, which its
    own bootstrap uses and which has been the same since version 2.
    """
    counts = metric._extract_corpus_statistics(list(answers), [list(references)]) if answers else []

    def value(sums: Numbers) -> Numbers:
        flat = sums.reshape(-1, sums.shape[-1])
        scores = [metric._compute_score_from_stats([round(part) for part in row]).score for row in flat.tolist()]
        return np.asarray(scores, np.float64).reshape(sums.shape[:-1])

    statistics = np.asarray(counts, np.float64) if counts else np.zeros((0, 2))
    return Sample(statistics, value, POINTS)
