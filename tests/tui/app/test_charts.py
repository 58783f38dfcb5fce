from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.color import Color, ColorSystem
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from ftk.events import Evaluation, Started
from ftk_tui.series import Series
from ftk_tui.widgets import plotting, ticks
from ftk_tui.widgets.braille import Canvas
from ftk_tui.widgets.curves import CURVES
from ftk_tui.widgets.decimate import Columns, Decimated
from ftk_tui.widgets.loss_chart import LossChart
from ftk_tui.widgets.painted import Painted, changed
from ftk_tui.widgets.plotting import HELD_OUT, OUTSIDE, Course
from ftk_tui.widgets.view import View

from .harness import step
from .snapshots import compare, settled

NUMBERS = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 0.0]))


# Columns


def decimated(values: list[float], places: list[float] | None = None) -> tuple[array[float], array[float], Decimated]:
    where = array("d", places or range(len(values)))
    numbers = array("d", values)
    return where, numbers, Decimated(where, numbers, numbers)


def plainly(where: array[float], numbers: array[float], left: float, right: float, count: int) -> Columns:
    """The same by looking at every number."""
    found, width = Columns(), (right - left) / count
    edges = [left + place * width for place in range(count)] + [math.nextafter(right, math.inf)]
    for begin, end in pairwise(edges):
        inside = [y for x, y in zip(where, numbers, strict=True) if begin <= x < end and math.isfinite(y)]
        found.low.append(min(inside, default=math.nan))
        found.high.append(max(inside, default=math.nan))
        found.mean.append(math.fsum(inside) / len(inside) if inside else math.nan)
    return found


def same(one: list[float], other: list[float]) -> bool:
    return one == pytest.approx(other, rel=1e-9, abs=1e-6, nan_ok=True)


@settings(deadline=None, max_examples=150)
@given(
    values=st.lists(NUMBERS, min_size=1, max_size=700),
    ends=st.tuples(st.floats(-50, 700), st.floats(0.5, 800)),
    count=st.integers(1, 60),
)
def test_columns_are_what_a_look_at_every_number_gives(
    values: list[float], ends: tuple[float, float], count: int
) -> None:
    where, numbers, columns = decimated(values)
    left, right = ends[0], ends[0] + ends[1]
    found, expected = columns.columns(left, right, count), plainly(where, numbers, left, right, count)
    assert same(found.low, expected.low)
    assert same(found.high, expected.high)
    assert same(found.mean, expected.mean)


@settings(deadline=None, max_examples=100)
@given(values=st.lists(NUMBERS, min_size=1, max_size=2000), count=st.integers(1, 200))
def test_no_extreme_is_lost_however_few_the_columns(values: list[float], count: int) -> None:
    _, _, columns = decimated(values)
    found = columns.columns(0, max(1, len(values) - 1), count)
    finite = [value for value in values if math.isfinite(value)]
    assert min((low for low in found.low if low == low), default=None) == min(finite, default=None)
    assert max((high for high in found.high if high == high), default=None) == max(finite, default=None)
    for low, mean, high in zip(found.low, found.mean, found.high, strict=True):
        assert low != low or low - 1e-6 <= mean <= high + 1e-6


@settings(deadline=None, max_examples=100)
@given(
    parts=st.lists(st.lists(NUMBERS, max_size=150), min_size=1, max_size=8), right=st.integers(1, 1000),
    count=st.integers(1, 80),
)  # fmt: skip
def test_columns_that_grow_are_those_that_are_made_at_once(parts: list[list[float]], right: int, count: int) -> None:
    where, numbers, columns = decimated([])
    for part in parts:
        where.extend(range(len(where), len(where) + len(part)))
        numbers.extend(part)
        grown = columns.columns(0, right, count)
    fresh = decimated(list(numbers))[2].columns(0, right, count)
    assert same(grown.low, fresh.low)
    assert same(grown.high, fresh.high)
    assert same(grown.mean, fresh.mean)


def test_numbers_that_are_taken_back_and_told_again_replace_the_old_ones() -> None:
    where, numbers, columns = decimated([5.0] * 300)
    assert columns.columns(0, 300, 10).high[5] == 5
    del where[100:], numbers[100:]
    where.extend(range(100, 300))
    numbers.extend([1.0] * 200)  # as many as before: only the generation tells
    assert columns.columns(0, 300, 10, generation=1).high[5] == 1


def test_a_loss_that_went_out_of_all_bounds_does_not_spoil_what_comes_after() -> None:
    _, _, columns = decimated([1e300] * 10 + [1.0] * 1000)
    assert columns.columns(0, 1010, 101).mean[50] == 1.0


def test_columns_move_from_left_to_right() -> None:
    _, _, columns = decimated([float(value) for value in range(10_000)])
    found = columns.columns(0, 9_999, 100)
    assert found.mean == sorted(found.mean)
    assert all(high < low for (_, high), (low, _) in pairwise(zip(found.low, found.high, strict=True)))


# Axes

SPANS = st.tuples(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12)).filter(lambda pair: pair[1] > 1e-6 * abs(pair[0]))


@given(ends=SPANS, rows=st.integers(2, 60))
def test_an_axis_holds_its_numbers_and_has_even_marks_at_round_numbers(ends: tuple[float, float], rows: int) -> None:
    low, high = ends[0], ends[0] + ends[1]
    bottom, top, gap = ticks.fitted(low, high, rows)
    room = 1e-5 * (top - bottom)
    assert bottom <= low + room
    assert top >= high - room
    assert f"{gap:e}"[0] in "125"
    assert gap / ((top - bottom) / rows) == pytest.approx(round(gap / ((top - bottom) / rows)))


@given(ends=st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)), rows=st.integers(6, 60))
def test_an_axis_wastes_little_and_its_marks_can_be_told_apart(ends: tuple[float, float], rows: int) -> None:
    low, high = ends[0], ends[0] + ends[1]
    axis = plotting.Scale(*ticks.fitted(low, high, rows))
    names = list(axis.labels(rows).values())
    assert 2 <= len(names) <= rows
    assert len(set(names)) == len(names)
    assert axis.high - axis.low <= 4 * (high - low)
    row = axis.rows(4 * rows)
    places = [row(low + part / 20 * (high - low)) for part in range(21)]
    assert places == sorted(places, reverse=True)
    assert 0 <= places[-1] <= places[0] < 4 * rows


@given(ends=SPANS, most=st.integers(1, 20))
def test_marks_along_an_axis_are_ascending_inside_and_not_too_many(ends: tuple[float, float], most: int) -> None:
    low, high = ends[0], ends[0] + ends[1]
    marks = ticks.linear(low, high, most)
    assert marks == sorted(marks)
    assert len(marks) <= most + 1
    assert all(low <= mark <= high for mark in marks)


@given(low=st.floats(1e-12, 1e6), factor=st.floats(1.0, 1e9), rows=st.integers(4, 60))
def test_marks_of_a_logarithmic_axis_are_ascending_inside_and_not_too_many(
    low: float, factor: float, rows: int
) -> None:
    axis = plotting.Scale(*ticks.decades(low, low * factor), 0.0)
    marks = ticks.logarithmic(axis.low, axis.high, max(1, rows // 2))
    assert marks == sorted(marks)
    assert len(marks) <= rows // 2 + 1
    assert all(axis.low <= mark <= axis.high for mark in marks)
    row = axis.rows(4 * rows)
    assert 0 <= row(low * factor) <= row(low) < 4 * rows


@pytest.mark.parametrize(
    ("marks", "names"),
    [
        ([0.5, 1.0, 1.5], ["0.5", "1.0", "1.5"]),
        ([0.0, 50.0, 100.0], ["0", "50", "100"]),
        ([0.0, 500.0, 1000.0], ["0", "500", "1000"]),
        ([0.0, 50_000.0, 100_000.0], ["0", "50k", "100k"]),
        ([0.0, 5e-5, 1e-4, 1.5e-4], ["0", "0.5e-4", "1.0e-4", "1.5e-4"]),
        ([-1.0, 0.0, 1.0], ["-1", "0", "1"]),
        ([], []),
    ],
)
def test_labels_are_short_and_alike(marks: list[float], names: list[str]) -> None:
    assert ticks.labels(marks) == names


@given(value=st.floats(-1e300, 1e300), gap=st.floats(0, 1e300), most=st.floats(0, 1e300))
@example(value=5e-324, gap=1e-12, most=5e-324)
@example(value=1e-90, gap=1e300, most=1e-90)
def test_a_number_is_short_whatever_it_is(value: float, gap: float, most: float) -> None:
    name = ticks.number(value, gap=gap, most=most)
    assert 1 <= len(name) <= 17
    shown = float(name.translate({ord("k"): "e3", ord("M"): "e6", ord("G"): "e9", ord("T"): "e12"}))
    assert abs(shown - value) <= max(gap, abs(value)) * 1.01 + 1e-9


def test_labels_of_powers_have_the_digits_that_each_needs() -> None:
    assert ticks.labels([0.001, 0.1, 10.0, 1000.0], log=True) == ["0.001", "0.1", "10", "1k"]
    assert ticks.labels([1e-6, 1e-5, 1e-4], log=True) == ["1e-6", "1e-5", "1e-4"]
    assert ticks.labels([0.5, 1.0, 2.0, 5.0, 10.0], log=True) == ["0.5", "1", "2", "5", "10"]


# What part is shown


@settings(max_examples=200)
@given(
    moves=st.lists(st.sampled_from(["in", "out", "left", "right", "all", "step", "there"]), max_size=40),
    total=st.integers(1, 200_000),
)
def test_however_it_is_moved_a_window_shows_a_part_of_the_run(moves: list[str], total: int) -> None:
    view, last = View(), 1.0
    for move in moves:
        if move == "step":
            last = min(last * 3, float(total))
        elif move == "all":
            view.show_all()
        elif move in ("left", "right"):
            view.pan(-0.25 if move == "left" else 0.25, last, total)
        else:
            view.zoom(2.0 if move == "out" else 0.5, last, total, at=0.3 if move == "there" else None)
        left, right = view.window(last, total)
        assert 0 <= left < right
        assert right - left >= 8 - 1e-9
        assert left <= last
        if view.following:
            assert right >= last


def test_the_whole_run_is_never_a_sliver_and_rarely_moves() -> None:
    windows = [View().window(last, 1000)[1] for last in range(1, 1001)]
    assert all(last >= right / 2 or right <= 16 for last, right in enumerate(windows, 1))
    assert len(set(windows)) <= 8


def test_a_window_that_follows_stands_still_for_a_while() -> None:
    view = View()
    view.zoom(0.5, 500, 1000)
    view.zoom(0.5, 500, 1000)
    windows = {view.window(last, 1000) for last in range(500, 600)}
    assert all(right - left == 125 for left, right in windows)
    assert len(windows) <= 8


def test_a_zoom_to_the_pointer_keeps_the_step_under_it() -> None:
    view = View()
    view.zoom(0.5, 1000, 1000, at=0.25)
    left, right = view.window(1000, 1000)
    assert left + 0.25 * (right - left) == 250


def test_far_out_is_the_whole_run_again() -> None:
    view = View()
    for factor in (0.5, 0.5, 2.0, 2.0):
        view.zoom(factor, 1000, 1000)
    assert view.whole
    assert not view.may_pan(-1, 1000, 1000)


# Cells


def test_dots_are_where_they_belong() -> None:
    canvas = Canvas(2, 1)
    canvas.run(0, 0, 0, 1)
    canvas.run(3, 1, 3, 1)
    assert canvas.lines() == [[("⠁⢰", 1)]]


def test_a_higher_layer_has_a_cell_for_itself() -> None:
    canvas = Canvas(2, 1)
    canvas.run(0, 0, 3, 1)
    canvas.run(2, 0, 0, 1)
    canvas.run(1, 0, 0, 2)
    canvas.run(0, 2, 2, 1)
    assert canvas.lines() == [[("⠈", 2), ("⠁", 1)]]


def test_a_mark_gives_way_to_a_higher_layer_only() -> None:
    canvas = Canvas(2, 1)
    canvas.mark(0, 0, "◆", 3)
    canvas.run(0, 0, 3, 2)
    canvas.mark(2, 0, "▴", 1)
    canvas.run(2, 0, 0, 2)
    assert "".join(text for text, _ in canvas.lines()[0]) == "◆⠁"


@given(
    runs=st.lists(st.tuples(st.integers(-9, 30), st.integers(-9, 30), st.integers(-9, 30), st.integers(1, 3))),
    width=st.integers(1, 12), height=st.integers(1, 6),
)  # fmt: skip
def test_whatever_is_drawn_lines_keep_their_width(
    runs: list[tuple[int, int, int, int]], width: int, height: int
) -> None:
    canvas = Canvas(width, height)
    for column, begin, end, layer in runs:
        canvas.run(column, min(begin, end), max(begin, end), layer)
        canvas.mark(begin, column, "x", layer)
    lines = canvas.lines()
    assert len(lines) == height
    assert all(sum(len(text) for text, _ in line) == width for line in lines)


def course(values: list[float], held_out: list[tuple[float, float]] | None = None, width: int = 40) -> Course:
    _, _, columns = decimated(values)
    window = (0.0, float(max(1, len(values) - 1)))
    return Course(columns.columns(*window, 2 * width), held_out or [], window)


def drawn(what: Course, *, log: bool = False, robust: bool = False, zero: bool = False) -> list[str]:
    axis = plotting.scale(what, 10, log=log, robust=robust, zero=zero)
    assert axis
    gutter = plotting.gutter_for(axis, 10)
    return ["".join(text for text, _ in row) for row in plotting.draw(what, axis, 40 + gutter, 11, gutter)]


def test_a_course_that_falls_is_drawn_falling() -> None:
    lines = drawn(course([3.0 - 2 * number / 99 for number in range(100)]))
    starts = [len(line) - len(line[8:].lstrip()) for line in lines[:-1] if line[8:].strip()]
    assert starts == sorted(starts)
    assert lines[-1].split() == ["0", "50"]


def test_held_out_points_have_a_mark_of_their_own() -> None:
    lines = drawn(course([2.0] * 100, [(0.0, 2.5), (99.0, 1.5)]))
    assert sum(line.count(HELD_OUT) for line in lines) == 2


def test_a_single_point_far_out_is_marked_at_the_edge_and_does_not_flatten_the_rest() -> None:
    values = [2.0 + 0.1 * math.sin(number) for number in range(400)]
    values[200] = 500.0
    what = course(values)
    lines = drawn(what, robust=True)
    assert OUTSIDE[0] in lines[0]
    axis = plotting.scale(what, 10, log=False, robust=True, zero=False)
    whole = plotting.scale(what, 10, log=False, robust=False, zero=False)
    assert axis
    assert axis.high < 3
    assert whole
    assert whole.high >= 500


def test_zero_cannot_stand_on_a_logarithmic_axis_and_is_left_out() -> None:
    what = course([0.0, *[10.0 ** (number % 3) for number in range(99)]])
    lines = drawn(what, log=True)
    assert not any(mark in line for mark in OUTSIDE for line in lines)
    assert plotting.scale(course([0.0] * 50), 10, log=True, robust=False, zero=False) is None


@settings(deadline=None, max_examples=100)
@given(
    values=st.lists(st.one_of(NUMBERS, st.floats()), min_size=1, max_size=120), log=st.booleans(),
    robust=st.booleans(), zero=st.booleans(),
)  # fmt: skip
def test_whatever_the_numbers_a_chart_has_its_size(values: list[float], log: bool, robust: bool, zero: bool) -> None:
    what = course(values)
    axis = plotting.scale(what, 10, log=log, robust=robust, zero=zero)
    if axis is None:
        assert not any(math.isfinite(value) and (value > 0 or not log) for value in values)
        return
    gutter = plotting.gutter_for(axis, 10)
    rows = plotting.draw(what, axis, 48, 11, gutter)
    assert len(rows) == 11
    assert {sum(len(text) for text, _ in row) for row in rows} == {48}


# What is sent


@given(
    one=st.lists(st.tuples(st.text("ab ◆⠒", max_size=6), st.sampled_from(["", "x", "y"])), max_size=5),
    other=st.lists(st.tuples(st.text("ab ◆⠒", max_size=6), st.sampled_from(["", "x", "y"])), max_size=5),
)
def test_outside_of_a_change_two_rows_look_alike(one: list[Any], other: list[Any]) -> None:
    def cells(row: list[Any]) -> list[tuple[str, str]]:
        found = [(char, name if char != " " else "") for text, name in row for char in text]
        return found + [(" ", "")] * (40 - len(found))

    span = changed(one, other)
    before, after = cells(one), cells(other)
    if span is None:
        assert before == after
        return
    begin, end = span
    assert before[:begin] == after[:begin]
    assert before[end:] == after[end:]
    assert before[begin] != after[begin]


def test_characters_of_two_cells_move_all_that_follows() -> None:
    assert changed([("a世b", "")], [("ab世", "")]) == (1, 4)


class Sheet(App[None]):
    CSS = "LossChart { width: 60; height: 12; }"

    def __init__(self, series: Series, total: int) -> None:
        super().__init__()
        self.series, self.total = series, total
        self.changes = 0

    def compose(self) -> ComposeResult:
        yield LossChart()

    def on_mount(self) -> None:
        self.call_after_refresh(self.show)

    def show(self) -> None:
        self.query_one(LossChart).show(self.series, self.total)

    def on_loss_chart_changed(self) -> None:
        self.changes += 1


def falling(steps: int, total: int) -> Series:
    series = Series()
    for number in range(1, steps + 1):
        loss = 1.2 + 2 * math.exp(-5 * number / total) + 0.15 * math.sin(1.7 * number)
        series.take(step(number, total, loss=loss, grad_norm=1 + 0.5 * math.sin(number), learning_rate=2e-4 * number))
        if number == 1 or number % (total // 5) == 0:
            series.take(
                Evaluation(
                    step=number, loss=loss + 0.1, perplexity=1, rows=1, supervised_tokens=1, best=True, seconds=1
                )
            )
    return series


def on_chart(
    series: Series, total: int, test: Callable[[Pilot[None], LossChart], Awaitable[None]], theme: str = ""
) -> Sheet:
    app = Sheet(series, total)

    async def run() -> None:
        async with app.run_test(size=(60, 12)) as pilot:
            if theme:
                app.theme = theme
            await settled(pilot)
            await test(pilot, app.query_one(LossChart))

    asyncio.run(run())
    return app


def test_pictures_of_a_chart() -> None:
    async def test(pilot: Pilot[None], chart: LossChart) -> None:
        compare(pilot.app, "chart-loss-60x12")
        chart.log_or_linear()
        await settled(pilot)
        compare(pilot.app, "chart-loss-log-60x12")
        chart.log_or_linear()
        chart.next_curve()
        chart.zoom_in()
        await settled(pilot)
        compare(pilot.app, "chart-rate-zoomed-60x12")

    on_chart(falling(420, 500), 500, test)


def test_everything_that_can_be_done_with_a_chart() -> None:
    async def test(pilot: Pilot[None], chart: LossChart) -> None:
        def possible() -> set[str]:
            return {what for what in ("zoom_out", "whole", "left", "right") if chart.may(what)}

        assert possible() == set()
        chart.zoom_in()
        assert chart.window == (500, 1000)
        assert possible() == {"zoom_out", "whole", "left"}
        chart.left()
        assert chart.window == (375, 875)
        assert possible() == {"zoom_out", "whole", "left", "right"}
        chart.right()
        assert chart.window == (500, 1000)
        chart.zoom_out()
        assert chart.window == (0, 1000)
        chart.zoom_in()
        chart.zoom_in()
        chart.whole()
        assert chart.window == (0, 1000)
        chart.log_or_linear()
        assert "loss, log" in chart.shows()
        chart.log_or_linear()
        for curve in CURVES[1:]:
            chart.next_curve()
            assert curve.name in chart.shows()
        chart.next_curve()
        assert " loss " in chart.shows()
        await pilot.pause()
        assert pilot.app.changes == 14  # type: ignore[attr-defined]

    on_chart(falling(1000, 1000), 1000, test)


def test_the_wheel_zooms_where_the_pointer_is() -> None:
    async def test(pilot: Pilot[None], chart: LossChart) -> None:
        await pilot._post_mouse_events([_scroll_up()], chart, offset=(7, 5))
        await pilot.pause()
        assert chart.window == (0, 500)

    def _scroll_up() -> Any:
        from textual.events import MouseScrollUp

        return MouseScrollUp

    on_chart(falling(1000, 1000), 1000, test)


def test_only_what_changed_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(pilot: Pilot[None], chart: LossChart) -> None:
        regions: list[Any] = []
        monkeypatch.setattr(chart, "refresh", lambda *given, **_: regions.extend(given) or chart)
        chart.show(chart.app.series, 500)  # type: ignore[attr-defined]
        assert regions == []
        for number in range(421, 427):
            chart.app.series.take(step(number, 500, loss=2.5))  # type: ignore[attr-defined]
        chart.show(chart.app.series, 500)  # type: ignore[attr-defined]
        below_title = [region for region in regions if region.y > 0]
        assert 0 < sum(region.area for region in below_title) < 20

    on_chart(falling(420, 500), 500, test)


def test_a_resumption_takes_back_what_is_computed_again() -> None:
    async def test(pilot: Pilot[None], chart: LossChart) -> None:
        series = falling(400, 400)
        chart.show(series, 400)
        before = chart.shows()
        series.take(Started(run="r", folder="", model="m", data="d", version="0", resumed_from=100))
        for number in range(101, 401):
            series.take(step(number, 400, loss=8.0))
        chart.show(series, 400)
        assert chart.shows() != before
        assert "raw 8.000" in chart.shows()

    on_chart(Series(), 100, test)


def test_a_chart_without_numbers_says_so() -> None:
    async def test(pilot: Pilot[None], chart: LossChart) -> None:
        assert "begins with the first step" in chart.shows()

    on_chart(Series(), 100, test)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark", "ansi-light"])
def test_points_line_and_held_out_points_differ_in_16_colours_and_in_their_marks(theme: str) -> None:
    async def test(pilot: Pilot[None], chart: LossChart) -> None:
        looks = []
        for name in ("chart--raw", "chart--line", "chart--point"):
            style = chart.get_component_rich_style(name)
            colour, ground = style.color or Color.default(), style.bgcolor or Color.default()
            few, below = colour.downgrade(ColorSystem.STANDARD), ground.downgrade(ColorSystem.STANDARD)
            assert few.number is None or few.number != below.number
            looks.append((few.number, bool(style.bold)))
        assert len(set(looks)) == 3
        text = chart.shows()
        assert HELD_OUT in text
        assert "⠒⠒ smoothed" in text
        assert "⠂⠂ raw" in text

    on_chart(falling(420, 500), 500, test, theme)


class Lines(App[None]):
    def compose(self) -> ComposeResult:
        yield Painted()


def test_fewer_rows_leave_nothing_of_the_old_ones_behind() -> None:
    async def run() -> None:
        app = Lines()
        async with app.run_test(size=(20, 4)) as pilot:
            painted = app.query_one(Painted)
            painted.styles.height = 4
            await pilot.pause()
            painted.paint([[("one", "")], [("two", "")]])
            await pilot.pause()
            painted.paint([[("1", "")]])
            await pilot.pause()
            assert painted.shows() == "1"
            assert [painted.render_line(y).text.rstrip() for y in range(3)] == ["1", "", ""]

    asyncio.run(run())
