"""Which rows make up which step, and which portions: all of them once, alike or not, within the budget."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftk.data.batches import StepPlan, micro_batches

LENGTHS = st.lists(st.integers(1, 600), min_size=1, max_size=300)


@given(lengths=LENGTHS, rows=st.integers(1, 9), seed=st.integers(0, 99), grouped=st.booleans())
def test_every_row_comes_once_an_epoch_and_the_order_is_the_seeds(
    lengths: list[int], rows: int, seed: int, grouped: bool
) -> None:
    plan, again = (StepPlan(lengths, rows, seed, grouped=grouped) for _ in range(2))
    for epoch in range(2):
        steps = [plan.rows(epoch * plan.steps_per_epoch + step) for step in range(plan.steps_per_epoch)]
        assert sorted(row for step in steps for row in step) == list(range(len(lengths)))
        for step in steps:
            assert [lengths[row] for row in step] == sorted((lengths[row] for row in step), reverse=True)
    assert again.rows(plan.steps_per_epoch) == plan.rows(plan.steps_per_epoch)  # whatever was asked for before


def test_grouped_steps_hold_rows_of_like_length_and_others_hold_all_kinds() -> None:
    lengths = [10 + 7 * (number * 37 % 100) for number in range(400)]
    spread, tokens = [], []
    for grouped in (True, False):
        plan = StepPlan(lengths, 4, 0, grouped=grouped)
        steps = [[lengths[row] for row in plan.rows(step)] for step in range(plan.steps_per_epoch)]
        spread.append(statistics.fmean(max(step) - min(step) for step in steps))
        tokens.append(statistics.pstdev(sum(step) for step in steps))
    assert spread[0] < spread[1] / 5
    assert tokens[0] > 1.5 * tokens[1]  # what an update learns from is more even


@given(lengths=LENGTHS, budget=st.integers(1, 2000), padded=st.booleans())
def test_portions_keep_the_order_and_the_budget(lengths: list[int], budget: int, padded: bool) -> None:
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    portions = micro_batches(rows, lengths, budget, padded=padded)
    assert [row for portion in portions for row in portion] == rows
    for portion in portions:
        taken = [lengths[row] for row in portion]
        assert len(portion) == 1 or (len(taken) * max(taken) if padded else sum(taken)) <= budget


@pytest.mark.parametrize(("padded", "portions"), [(True, [[0], [1, 2]]), (False, [[0, 1, 2]])])
def test_without_padding_short_rows_go_with_long_ones(padded: bool, portions: list[list[int]]) -> None:
    assert micro_batches([0, 1, 2], [100, 20, 10], 140, padded=padded) == portions
