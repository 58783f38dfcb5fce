"""Fine-tuning side by side: ftk next to TRL and LLaMA-Factory, one recipe, one machine, one hour.

    python benchmarks/training.py --trl PYTHON --llamafactory PYTHON [--steps 12] [--repeat 3] [--out FILE.json]

PYTHON is the interpreter of an environment that has the peer; a peer that is not there is skipped. The recipe: the
first 400 rows of an alpaca file, the model's chat template, loss on the response, at most 512 tokens a row, batches of
4, LoRA of rank 8 on all linear layers, no recomputing of activations. The contestants take turns, each in a process of
its own with caches of its own, so that the first repeat is a cold start.

Tokens are real ones, without padding. `tokens/s` leaves out the first step; `with first` counts from the beginning of
the training call, so that it holds what happens once, such as compiling in ftk. All draw the rows in an order of their
own, so that losses are to be compared over whole passes; TRL's are somewhat lower because it also learns the line break
after each answer, a token that is nearly free. The limit is the rate at which this machine multiplies matrices (the
better of two measurements, before and after), over 4 operations a weight and token; who computes the head only where
something is learnt needs fewer, so it is a yardstick. Everything must run on an otherwise idle machine; a busy one is
told of.

On a GPU, peak memory is what torch allocated there; else it is the largest resident set of the process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import harness
from harness import Result, console
from rich.markup import escape
from rich.table import Table

from ftk import hardware
from ftk.models import embedded

ROOT = harness.HERE.parent
DATA = ROOT.parent / "shared" / "data" / "alpaca_en_demo.json"
OUT = ROOT / "build" / "benchmarks" / "training.json"
ROWS = 400
RECIPE = {
    "batch": 4,
    "max_length": 512,
    "rank": 8,
    "alpha": 16,
    "learning_rate": 2e-4,
    "gradient_checkpointing": False,
    "seed": 0,
}
Summary = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """Who can take part: the option with its interpreter, the modules it needs there, and how to get them."""

    name: str
    option: str | None
    modules: tuple[str, ...]
    install: str


ENTRIES = (
    Entry("ftk", None, ("ftk",), "-e ."),
    Entry("ftk-nf4", None, ("ftk", "bitsandbytes"), "-e ."),
    Entry("trl", "trl", ("trl",), "trl peft"),
    Entry("trl-nf4", "trl", ("trl", "bitsandbytes"), "trl peft bitsandbytes"),
    Entry("llamafactory", "llamafactory", ("llamafactory",), "llamafactory"),
)


def main(argv: list[str] | None = None) -> int:
    """Run the contestants in turn, show the table, write the report."""
    options = _options(argv)
    machine = hardware.detect()
    device = options.device if options.device != "auto" else "cuda" if machine.gpus else "cpu"
    precision = harness.number_format(options.precision, machine, device)
    weights = harness.weights_of(options.model)
    began = datetime.now(UTC)
    console.print(f"{options.model.name}, {weights / 1e6:.1f}M weights, {precision} on {device}; {machine.summary}")
    with tempfile.TemporaryDirectory() as name:
        rows = Path(name, "rows.json")
        rows.write_text(json.dumps(alpaca_rows(options.data), ensure_ascii=False), encoding="utf-8")
        job = {
            "model": str(options.model),
            "rows": str(rows),
            "recipe": RECIPE,
            "steps": options.steps,
            "precision": precision,
            "device": device,
            "compile": options.compile,
        }
        results, rates = _compete(contestants(options), job, options.repeat, Path(name))
    limit = max(rates) / (4 * weights) if rates else None
    summaries = summarise(results, limit)
    show(summaries, limit, rates)
    if warning := harness.disturbed(results):
        console.print(warning, style="yellow")
    report = {
        "date": began.isoformat(timespec="seconds"),
        "until": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": machine.to_dict(),
        "model": {"name": options.model.name, "weights": weights},
        "data": {"name": options.data.name, "sha256": harness.sha256(options.data), "rows": ROWS},
        "recipe": {**RECIPE, **{key: job[key] for key in ("steps", "precision", "device", "compile")}},
        "repeat": options.repeat,
        "versions": {result["contestant"]: result["versions"] for result in results if result["ok"]},
        "matmul_flops": rates,
        "limit_tokens_per_s": limit,
        "summary": summaries,
        "results": results,
    }
    harness.write_json(options.out, report)
    console.print(f"Everything that was measured is in {options.out}.")
    return 0 if results and all(result["ok"] for result in results) else 1


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=embedded.folder(), help="folder; by default the embedded model")
    parser.add_argument("--data", type=Path, default=DATA, help="JSON file of instruction, input, output")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--precision", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--compile", choices=("auto", "true", "false"), default="true", help="ftk's own setting")
    parser.add_argument("--trl", metavar="PYTHON", help="by default this interpreter, if it has TRL")
    parser.add_argument("--llamafactory", metavar="PYTHON", help="by default this interpreter, if it has LLaMA-Factory")
    parser.add_argument("--only", metavar="A,B", help=f"some of {','.join(entry.name for entry in ENTRIES)}")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE.json")
    options = parser.parse_args(argv)
    options.model, options.data = options.model.expanduser().absolute(), options.data.expanduser().absolute()
    names = [entry.name for entry in ENTRIES]
    options.only = options.only.split(",") if options.only else names
    if unknown := sorted(set(options.only) - set(names)):
        parser.error(f"--only: no contestant {', '.join(unknown)}; there are {', '.join(names)}.")
    if options.steps < 2 or options.repeat < 1:
        parser.error("--steps must be at least 2, because the first is left out, and --repeat at least 1.")
    if not (options.model / "config.json").is_file():
        parser.error(f"no model in {options.model}: run `ftk --preset smollm2` once, or give --model FOLDER.")
    if not options.data.is_file():
        parser.error(f"no data in {options.data}: give --data FILE.json with instruction, input and output.")
    return options


def alpaca_rows(path: Path) -> list[dict[str, str]]:
    """The first rows of an alpaca file as prompts and responses; the input follows the instruction on a line."""
    rows = json.loads(path.read_text(encoding="utf-8"))[:ROWS]
    return [
        {
            "prompt": "\n".join(part for part in (row["instruction"], row.get("input")) if part),
            "response": row["output"],
        }
        for row in rows
    ]


def contestants(options: argparse.Namespace) -> dict[str, str]:
    """Name and interpreter of everybody who takes part; who cannot is told of, with what would help."""
    found = {}
    for entry in ENTRIES:
        if entry.name not in options.only:
            continue
        given = getattr(options, entry.option) if entry.option else None
        python = harness.interpreter(given)
        if lacking := harness.missing(python, entry.modules):
            console.print(skipped(entry, python, lacking), markup=False, soft_wrap=True)
        else:
            found[entry.name] = python
    return found


def skipped(entry: Entry, python: str, lacking: list[str]) -> str:
    """Why a contestant does not take part, and what would help."""
    help_ = f"`python -m venv DIR && DIR/bin/pip install {entry.install}`"
    if entry.option:
        help_ += f", then --{entry.option} DIR/bin/python"
    return f"{entry.name} is skipped: {python} has no {', '.join(lacking)}. Install it: {help_}."


def _compete(
    pythons: dict[str, str], job: dict[str, Any], repeat: int, folder: Path
) -> tuple[list[Result], list[float]]:
    """Everybody once, then everybody again: what slows the machine for some minutes then meets all of them."""
    results = []
    rates = [_rate(job, folder)]
    for number in range(1, repeat + 1):
        for name, python in pythons.items():
            console.print(f"{name}, {number} of {repeat} ...", end=" ", highlight=False)
            result = harness.run(python, {**job, "contestant": name}, folder / "caches" / name)
            results.append({**result, "repeat": number})
            if result["ok"]:
                console.print(f"{result['tokens_per_s']:.0f} tokens/s", highlight=False)
            else:
                console.print(f"failed: {escape(result['error'])}", style="red", highlight=False)
    rates.append(_rate(job, folder))
    return results, [rate for rate in rates if rate]


def _rate(job: dict[str, Any], folder: Path) -> float:
    found = harness.run(sys.executable, {**job, "contestant": "limit"}, folder / "caches" / "limit")
    if not found["ok"]:
        console.print(f"The limit could not be measured: {escape(found['error'])}", style="red")
    return float(found.get("flops", 0.0))


def summarise(results: list[Result], limit: float | None) -> list[Summary]:
    """A line a contestant: medians over the repeats, and ratios to the peers with a base in the same format."""
    names = dict.fromkeys(result["contestant"] for result in results if result["ok"])
    lines = {name: _line([r for r in results if r["ok"] and r["contestant"] == name]) for name in names}
    for name, line in lines.items():
        suffix = "-nf4" if name.endswith("-nf4") else ""
        trl, factory = lines.get(f"trl{suffix}"), lines.get(f"llamafactory{suffix}")
        line["to_trl"] = line["tokens_per_s"] / trl["tokens_per_s"] if trl else None
        line["to_llamafactory"] = line["tokens_per_s"] / factory["tokens_per_s"] if factory else None
        line["memory_to_trl"] = line["peak_gb"] / trl["peak_gb"] if trl else None
        line["of_limit"] = line["tokens_per_s"] / limit if limit else None
    return list(lines.values())


def _line(runs: list[Result]) -> Summary:
    speeds = [run["tokens_per_s"] for run in runs]
    return {
        "contestant": runs[0]["contestant"],
        "runs": len(runs),
        "tokens_per_s": median(speeds),
        "tokens_per_s_min": min(speeds),
        "tokens_per_s_max": max(speeds),
        "tokens_per_s_with_first": median(run["tokens_per_s_with_first"] for run in runs),
        "peak_gb": max(float(run.get("peak_gpu_gb") or run["peak_rss_gb"]) for run in runs),
        "to_first_step_s": runs[0]["to_first_step_s"],
        "to_first_step_warm_s": median(run["to_first_step_s"] for run in runs[1:]) if runs[1:] else None,
    }


def show(summaries: list[Summary], limit: float | None, rates: list[float]) -> None:
    """Print the table."""
    table = Table(title="Fine-tuning side by side")
    table.add_column("contestant", no_wrap=True)
    for heading in ("tokens/s", "with first", "x TRL", "x LLaMA-F.", "of limit", "peak GB", "x TRL", "s to 1st step"):
        table.add_column(heading, justify="right")
    for line in summaries:
        low, high = line["tokens_per_s_min"], line["tokens_per_s_max"]
        spread = f" ({low:.0f}-{high:.0f})" if line["runs"] > 1 else ""
        warm = line["to_first_step_warm_s"]
        table.add_row(
            line["contestant"],
            f"{line['tokens_per_s']:.0f}{spread}",
            f"{line['tokens_per_s_with_first']:.0f}",
            _number(line["to_trl"], ".2f"),
            _number(line["to_llamafactory"], ".2f"),
            _number(line["of_limit"], ".0%"),
            f"{line['peak_gb']:.2f}",
            _number(line["memory_to_trl"], ".2f"),
            f"{line['to_first_step_s']:.0f}" + (f", then {warm:.0f}" if warm is not None else ""),
        )
    console.print(table)
    if limit:
        measured = ", ".join(f"{rate / 1e12:.3f}" for rate in rates)
        console.print(f"Limit: {limit:.0f} tokens/s ({measured} TFLOP/s measured before and after).", highlight=False)


def _number(value: float | None, format_: str) -> str:
    return "-" if value is None else format(value, format_)


if __name__ == "__main__":
    sys.exit(main())
