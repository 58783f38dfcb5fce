"""Does it harm what is learnt that rows of like length make a step? The same runs with and without.

    python benchmarks/grouping.py [--data FILE.json] [--rows 444] [--steps 100] [--seeds 0,1,2] [--out FILE.json]

With `group_by_length` ftk shuffles all rows, sorts windows of sixteen steps by length, cuts them into steps and
shuffles these: rows that must be padded are padded less. Every seed trains twice here, with and without; a seed also
draws the held-out rows and the adapter. A JSON line a run, with the held-out losses on the way; the last line has the
mean difference after the last step, that of each seed, and what was learnt, beside which they are to be seen.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "alpaca_en_demo.json"
ORDERS = ("grouped", "plain")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train every seed twice, and print what came of it."""
    options = _options(arguments)
    found: dict[str, list[list[float]]] = {name: [] for name in ORDERS}
    lines = []
    for number, seed in enumerate(options.seeds):
        for name in sorted(ORDERS, reverse=number % 2 == 1):
            losses = trained(options, seed, grouped=name == "grouped")
            found[name].append(losses)
            lines.append({"seed": seed, "order": name, "held_out": [round(loss, 4) for loss in losses]})
            print(json.dumps(lines[-1]), flush=True)
    last = {name: [losses[-1] for losses in runs] for name, runs in found.items()}
    differences = [one - other for one, other in zip(last["grouped"], last["plain"], strict=True)]
    learnt = [losses[0] - losses[-1] for losses in found["plain"]]
    summary = {
        "grouped_minus_plain": round(statistics.fmean(differences), 4),
        "of_each_seed": [round(difference, 4) for difference in differences],
        "learnt_by_plain": round(statistics.fmean(learnt), 4),
    }
    print(json.dumps(summary))
    if options.out:
        options.out.write_text(json.dumps({"runs": lines, **summary}, indent=1) + "\n", encoding="utf-8")
    return 0


def trained(options: argparse.Namespace, seed: int, *, grouped: bool) -> list[float]:
    """The held-out losses of a run, from before the first update to after the last."""
    from ftk import QuickTrainer
    from ftk.events import Evaluation, Event

    losses: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, Evaluation):
            losses.append(event.loss)

    settings: dict[str, Any] = {
        "max_rows": options.rows, "max_steps": options.steps, "eval_steps": max(1, options.steps // 4),
        "eval_fraction": 0.1, "seed": seed, "batch_size": 4, "compare": [], "save_steps": options.steps,
        "group_by_length": grouped,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        QuickTrainer(options.model, str(options.data), runs_dir=folder, **settings).train([listen])
    return losses


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rows", type=int, default=444)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args(arguments)
    if not options.data.exists():
        parser.error(f"{options.data} is not there: name a file of examples with --data")
    return options


if __name__ == "__main__":
    sys.exit(main())
