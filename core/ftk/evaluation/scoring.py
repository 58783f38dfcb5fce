"""From losses and answers to scores: every metric of one model, and of two against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .generate import Answer
from .losses import RowLoss
from .metrics import corpus, text
from .metrics.confidence import Confidence, Sample, contrast, difference, exp_of, mean_of, ratio_of, score
from .metrics.formats import Expectation
from .metrics.harness import TaskScore
from .results import KINDS, Better, Difference, Measure, Overfitting, Score

_PART = (0.0, 1.0)
_BY_WORDS: Mapping[str, Callable[[str, str], float]] = {
    "token_f1": text.token_f1,
    "rouge1": lambda answer, reference: text.rouge_n(answer, reference, 1),
    "rouge2": lambda answer, reference: text.rouge_n(answer, reference, 2),
    "rougeL": text.rouge_l,
}


def loss_samples(losses: Sequence[RowLoss]) -> dict[str, Sample]:
    """Loss and perplexity of some rows."""
    loss = ratio_of([row.total for row in losses], [float(row.tokens) for row in losses])
    return {"loss": loss, "perplexity": exp_of(loss)}


def answer_samples(
    answers: Sequence[Answer],
    references: Sequence[str],
    expected: Expectation = Expectation(),  # noqa: B008 - frozen
    semantic: Sequence[float] | None = None,
) -> dict[str, Sample]:
    """Every metric of answers against their references.

    Args:
        answers: What a model said.
        references: What it should have said.
        expected: The form that the answers shall have.
        semantic: The semantic score of every answer, at most 1, where it was measured.

    """
    said = [answer.text for answer in answers]
    pairs = list(zip(said, references, strict=True))
    found = {"exact_match": mean_of([text.exact_match(*pair) for pair in pairs], _PART, rate=True)}
    for key, metric in _BY_WORDS.items():
        found[key] = mean_of([100 * metric(*pair) for pair in pairs], corpus.POINTS)
    found["bleu"], found["chrf"] = corpus.bleu(said, references), corpus.chrf(said, references)
    if semantic is not None:
        found["semantic"] = mean_of([100 * value for value in semantic], (-100.0, 100.0))
    for key, check in expected.checks().items():
        found[key] = mean_of([check(answer) for answer in said], _PART, rate=True)
    found["repetition"] = mean_of([text.repetition(answer) for answer in said], _PART)
    found["empty"] = mean_of([text.empty(answer) for answer in said], _PART, rate=True)
    found["cut"] = mean_of([float(answer.reason == "length") for answer in answers], _PART, rate=True)
    return {key: found[key] for key in KINDS if key in found}


def measures(tuned: Mapping[str, Sample], base: Mapping[str, Sample] | None, how: Confidence) -> tuple[Measure, ...]:
    """Scores of the tuned model and, where it was measured, of the base, with what lies between them."""
    return tuple(measure(key, sample, base[key] if base else None, how) for key, sample in tuned.items())


def measure(key: str, tuned: Sample, base: Sample | None, how: Confidence) -> Measure:
    """One metric."""
    if base is None:
        return Measure(key, score(tuned, how))
    return Measure(key, score(tuned, how), score(base, how), difference(base, tuned, KINDS[key].better, how))


def overfitting(
    held_out: tuple[Sequence[RowLoss], Sequence[RowLoss]],
    train: tuple[Sequence[RowLoss], Sequence[RowLoss]],
    how: Confidence,
) -> Overfitting:
    """How much more the tuned model gained on rows that it was trained on than on held-out ones.

    Args:
        held_out: Losses of base and tuned model on held-out rows.
        train: The same on rows that were trained on.
        how: Draws, seed and level.

    """
    (base_out, tuned_out), (base_in, tuned_in) = (
        tuple(loss_samples(losses)["loss"] for losses in side) for side in (held_out, train)
    )
    return Overfitting(
        measure("loss", tuned_in, base_in, how), contrast((base_in, base_out), (tuned_in, tuned_out), how)
    )


def task_measures(tuned: Sequence[TaskScore], base: Sequence[TaskScore], how: Confidence) -> tuple[Measure, ...]:
    """Scores of lm-evaluation-harness; those that are no mean over questions have no interval."""
    known = {score.key: score for score in base}
    return tuple(_task_measure(score, known.get(score.key), how) for score in tuned)


def _task_measure(tuned: TaskScore, base: TaskScore | None, how: Confidence) -> Measure:
    mine, theirs = _task_score(tuned, how), _task_score(base, how) if base else None
    apart = None
    if base and tuned.values and len(base.values) == len(tuned.values):
        apart = difference(_task_sample(base), _task_sample(tuned), tuned.better, how)
    elif base:
        note = "the harness tells no value of each question"
        apart = Difference(tuned.value - base.value, None, None, None, "unknown", note)
    better: Better = tuned.better
    return Measure(tuned.key, mine, theirs, apart, better)


def _task_score(found: TaskScore, how: Confidence) -> Score:
    return score(_task_sample(found), how) if found.values else Score(found.value, None, None, 0)


def _task_sample(found: TaskScore) -> Sample:
    return mean_of(found.values, rate=set(found.values) <= {0.0, 1.0})
