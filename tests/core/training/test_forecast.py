"""The time left: counts the tokens to come, learns the fixed part of an update, and is sure when it may be."""

from __future__ import annotations

import random

import pytest

from ftk.training.forecast import Forecast
from ftk.training.sizes import Sizes

PER_EPOCH = 25


def course(fixed: float, each: float, epochs: int = 4, noise: float = 0.03, seed: int = 0) -> list[tuple[int, float]]:
    """Tokens and seconds of the updates of a run whose steps hold rows of like length."""
    draw = random.Random(seed)
    sizes = [draw.choice((40, 60, 90, 150, 300, 600)) * 4 for _ in range(PER_EPOCH)]
    steps = [size for _ in range(epochs) for size in draw.sample(sizes, PER_EPOCH)]
    return [(size, (fixed + each * size) * draw.uniform(1 - noise, 1 + noise)) for size in steps]


def told(steps: list[tuple[int, float]], after: int) -> tuple[Forecast, float, float]:
    """A forecast after some updates, what it says, and what was left in truth."""
    forecast = Forecast(len(steps), PER_EPOCH, sum(size for size, _ in steps[:PER_EPOCH]))
    for size, seconds in steps[:after]:
        forecast.take(size, seconds)
    left = forecast.left(after, sum(size for size, _ in steps[:after]))
    return forecast, left.seconds, sum(seconds for _, seconds in steps[after:])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("fixed", "each"), [(0.0, 2e-3), (0.2, 1.5e-3), (0.5, 5e-4)])
def test_after_five_steps_it_is_within_ten_percent(fixed: float, each: float, seed: int) -> None:
    _, said, true = told(course(fixed, each, seed=seed), 5)
    assert said == pytest.approx(true, rel=0.10)


@pytest.mark.parametrize("seed", range(6))
def test_a_slow_first_step_is_soon_forgotten(seed: int) -> None:
    steps = course(0.1, 1.5e-3, seed=seed)
    steps[0] = (steps[0][0], 5 * steps[0][1])
    _, said, true = told(steps, 5)
    assert said == pytest.approx(true, rel=0.12)


def test_the_range_holds_what_comes_and_narrows_to_nothing() -> None:
    widths = []
    for after in (1, 3, 10, 60):
        steps = course(0.1, 1.5e-3, seed=3)
        forecast, _, true = told(steps, after)
        left = forecast.left(after, sum(size for size, _ in steps[:after]))
        if left.low is None or left.high is None:
            widths.append(0.0)
        else:
            assert left.low <= true <= left.high
            widths.append((left.high - left.low) / left.seconds)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0.2
    assert widths[-1] == 0.0


def test_other_things_are_added_and_at_the_end_nothing_is_left() -> None:
    steps = course(0.1, 1.5e-3)
    forecast, said, _ = told(steps, 30)
    done = sum(size for size, _ in steps[:30])
    assert forecast.left(30, done, 7.0).seconds == pytest.approx(said + 7.0)
    assert forecast.left(len(steps), sum(size for size, _ in steps)).seconds == pytest.approx(0.0, abs=1e-6)
    assert Forecast(10, 5, 100).left(0, 0, 3.0).seconds == 3.0


def test_a_run_shorter_than_an_epoch_counts_its_own_part() -> None:
    forecast = Forecast(10, 100, 40_000)
    assert forecast.tokens_left(0, 0) == pytest.approx(4_000)
    assert forecast.tokens_left(5, 1_000) == pytest.approx(39_000 * 5 / 95)
    assert Forecast(10, 5, 0).tokens_left(5, 1_000) == pytest.approx(1_000)


@pytest.mark.parametrize("seed", range(5))
def test_first_steps_that_wait_for_something_done_once_do_not_frighten(seed: int) -> None:
    steps = course(0.1, 1.5e-3, seed=seed)
    for number in (0, 3):
        steps[number] = (steps[number][0], steps[number][1] + 5.0)
    _, said, true = told(steps, 6)
    assert said == pytest.approx(true, rel=0.25)
    _, said, true = told(steps, 12)
    assert said == pytest.approx(true, rel=0.12)


def test_what_measuring_takes_is_a_part_of_what_training_takes() -> None:
    forecast, _, _ = told(course(0.0, 2e-3, noise=0.0), 10)
    assert forecast.forward(1000) == pytest.approx(0.8, rel=0.05)
    assert Forecast(10, 5, 100).forward(1000) is None


def new_sizes(steps: list[tuple[int, float]], cost: float) -> tuple[Sizes, list[tuple[int, float]]]:
    """What is known of a course's sizes, and the course with what preparing for each new one costs."""
    sizes = Sizes(lambda step: [steps[step][0]], 1, 0, len(steps))
    return sizes, [(size, took * (1 + cost * sizes.fresh(step))) for step, (size, took) in enumerate(steps)]


def alike(seed: int) -> list[tuple[int, float]]:
    """A run over rows of a few lengths, which it soon has seen all."""
    draw = random.Random(seed)
    return [(size, 2e-3 * size * draw.uniform(0.97, 1.03)) for _ in range(10) for size in (560, 592, 576, 624, 640)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("cost", [0.2, 0.3, 0.38])
def test_steps_that_prepare_for_new_sizes_say_little_of_those_to_come(seed: int, cost: float) -> None:
    sizes, steps = new_sizes(alike(seed), cost)
    for after in (5, 6, 15):
        forecast = Forecast(len(steps), 5, 0, prepares=True)
        for step, (size, took) in enumerate(steps[:after]):
            forecast.take(size, took, sizes.fresh(step))
        tokens = sum(size for size, _ in steps[:after])
        left = forecast.left(after, tokens, fresh=sizes.left(after)).seconds
        assert left == pytest.approx(sum(took for _, took in steps[after:]), rel=0.10)


def test_a_device_that_prepares_nothing_is_not_said_to() -> None:
    sizes, steps = new_sizes(alike(0), 0.0)
    said = []
    for prepares in (False, True):
        forecast = Forecast(len(steps), 5, 0, prepares=prepares)
        for step, (size, took) in enumerate(steps[:40]):
            forecast.take(size, took, sizes.fresh(step))
        said.append(forecast.left(40, sum(size for size, _ in steps[:40]), fresh=sizes.left(40)).seconds)
    assert said[1] == pytest.approx(said[0], rel=0.02)


def test_sizes_are_new_once_and_after_a_resume_once_more() -> None:
    met = [[1, 2], [2, 2], [3], [1], [4, 4]]
    sizes = Sizes(lambda step: met[step], 2, 0, 5)
    assert [sizes.fresh(step) for step in range(-1, 6)] == [0, 1, 0, 1, 0, 0.5, 0]
    assert [sizes.left(step) for step in (0, 1, 3, 5, 9)] == [2.5, 1.5, 0.5, 0, 0]
    resumed = Sizes(lambda step: met[step], 2, 3, 5)
    assert [resumed.fresh(step) for step in (2, 3, 4)] == [0, 1, 0.5]
    assert Sizes(lambda step: met[step], 20_000, 0, 5).left(0) == 1  # not further than so many rows
