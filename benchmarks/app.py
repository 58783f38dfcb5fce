"""What the app costs the machine and the line: `python benchmarks/app.py [--seconds 5] [--model NAME] [--json]`.

On a real pseudo-terminal of 80 columns, with a real training in the app's worker thread, of a tiny model or of another
that is here already (`--model smollm2`):

- `first_paint_s`: from the start of the process until the first screen is on the terminal (median of `--repeat`);
- `bytes_per_s`: what is written to the terminal on Home, and on Train while a run goes on;
- `gaps_ms`: how late a timer of 10 ms comes in the app's event loop, at rest, while torch and transformers are
  imported, while the run loads its model and compiles, and while it goes on: the middle, 99 %, and the longest;
- `chart_ms`: processor time of a redraw of the loss chart at 100 000 points; see `charts.py` for the rest.

Needs a checkout: tiny models and the terminal are those of the tests. Figures are worth something on a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
POINTS = 100_000
_STEPS = 100_000


def home(folder: Path, *, tiny: bool) -> None:
    """Keep away from the user's settings and runs, and with a tiny model from caches and the second core."""
    for name in ("FTK_CONFIG", "FTK_RUNS", *(("FTK_CACHE", "HF_HOME") if tiny else ())):
        os.environ[name] = str(folder / name.lower())
    os.environ |= {"HF_HUB_OFFLINE": "1", "COLORTERM": "truecolor", **({"OMP_NUM_THREADS": "1"} if tiny else {})}


def tiny_run(folder: Path) -> dict[str, Any]:
    """Settings of a run that takes longer than anybody looks; its model is made in a process that imports torch."""
    from tests import tiny

    data, model = folder / "rows.jsonl", folder / "model"
    data.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS), encoding="utf-8")
    make = f"from pathlib import Path; from tests import tiny; tiny.save(Path({str(model)!r}))"
    subprocess.run([sys.executable, "-c", make], cwd=HERE.parent, check=True, capture_output=True)
    return {"model": str(model), "data": str(data), "max_steps": _STEPS, "device": "cpu", "precision": "float32"}


def first_paint() -> float:
    """Seconds from the start of the process to its first screen."""
    from tests.pseudo_terminal import PseudoTerminal, until

    begin = time.monotonic()
    with PseudoTerminal([]) as terminal:
        until(lambda: "Compare" in terminal.output)
        passed = time.monotonic() - begin
        terminal.press("q")
        terminal.wait()
    return passed


def traffic(settings: dict[str, Any], seconds: float) -> dict[str, int]:
    """Bytes a second that are written at rest, and while a run goes on."""
    from tests.pseudo_terminal import PseudoTerminal, until

    flags = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", str(value))]

    def rate() -> int:
        before = len(terminal.output)
        time.sleep(seconds)
        return round((len(terminal.output) - before) / seconds)

    def trains() -> bool:
        journals = Path(os.environ["FTK_RUNS"]).glob("*/events.jsonl")
        return any('"step"' in file.read_text(encoding="utf-8") for file in journals)

    with PseudoTerminal([*flags, "--tui"]) as terminal:
        until(lambda: "Compare" in terminal.output)
        until(lambda: "licence" in terminal.output)
        terminal.press("0")
        until(lambda: "No runs here yet" in terminal.output)
        time.sleep(2)
        found = {"home": rate()}
        terminal.press("3")
        until(lambda: "Enter plans" in terminal.output)
        terminal.press("\r")
        until(trains)
        time.sleep(2)
        found["train"] = rate()  # what goes on there ends with the terminal
    return found


def gaps(settings: dict[str, Any], seconds: float) -> dict[str, list[float]]:
    """How late the event loop's timer comes, in milliseconds: middle, 99 %, longest."""
    from textual.pilot import Pilot

    from ftk.config import build
    from ftk_tui.session import Session
    from tests.tui.app.harness import drive, loop_gaps, quantile, until

    found: dict[str, list[float]] = {}
    session = Session()

    def note(name: str, values: Sequence[float]) -> None:
        found[name] = [round(1000 * value, 1) for value in (quantile(values, 0.5), quantile(values, 0.99), values[-1])]

    async def first_step() -> None:
        while not session.series.steps:  # asks seldom: what is asked more often is what would be measured
            await asyncio.sleep(0.5)

    async def test(pilot: Pilot[int]) -> None:
        note("rest", await loop_gaps(seconds))
        note("import", await loop_gaps(seconds, asyncio.to_thread(_import)))
        from ftk import autoconfig

        plan = await asyncio.to_thread(autoconfig.plan, build(settings))
        await pilot.press("3")
        session.start(plan)
        note("load", await loop_gaps(0.0, first_step()))
        note("train", await loop_gaps(seconds))
        session.stop(save=False)
        await until(pilot, lambda: not session.active)

    drive(test, session=session)
    return found


def _import() -> None:
    import ftk.evaluation.pair
    import ftk.training.loop  # noqa: F401


def chart() -> dict[str, float]:
    """Processor time of a redraw of the chart, in milliseconds, by what changed."""
    import charts

    cases = charts.measured(POINTS, 30, peers=False)
    return {f"{case['what']} {case['cells']}": case["work_ms"] for case in cases if "work_ms" in case}


def main() -> None:
    """Measure everything, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each is looked at [5]")
    parser.add_argument("--model", help="another model than a tiny one")
    parser.add_argument("--repeat", type=int, default=5, help="starts for the first paint [5]")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        home(Path(name), tiny=not options.model)
        settings = {"model": options.model, "max_steps": _STEPS} if options.model else tiny_run(Path(name))
        found = {
            "first_paint_s": round(statistics.median(first_paint() for _ in range(options.repeat)), 2),
            "bytes_per_s": traffic(settings, options.seconds),
            "gaps_ms": gaps(settings, options.seconds),
            "chart_ms": chart(),
        }
    sys.stdout.write((json.dumps(found) if options.json else json.dumps(found, indent=2)) + "\n")


if __name__ == "__main__":
    main()
