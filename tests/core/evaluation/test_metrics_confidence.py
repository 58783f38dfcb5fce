"""Intervals: repeatable, honest on simulated data, silent where there is nothing to say."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from ftk.evaluation.metrics.confidence import (
    Confidence,
    Sample,
    contrast,
    difference,
    exp_of,
    interval,
    mean_of,
    ratio_of,
    score,
    swapped,
    t_quantile,
)

QUICK = Confidence(resamples=400)
Draw = Callable[[np.random.Generator, int], np.ndarray]


def test_quantiles_of_student_are_those_of_the_tables() -> None:
    for freedom, known in ((1, 12.7062), (2, 4.30265), (3, 3.18245), (5, 2.57058), (9, 2.26216), (29, 2.04523)):
        assert t_quantile(0.975, freedom) == pytest.approx(known, rel=1e-5)
    assert t_quantile(0.95, 9) == pytest.approx(1.83311, rel=1e-5)
    assert t_quantile(0.995, 4) == pytest.approx(4.60409, rel=1e-5)


def test_a_seed_makes_an_interval_repeatable() -> None:
    sample = mean_of([0.1, 0.5, 0.7, 0.2, 0.9, 0.4, 0.3])
    assert score(sample) == score(sample)
    assert interval(sample, Confidence(seed=1)) != interval(sample, Confidence(seed=2))
    wide, narrow = interval(sample, Confidence(level=0.99)), interval(sample, Confidence(level=0.8))
    assert wide[0] < narrow[0] < sample.total() < narrow[1] < wide[1]


def test_many_rows_are_drawn_in_portions_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftk.evaluation.metrics import confidence

    base, tuned = mean_of(list(np.linspace(0, 1, 40))), mean_of(list(np.linspace(0.1, 1.2, 40) ** 2))
    whole = (score(base), difference(base, tuned, "higher"))
    monkeypatch.setattr(confidence, "_ENTRIES", 40 * 7)
    assert (score(base), difference(base, tuned, "higher")) == whole


@pytest.mark.parametrize("rows", [8, 25, 60])
@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        pytest.param(lambda random, n: random.exponential(1.0, n), 1.0, id="exponential"),
        pytest.param(lambda random, n: random.beta(2, 5, n), 2 / 7, id="beta"),
        pytest.param(lambda random, n: random.normal(3, 2, n), 3.0, id="normal"),
    ],
)
def test_intervals_hold_the_true_value_about_as_often_as_they_say(rows: int, draw: Draw, mean: float) -> None:
    random = np.random.default_rng(rows)
    held = 0
    for trial in range(400):
        low, high = interval(mean_of(draw(random, rows)), Confidence(resamples=300, seed=trial))
        held += low <= mean <= high
    assert (0.86 if rows < 10 else 0.91) <= held / 400 <= 0.98, held / 400


@pytest.mark.parametrize(("rows", "part"), [(10, 0.5), (10, 0.05), (50, 0.9), (200, 0.02)])
def test_intervals_of_rates_hold_the_true_rate(rows: int, part: float) -> None:
    random = np.random.default_rng(7)
    held = 0
    for _ in range(1000):
        low, high = interval(mean_of((random.random(rows) < part).astype(float), (0, 1), rate=True))
        held += low <= part <= high
    assert held / 1000 >= 0.9, held / 1000


def test_a_rate_of_rows_that_are_all_alike_is_still_uncertain() -> None:
    none = score(mean_of([0.0] * 20, (0, 1), rate=True))
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(0.161, abs=0.001)  # Wilson's upper end for 0 of 20
    every = score(mean_of([1.0] * 20, (0, 1), rate=True))
    assert (every.high, round(every.low or 0, 3)) == (1, 0.839)
    points = score(mean_of([0.0] * 20, (0.0, 100.0)))
    assert (points.low, round(points.high or 0, 1)) == (0, 16.1)


def test_no_rows_and_one_row_give_words_and_no_number() -> None:
    for rows, word in (([], "no rows"), ([0.5], "one row")):
        found = score(mean_of(rows))
        assert (found.value, found.low, found.high, found.rows) == (None, None, None, len(rows))
        assert word in found.note
        apart = difference(mean_of(rows), mean_of(rows), "higher")
        assert (apart.value, apart.verdict) == (None, "unknown")
        assert word in apart.words
        gap = contrast((mean_of(rows), mean_of([1.0, 2.0])), (mean_of(rows), mean_of([1.0, 2.0])))
        assert gap.value is None
        assert word in gap.words


def test_what_cannot_be_computed_is_said() -> None:
    nothing = ratio_of([0.0, 0.0], [0.0, 0.0])
    assert score(nothing).value is None
    assert "nothing to measure" in score(nothing).note
    assert difference(nothing, nothing, "lower").verdict == "unknown"


def test_a_ratio_weighs_rows_by_their_size() -> None:
    losses = ratio_of([10.0, 2.0, 1.5], [5.0, 1.0, 1.0])
    assert losses.total() == pytest.approx(13.5 / 7)
    assert exp_of(losses).total() == pytest.approx(math.exp(13.5 / 7))
    low, high = interval(losses)
    assert interval(exp_of(losses)) == pytest.approx((math.exp(low), math.exp(high)))


def test_noise_is_called_noise_about_as_often_as_promised() -> None:
    random = np.random.default_rng(3)
    wrong = 0
    for trial in range(300):
        level = random.normal(0, 1, 12)  # the rows differ far more than the models do, which pairing takes out
        base, tuned = level + random.normal(0, 0.1, 12), level + random.normal(0, 0.1, 12)
        how = Confidence(resamples=300, seed=trial)
        wrong += difference(mean_of(base), mean_of(tuned), "higher", how).verdict != "noise"
    assert wrong / 300 <= 0.08, wrong / 300


def test_a_small_but_steady_difference_is_found_in_pairs() -> None:
    random = np.random.default_rng(4)
    level = random.normal(0, 1, 30)
    base, tuned = mean_of(level), mean_of(level + random.normal(0.1, 0.1, 30))
    found = difference(base, tuned, "higher")
    assert found.verdict == "better"
    assert difference(base, tuned, "lower").verdict == "worse"
    assert difference(base, tuned, "").verdict == "differs"
    assert difference(tuned, base, "higher").verdict == "worse"
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < (found.value or 0) < found.high
    apart = interval(tuned)[1] - interval(tuned)[0]
    assert found.high - found.low < apart / 3  # unpaired, it would drown


@pytest.mark.parametrize(("rows", "verdict"), [(2, "noise"), (4, "noise"), (5, "noise"), (6, "better"), (9, "better")])
def test_few_rows_prove_nothing_however_far_apart(rows: int, verdict: str) -> None:
    found = difference(mean_of([0.0] * rows), mean_of([1.0] * rows), "higher")
    assert found.value == 1
    assert found.chance == 2 / 2**rows
    assert found.verdict == verdict


def test_equal_models_do_not_differ() -> None:
    same = mean_of([0.3, 0.8, 0.1, 0.9, 0.5, 0.5, 0.2, 0.7])
    found = difference(same, same, "higher")
    assert (found.value, found.low, found.high, found.chance, found.verdict) == (0, 0, 0, 1, "noise")


def test_counted_and_drawn_swaps_agree() -> None:
    random = np.random.default_rng(5)
    base = random.normal(0, 1, 12)
    one, other = mean_of(base), mean_of(base + random.normal(0.2, 0.5, 12))
    from ftk.evaluation.metrics import confidence

    exact = swapped(one, other, Confidence())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confidence, "_EXACT", 0)
        drawn = swapped(one, other, Confidence(resamples=20_000))
    assert drawn == pytest.approx(exact, abs=0.02)


def test_a_corpus_metric_is_computed_anew_for_every_draw() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [10.0, 10.0], [0.0, 5.0], [2.0, 3.0], [8.0, 9.0]])
    seen: list[int] = []

    def value(sums: np.ndarray) -> np.ndarray:
        seen.append(sums.size // 2)
        return np.asarray(np.sqrt(sums[..., 0] / sums[..., 1]))

    found = score(Sample(rows, value), QUICK)
    assert found.value == pytest.approx(math.sqrt(24 / 33))
    assert sum(seen) >= 400
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_learning_by_heart_is_told_from_rows_that_are_harder() -> None:
    random = np.random.default_rng(6)
    seen, new = random.normal(2.0, 0.3, 40), random.normal(2.5, 0.3, 40)  # held-out rows are harder for both

    def noisy(values: np.ndarray, shift: float) -> Sample:
        return mean_of(values + shift + random.normal(0, 0.05, 40))

    honest = contrast((mean_of(seen), mean_of(new)), (noisy(seen, -0.5), noisy(new, -0.5)))
    assert honest.verdict == "noise"
    by_heart = contrast((mean_of(seen), mean_of(new)), (noisy(seen, -1.2), noisy(new, -0.5)))
    assert by_heart.verdict == "worse"
    assert by_heart.value == pytest.approx(0.7, abs=0.05)
    few = contrast((mean_of([2.0] * 3), mean_of([2.5] * 3)), (mean_of([0.1] * 3), mean_of([2.0] * 3)))
    assert few.verdict == "noise"
