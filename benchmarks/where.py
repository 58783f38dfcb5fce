"""Where the time of a training step goes: the operations of some steps, gathered by what they are for.

    python benchmarks/where.py [--steps 12] [--quantization none|nf4] [--out FILE.json]

Trains the recipe of training.py with ftk and lets torch's profiler look at the steps after the fifth. Times are those
of the operations themselves (without what they call), on one thread each, as shares of all. `matmul` is what a step
cannot do without; the rest is what a better loop could save at most.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import harness
from harness import console
from rich.table import Table
from training import DATA, RECIPE, alpaca_rows

from ftk import QuickTrainer, autoconfig
from ftk.events import Step
from ftk.models import embedded
from ftk.training.trainer import Trainer

ROOT = harness.HERE.parent
OUT = ROOT / "build" / "benchmarks" / "where.json"
KINDS: dict[str, str] = {
    "matmul": "aten::mm aten::addmm aten::bmm aten::baddbmm aten::matmul aten::linear mkl:: mkldnn::",
    "attention": "scaled_dot_product flash_attention efficient_attention",
    "compiled code between matmuls": "cpp_fused triton_ graph_ Torch-Compiled CompiledFx Inductor",
    "loss": "log_softmax nll_loss cross_entropy logsumexp",
    "optimiser": "adam foreach clip_grad Optimizer",
    "copies and allocation": "copy clone empty cat index gather scatter fill zero resize contiguous",
}
"""What an operation is for, by words in its name; the first kind that has one takes it."""
_BEGIN = 5


def main(argv: list[str] | None = None) -> int:
    """Profile, show the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--quantization", choices=("none", "nf4"), default="none")
    parser.add_argument("--compile", choices=("true", "false"), default="true")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE.json")
    options = parser.parse_args(argv)
    times = profile(options)
    whole = sum(times.values())
    table = Table("what", "share", title=f"{options.steps - _BEGIN} steps, {whole / 1e6:.1f} s of operations")
    for kind, microseconds in times.most_common():
        table.add_row(kind, f"{microseconds / whole:.0%}")
    console.print(table)
    harness.write_json(
        options.out, {"microseconds": dict(times), "recipe": RECIPE, "quantization": options.quantization}
    )
    return 0


def profile(options: argparse.Namespace) -> Counter[str]:
    """Microseconds of operations by kind."""
    import torch

    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    def listen(event: Any) -> None:
        if isinstance(event, Step) and event.step == _BEGIN:
            profiler.start()
        elif isinstance(event, Step) and event.step == options.steps:
            profiler.stop()

    with tempfile.TemporaryDirectory() as name:
        rows = Path(name, "rows.json")
        rows.write_text(json.dumps(alpaca_rows(DATA), ensure_ascii=False), encoding="utf-8")
        settings = {
            "max_steps": options.steps, "batch_size": RECIPE["batch"], "max_length": RECIPE["max_length"],
            "lora_rank": RECIPE["rank"], "quantization": options.quantization, "eval_fraction": 0.0, "compare": [],
            "compile": options.compile == "true", "save_steps": options.steps + 1,
        }  # fmt: skip
        config = QuickTrainer(str(embedded.folder()), str(rows), **settings).config
        Trainer(autoconfig.plan(config), runs_dir=Path(name, "runs")).run([listen])
    times: Counter[str] = Counter()
    for entry in profiler.key_averages():
        times[_kind(entry.key)] += entry.self_cpu_time_total
    return times


def _kind(key: str) -> str:
    return next((kind for kind, words in KINDS.items() if any(word in key for word in words.split())), "other")


if __name__ == "__main__":
    sys.exit(main())
