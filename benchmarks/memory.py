"""What `ftk.memory` says that training takes, next to what ftk's own loop takes.

    python benchmarks/memory.py [--only WORDS,...] [--fitcheck PYTHON] [--out FILE.json]

Every configuration is a model with random weights, made in a temporary folder, and rows of random text of exactly the
longest length. It is trained for three steps in a process of its own, twice: once under torch's profiler, which sees
each allocation of torch and gives the peak of the tensors, and once without anything, for the peak of the process
(its largest resident set; on a GPU what the driver says it holds). On a GPU the peak of the tensors is
`torch.cuda.max_memory_allocated`. The estimates are made before anything is measured, in a process of their own too.

With `--fitcheck PYTHON`, an interpreter that has the package fitcheck-llm 0.3.1, its figures stand beside ftk's: for
the same configurations where it does not refuse them, and for 7B and 8B on the cards of the list. It describes the
loop of transformers, with the logits of all positions and attention as that has it, so it need not agree.

Exit code 1 if a configuration failed, or if an estimate is off by more than the limits: tensors 3 %, process 8 %,
never more than 3 % too low.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness
from harness import Result, console
from memory_jobs import LARGE, STEPS
from rich.markup import escape
from rich.table import Table

from ftk import catalog, hardware
from ftk.memory.models import of_entry

OUT = harness.HERE.parent / "build" / "benchmarks" / "memory.json"
TENSORS, PROCESS, TOO_LOW = 0.03, 0.08, -0.03
"""How far an estimate may be off, as a part of what was measured."""
_SHORT = {
    "lora_rank": "rank {}",
    "batch_size": "{} rows",
    "max_length": "{} tokens",
    "gradient_accumulation": "{} micro-batches",
}


@dataclass(frozen=True)
class Case:
    """A model of `memory_jobs.MODELS` and the settings of its run; the others are those of `ftk.memory.Settings`."""

    model: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Model and settings in a few words."""
        words = [self.model]
        for key, value in self.settings.items():
            if isinstance(value, bool):
                words.append(("" if value else "not ") + key.removeprefix("gradient_"))
            else:
                words.append(_SHORT.get(key, "{}").format("+".join(value) if isinstance(value, list) else value))
        return ", ".join(words)


def _case(model: str, rows: int, tokens: int, **more: Any) -> Case:
    return Case(model, {"batch_size": rows, "max_length": tokens, **more})


CASES = (
    _case("llama-1m", 4, 128, lora_rank=8),
    _case("llama-1m", 4, 256, method="full"),
    _case("llama-27m", 4, 256, lora_rank=8),
    _case("llama-27m", 4, 256, lora_rank=64),
    _case("llama-27m", 1, 2048, lora_rank=8),
    _case("llama-27m", 8, 256, lora_rank=8, gradient_checkpointing=True),
    _case("llama-27m", 4, 256, method="full"),
    _case("llama-27m", 4, 256, quantization="nf4"),
    _case("llama-27m", 2, 256, precision="bfloat16", gradient_accumulation=2),
    _case("llama-105m", 4, 512),
    _case("llama-105m", 4, 512, gradient_checkpointing=True),
    _case("llama-105m", 4, 256, fast=False),
    _case("llama-350m", 2, 512, quantization="nf4", gradient_checkpointing=True),
    _case("llama-1b", 1, 512),
    _case("llama-1b", 2, 1024, gradient_checkpointing=True),
    _case("llama-1b", 1, 256, quantization="nf4"),
    _case("gpt2-124m", 4, 512, lora_rank=8),
    _case("gpt2-124m", 2, 256, method="full"),
    _case("qwen2-90m", 4, 256, lora_targets=["q_proj", "v_proj"], quantization="nf4"),
    _case("qwen3-180m", 2, 512),
    _case("gemma-90m", 2, 256, method="full", gradient_accumulation=2),
    _case("gemma2-60m", 4, 256),
    _case("gemma3-270m", 2, 256),
    _case("mistral-50m", 2, 512),
    _case("mixtral-50m", 2, 256, fast=False),
)


def main(argv: list[str] | None = None) -> int:
    """Estimate and measure every configuration, show the tables, write the report."""
    options = _options(argv)
    machine = hardware.detect()
    device = "cuda" if machine.gpus and options.device != "cpu" else "cpu"
    console.print(f"{device}; {machine.summary}")
    cases = [case for case in CASES if not options.only or any(part in case.name for part in options.only.split(","))]
    began = datetime.now(UTC)
    plain = [asdict(case) for case in cases]
    estimates = _must({"job": "estimate", "cases": plain, "device": device})
    large = _must({"job": "large"})["large"] if options.large else []
    fitcheck: Result = {}
    if options.fitcheck:
        fitcheck = _must({"job": "fitcheck", "cases": plain, "large": _questions(large)}, options.fitcheck)
    found = [_measured(case, estimated, device) for case, estimated in zip(cases, estimates["cases"], strict=True)]
    show(found, fitcheck.get("cases"))
    if large:
        show_large(large, fitcheck.get("large"))
    report = {
        "date": began.isoformat(timespec="seconds"),
        "hardware": machine.to_dict(),
        "device": device,
        "versions": estimates["versions"],
        "summary": summary(found),
        "cases": found,
        "large": large,
        "fitcheck": fitcheck,
    }
    harness.write_json(options.out, report)
    console.print(f"Everything that was measured is in {options.out}.")
    return 0 if all(entry["ok"] and not beyond(entry) for entry in found) else 1


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORDS", help="measure the configurations whose names hold one of these")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--large", action=argparse.BooleanOptionalAction, default=True, help="7B and 8B on all cards")
    parser.add_argument("--fitcheck", metavar="PYTHON", help="an interpreter that has fitcheck-llm")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE.json")
    return parser.parse_args(argv)


def _questions(large: list[Result]) -> list[dict[str, Any]]:
    """What of the estimates for large models fitcheck needs to be asked the same."""
    values = {name: of_entry(entry) for name in LARGE if (entry := catalog.find(name))}
    return [
        {
            "values": values[entry["model"]],
            "card": entry["card"],
            "quantization": entry["settings"]["quantization"],
            "precision": entry["settings"]["precision"],
        }
        for entry in large
    ]


def child(job: dict[str, Any], python: str = sys.executable) -> Result:
    """Do a job in a process of its own.

    This one imports no torch: a child's resident set counts from its parent's at the moment of the start (Linux keeps
    the mark across exec).
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "job.json"
        file.write_text(json.dumps({**job, "folder": job.get("folder", name)}), encoding="utf-8")
        environment = {
            **os.environ,
            "FTK_CACHE": str(folder / "cache"),
            "HF_DATASETS_CACHE": str(folder / "datasets"),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
        }
        command = [harness.interpreter(python), str(harness.HERE / "memory_jobs.py"), str(file)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return harness.parse(done.returncode, done.stdout, done.stderr)


def _must(job: dict[str, Any], python: str = sys.executable) -> Result:
    result = child(job, python)
    if not result["ok"]:
        raise SystemExit(f"The job {job['job']!r} failed:\n{result['error']}")
    return result


def _measured(case: Case, estimated: dict[str, Any], device: str) -> Result:
    """Train a configuration twice and put what it took beside the estimate."""
    console.print(f"{case.name} ...", end=" ", highlight=False)
    result: Result = {"name": case.name, **asdict(case), "estimate": estimated, "ok": False}
    with tempfile.TemporaryDirectory() as name:
        model, rows = Path(name, "model"), Path(name, "rows.jsonl")
        rows.write_text(random_rows(case.settings))
        common = {"model": case.model, "settings": case.settings}
        jobs: dict[str, dict[str, Any]] = {"make": {**common, "job": "make", "folder": str(model)}}
        for what in ("tensors", "process"):
            places = {"model": str(model), "rows": str(rows), "device": device}
            jobs[what] = {**common, **places, "job": "train", "what": what}
        for what, job in jobs.items():
            measured = child(job)
            if not measured["ok"]:
                console.print(f"failed: {escape(measured['error'])}", style="red", highlight=False)
                return result | {"error": measured["error"]}
            if what != "make":
                result[what] = measured["bytes"]
                result[f"{what}_error"] = estimated[what] / measured["bytes"] - 1
    console.print(f"{result['tensors_error']:+.1%} {result['process_error']:+.1%}", highlight=False)
    return result | {"ok": True}


def random_rows(settings: dict[str, Any]) -> str:
    """Rows for all steps as JSON Lines, of exactly `max_length` tokens with the one that ends them.

    Only where rows are padded, some are shorter, so that there is a mask as usual.
    """
    draw = random.Random(0)
    rows, length = settings["batch_size"], settings["max_length"]
    texts = []
    for number in range(rows * settings.get("gradient_accumulation", 1) * STEPS):
        short = 8 if settings.get("fast") is False and number % rows == 0 else 0
        texts.append("".join(draw.choices("abcdefghijklmnop", k=length - 1 - short)))
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def beyond(entry: Result) -> bool:
    """Whether an estimate is further off than it may be."""
    tensors, whole = entry["tensors_error"], entry["process_error"]
    return abs(tensors) > TENSORS or abs(whole) > PROCESS or min(tensors, whole) < TOO_LOW


def summary(found: list[Result]) -> dict[str, Any]:
    """Mean, worst and lowest error of the tensors and of the process, as parts of what was measured."""
    done = [entry for entry in found if entry["ok"]]
    result: dict[str, Any] = {"cases": len(found), "measured": len(done)}
    for key in ("tensors_error", "process_error"):
        if errors := [entry[key] for entry in done]:
            mean = sum(map(abs, errors)) / len(errors)
            result[key] = {"mean": mean, "worst": max(errors, key=abs), "lowest": min(errors)}
    return result


def show(found: list[Result], fitcheck: list[Result] | None) -> None:
    """Print estimate against measured."""
    table = Table(title="Peak of the tensors and of the process, MiB")
    table.add_column("configuration")
    headings = ["tensors", "measured", "error", "process", "measured", "error"]
    for heading in [*headings, *(["fitcheck's tensors"] if fitcheck else [])]:
        table.add_column(heading, justify="right")
    for number, entry in enumerate(found):
        cells = ["failed"] * 6
        if entry["ok"]:
            cells = [*_compared(entry, "tensors"), *_compared(entry, "process")]
        if fitcheck:
            cells.append(_mib(fitcheck[number]["tensors"]) if "tensors" in fitcheck[number] else "refused")
        table.add_row(escape(entry["name"]), *cells, style="red" if not entry["ok"] or beyond(entry) else None)
    console.print(table)
    for key in ("tensors_error", "process_error"):
        if figures := summary(found).get(key):
            words = ", ".join(f"{name} {value:+.1%}" for name, value in figures.items())
            console.print(f"{key.replace('_', ' ')}: {words}", highlight=False)


def _compared(entry: Result, what: str) -> tuple[str, str, str]:
    return _mib(entry["estimate"][what]), _mib(entry[what]), f"{entry[f'{what}_error']:+.1%}"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"


def show_large(large: list[Result], fitcheck: list[Result] | None) -> None:
    """Print what 7B and 8B take on every card, in GiB, and how many rows fit."""
    table = Table(title="Two rows of 2048 tokens, rank 16 on all linear layers, recomputed: GiB, and rows that fit")
    headings = ["tensors", "process", "of", "rows"]
    for heading in ["model", "quantisation", "card"]:
        table.add_column(heading)
    for heading in [*headings, *(["fitcheck's tensors", "process", "rows"] if fitcheck else [])]:
        table.add_column(heading, justify="right")
    for number, entry in enumerate(large):
        cells = [f"{entry[key] / 2**30:.1f}" for key in ("tensors", "process", "room")]
        cells.append(str(entry["rows"]))
        if fitcheck:
            theirs = fitcheck[number]
            known = "tensors" in theirs
            cells += [f"{theirs[key] / 2**30:.1f}" if known else "-" for key in ("tensors", "process")]
            cells.append(str(theirs["rows"]) if known else "-")
        table.add_row(entry["model"], entry["settings"]["quantization"], entry["card"], *cells)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
