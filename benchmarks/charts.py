"""What the charts of the app cost: `python benchmarks/charts.py [--points 100000] [--peers]`.

A chart of a run of so many steps is drawn in an app without a terminal, in two sizes, and four things are measured:

- `first`: the first look at the run, when everything is looked at once;
- `step`: a new step came, and the chart is drawn as it is four times a second while a run goes on;
- `zoom`: another part of the run is shown, so that every column is another;
- `curve`: another curve is shown that was shown before.

`work_ms` is the processor time until the rows are known and compared with those before; `frame_ms` is that of the
whole update, with Textual's own work; `bytes` is what is sent to the terminal. Medians of `--repeat` times. With
`--peers` the line (already in columns, so without the work of 100 000 points) is also given to textual-plotext and
textual-plot, where they are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from textual.app import App, ComposeResult
from textual.widget import Widget

from ftk import hardware
from ftk.events import Evaluation, Step
from ftk_tui.series import Series
from ftk_tui.widgets.decimate import Decimated
from ftk_tui.widgets.loss_chart import LossChart

SIZES = ((60, 12), (110, 24))
PEERS = ("textual_plotext", "textual_plot")


def step(number: int, total: int, chance: random.Random) -> Step:
    """A step of a run that learns, with the noise that small batches have."""
    return Step(
        step=number,
        total_steps=total,
        epoch=3 * number / total,
        loss=1.2 + 2 * math.exp(-6 * number / total) + chance.gauss(0, 0.12),
        learning_rate=2e-4 * (1 - number / total),
        grad_norm=abs(chance.gauss(1, 0.3)),
        tokens=400 * number,
        supervised_tokens=200 * number,
        tokens_per_s=chance.gauss(1200, 50),
        eta_s=1.0,
        elapsed_s=float(number),
        memory_bytes=3 * 2**30,
    )


def run_of(points: int, total: int) -> Series:
    """The numbers of a run that made so many steps."""
    series, chance = Series(), random.Random(0)
    for number in range(1, points + 1):
        series.take(step(number, total, chance))
        if number % max(1, total // 10) == 0:
            loss = series.smoothed[-1] + 0.1
            series.take(
                Evaluation(step=number, loss=loss, perplexity=4.0, rows=9, supervised_tokens=9, best=True, seconds=1.0)
            )
    return series


class Sheet(App[None]):
    """An app with one chart, which counts the bytes that it sends."""

    def __init__(self, chart: Widget, size: tuple[int, int]) -> None:
        super().__init__()
        self.chart, self.sent = chart, 0
        chart.styles.width, chart.styles.height = size

    is_headless = False  # or nothing would be made into bytes

    def compose(self) -> ComposeResult:
        """The chart alone."""
        yield self.chart

    def count(self) -> None:
        """Count what is sent from now on."""
        driver: Any = self._driver
        driver.write = self._write

    def _write(self, data: str) -> None:
        self.sent += len(data.encode())


class Watch:
    """Measures what an update costs, up to the bytes that it sends."""

    def __init__(self, app: Sheet, pilot: Any) -> None:
        self._app, self._pilot = app, pilot
        self.work: list[float] = []
        self.frame: list[float] = []
        self.sent: list[int] = []

    async def update(self, change: Callable[[], object]) -> None:
        """Do something, and wait until it is drawn."""
        await self._pilot.pause()
        self._app.sent, begin = 0, time.thread_time()
        change()
        self.work.append(time.thread_time() - begin)
        await self._pilot.pause()
        self.frame.append(time.thread_time() - begin)
        self.sent.append(self._app.sent)

    def result(self) -> dict[str, Any]:
        """The medians, and the slowest work."""
        return {
            "work_ms": round(1000 * statistics.median(self.work), 2),
            "slowest_work_ms": round(1000 * max(self.work), 2),
            "frame_ms": round(1000 * statistics.median(self.frame), 2),
            "bytes": round(statistics.median(self.sent)),
            "times": len(self.work),
        }


async def ours(points: int, size: tuple[int, int], repeat: int) -> dict[str, dict[str, Any]]:
    """Measure the chart of the app."""
    total = points + repeat
    series, chance, chart = run_of(points, total), random.Random(1), LossChart()
    app, found = Sheet(chart, size), {}
    async with app.run_test(size=(size[0], size[1])) as pilot:
        app.count()
        watch = found["first"] = Watch(app, pilot)
        await watch.update(lambda: chart.show(series, total))

        def grow() -> None:
            series.take(step(len(series.steps) + 1, total, chance))
            chart.show(series, total)

        watch = found["step"] = Watch(app, pilot)
        for _ in range(repeat):
            await watch.update(grow)
        watch = found["zoom"] = Watch(app, pilot)
        for number in range(repeat):
            await watch.update(chart.zoom_in if number % 8 < 4 else chart.zoom_out)
        chart.whole()
        for _ in chart.curves:
            chart.next_curve()
        watch = found["curve"] = Watch(app, pilot)
        for _ in range(repeat):
            await watch.update(chart.next_curve)
    return {what: watch.result() for what, watch in found.items()}


def _plotext() -> tuple[Widget, Callable[[list[float], list[float]], object]]:
    from textual_plotext import PlotextPlot

    chart = PlotextPlot()

    def plot(x: list[float], y: list[float]) -> None:
        chart.plt.clear_data()
        chart.plt.plot(x, y, marker="braille")
        chart.refresh()

    return chart, plot


def _plot() -> tuple[Widget, Callable[[list[float], list[float]], object]]:
    from textual_plot import HiResMode, PlotWidget

    chart = PlotWidget()

    def plot(x: list[float], y: list[float]) -> None:
        chart.clear()
        chart.plot(x, y, hires_mode=HiResMode.BRAILLE)

    return chart, plot


async def theirs(peer: str, points: int, size: tuple[int, int], repeat: int) -> dict[str, dict[str, Any]]:
    """Measure another chart with the same line, in as many columns, as a new step comes."""
    total = points + repeat
    series, chance = run_of(points, total), random.Random(1)
    columns = Decimated(series.steps, series.losses, series.smoothed)
    chart, plot = {"textual_plotext": _plotext, "textual_plot": _plot}[peer]()
    app = Sheet(chart, size)
    async with app.run_test(size=size) as pilot:
        app.count()
        watch = Watch(app, pilot)

        def grow() -> None:
            series.take(step(len(series.steps) + 1, total, chance))
            means = columns.columns(0.0, float(total), 2 * size[0]).mean
            known = [(column, mean) for column, mean in enumerate(means) if mean == mean]
            plot([column * total / len(means) for column, _ in known], [mean for _, mean in known])

        for _ in range(repeat):
            await watch.update(grow)
    return {"step": watch.result()}


def measured(points: int, repeat: int, *, peers: bool) -> Iterator[dict[str, Any]]:
    """Measure everything, one case after the other."""
    for size in SIZES:
        for what, values in asyncio.run(ours(points, size, repeat)).items():
            yield {"chart": "ftk", "cells": f"{size[0]}x{size[1]}", "points": points, "what": what, **values}
        for peer in PEERS if peers else ():
            if importlib.util.find_spec(peer) is None:
                yield {"chart": peer, "skipped": "not installed"}
                continue
            for what, values in asyncio.run(theirs(peer, points, size, repeat)).items():
                yield {"chart": peer, "cells": f"{size[0]}x{size[1]}", "points": points, "what": what, **values}


def main() -> None:
    """Measure, and print a line of JSON a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000, help="steps of the run")
    parser.add_argument("--repeat", type=int, default=100, help="updates of each kind")
    parser.add_argument("--peers", action="store_true", help="measure textual-plotext and textual-plot too")
    options = parser.parse_args()
    print(json.dumps({"machine": hardware.detect().summary}), flush=True)
    for case in measured(options.points, options.repeat, peers=options.peers):
        print(json.dumps(case), flush=True)


if __name__ == "__main__":
    main()
