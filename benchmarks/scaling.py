"""How time and memory of ftk grow with the length of the rows, the LoRA rank, the batch and the size of the model.

    python benchmarks/scaling.py [--largest 350M] [--base 27M] [--steps 4] [--out FILE.json] [--plot FILE.svg]

One thing is varied at a time around a base point: rows of 256 tokens, rank 8, batches of 4, and a model of 27 million
weights. The models are Llamas with random weights and a vocabulary of 4096, made in a temporary folder; the rows are
random words, cut to the exact length. Every point is a process of its own and trains for a few steps; the first is
left out, and the seconds are the median of the others. Time is a straight line with the tokens of a step only where
the processor is kept busy and attention, which grows with the square of the length, is small.

The machine must be idle otherwise: threads that share a core wait for each other at every operation, and the smallest
models then take tens of times as long. What the benchmark saw of other work is told.

On a GPU, peak memory is what torch allocated there; else it is the largest resident set of the process. That includes
some hundred megabytes of libraries.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import harness
from harness import Result, console
from plot import Panel, draw
from random_model import SIZES
from rich.markup import escape
from rich.table import Table

from ftk import hardware

OUT = harness.HERE.parent / "build" / "benchmarks" / "scaling.json"
LENGTHS, RANKS, BATCHES = (128, 256, 512, 1024, 2048), (4, 8, 16, 64), (1, 2, 4, 8)
LABELS = {"length": "tokens a row", "rank": "LoRA rank", "batch": "rows a step", "size": "weights"}


@dataclass(frozen=True)
class Point:
    """One measurement's settings."""

    size: str
    length: int = 256
    rank: int = 8
    batch: int = 4


def main(argv: list[str] | None = None) -> int:
    """Measure every point, show the tables, write report and plot."""
    options = _options(argv)
    machine = hardware.detect()
    device = "cuda" if machine.gpus and options.device != "cpu" else "cpu"
    precision = harness.number_format(options.precision, machine, device)
    console.print(f"{precision} on {device}; {machine.summary}")
    series = points(options.base, options.largest)
    began = datetime.now(UTC)
    common = {"steps": options.steps, "precision": precision, "device": device, "compile": options.compile}
    found = _measure({point for line in series.values() for point in line}, common)
    lines = {key: [{**asdict(point), **found[point]} for point in line] for key, line in series.items()}
    report = {
        "date": began.isoformat(timespec="seconds"),
        "hardware": machine.to_dict(),
        "settings": common,
        "versions": next((result["versions"] for result in found.values() if result["ok"]), {}),
        "series": lines,
    }
    for key, line in lines.items():
        show(key, line)
    if warning := harness.disturbed(found.values()):
        console.print(warning, style="yellow")
    harness.write_json(options.out, report)
    console.print(f"Everything that was measured is in {options.out}.")
    rows = panels(lines)
    if options.plot and rows:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        options.plot.write_text(draw(rows), encoding="utf-8")
    return 0 if all(result["ok"] for result in found.values()) else 1


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=SIZES, default="27M", help="model of the points that do not vary the size")
    parser.add_argument(
        "--largest", choices=SIZES, default="1B", help="largest model; 1B takes 9 GB of memory and disk"
    )
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--compile", choices=("auto", "true", "false"), default="false")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE.json")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    options = parser.parse_args(argv)
    if options.steps < 2:
        parser.error("--steps must be at least 2, because the first is left out.")
    return options


def points(base: str, largest: str) -> dict[str, list[Point]]:
    """What is measured: one thing varied at a time."""
    middle = Point(base)
    sizes = list(SIZES)[: list(SIZES).index(largest) + 1]
    return {
        "length": [replace(middle, length=length) for length in LENGTHS],
        "rank": [replace(middle, rank=rank) for rank in RANKS],
        "batch": [replace(middle, batch=batch) for batch in BATCHES],
        "size": [replace(middle, size=size) for size in sizes],
    }


def _measure(wanted: set[Point], common: dict[str, Any]) -> dict[Point, Result]:
    """All points, model by model, so that only one model lies on the disk at a time."""
    found = {}
    for size in SIZES:
        mine = sorted((point for point in wanted if point.size == size), key=lambda p: (p.length, p.rank, p.batch))
        if not mine:
            continue
        with tempfile.TemporaryDirectory() as name:
            model = Path(name, "model")
            _make(model, size, common["precision"])
            for point in mine:
                found[point] = _point(point, model, common, Path(name))
    return found


def _make(folder: Path, size: str, precision: str) -> None:
    command = [sys.executable, str(harness.HERE / "random_model.py"), str(folder), size, precision]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The model of {size} weights could not be made:\n{done.stderr[-1000:]}")


def _point(point: Point, model: Path, common: dict[str, Any], folder: Path) -> Result:
    rows = folder / "rows.json"
    rows.write_text(json.dumps(random_rows(point.batch * common["steps"], point.length)))
    recipe = {
        "batch": point.batch,
        "max_length": point.length,
        "rank": point.rank,
        "alpha": 2 * point.rank,
        "learning_rate": 2e-4,
        "gradient_checkpointing": False,
        "seed": 0,
    }
    job = {**common, "contestant": "ftk", "model": str(model), "rows": str(rows), "recipe": recipe}
    words = f"{point.size} weights, {point.length} tokens, rank {point.rank}, {point.batch} rows a step"
    console.print(f"{words} ...", end=" ", highlight=False)
    result = harness.run(sys.executable, job, folder / "cache")
    if not result["ok"]:
        console.print(f"failed: {escape(result['error'])}", style="red", highlight=False)
        return result
    result["weights"] = harness.weights_of(model)
    result["seconds_per_step"] = median(result["step_s"])
    result["peak_gb"] = result.get("peak_gpu_gb", result["peak_rss_gb"])
    console.print(f"{result['seconds_per_step']:.2f} s a step", highlight=False)
    return result


def random_rows(count: int, length: int) -> list[dict[str, str]]:
    """Rows of random words, a quarter prompt; longer than `length` bytes, so that all are cut to that many tokens."""
    draw_one = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"

    def text(size: int) -> str:
        words: list[str] = []
        while sum(map(len, words)) + len(words) < size:
            words.append("".join(draw_one.choices(letters, k=draw_one.randint(2, 9))))
        return " ".join(words)[:size].strip()

    return [{"prompt": text(length // 4), "response": text(length)} for _ in range(count)]


def show(key: str, line: list[dict[str, Any]]) -> None:
    """Print the table of one series."""
    table = Table(title=f"By {LABELS[key]}")
    for heading in (LABELS[key], "s a step", "tokens/s", "peak GB"):
        table.add_column(heading, justify="right")
    for entry in line:
        if entry["ok"]:
            numbers = (f"{entry['seconds_per_step']:.3f}", f"{entry['tokens_per_s']:.0f}", f"{entry['peak_gb']:.2f}")
        else:
            numbers = ("failed", "-", "-")
        table.add_row(str(entry[key]), *numbers)
    console.print(table)


def panels(series: dict[str, list[dict[str, Any]]]) -> list[list[Panel]]:
    """A row of panels for time and one for memory; a series without a single result is left out."""
    rows = []
    for title, value, unit in (("Time", "seconds_per_step", "seconds a step"), ("Memory", "peak_gb", "peak GB")):
        row = []
        for key, line in series.items():
            measured = [entry for entry in line if entry["ok"]]
            places = tuple((float(entry["weights" if key == "size" else key]), entry[value]) for entry in measured)
            if places:
                row.append(Panel(f"{title} by {LABELS[key]}", LABELS[key], unit, places))
        if row:
            rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())
