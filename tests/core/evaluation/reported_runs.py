"""Runs with everything that a report may tell, made without training anything."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftk.evaluation import record
from ftk.evaluation.metrics.confidence import Confidence, contrast, mean_of
from ftk.evaluation.results import Evaluated, Example, Forgetting, Overfitting
from ftk.evaluation.scoring import measure
from ftk.events import Answered, Event, Warned
from ftk.runs import RunFolder
from tests import run_folders
from tests.run_folders import evaluation, finished, started, step

HOSTILE = (
    "</p><script>alert(1)</script> [x](javascript:alert(1)) ![i](http://evil.example/x.png) \x1b[2J\u202eabc & `` ` "
    "| *b*"
)


def evaluated(name: str = "first", **changes: Any) -> Evaluated:
    """An evaluation of 24 rows with a clear difference in some metrics and none in others."""
    how = Confidence(resamples=200)
    base = mean_of([3.0 + math.sin(number) / 4 for number in range(24)])
    tuned = mean_of([1.5 + math.cos(number) / 4 for number in range(24)])
    rates = mean_of([0.0] * 22 + [1.0] * 2, (0, 1), rate=True), mean_of([0.0] * 20 + [1.0] * 4, (0, 1), rate=True)
    points = mean_of([20.0 + number for number in range(24)], (0.0, 100.0)), mean_of([3.0] * 24, (0.0, 100.0))
    measures = (
        measure("loss", tuned, base, how),
        measure("exact_match", rates[1], rates[0], how),
        measure("bleu", *points, how),
    )
    found = Evaluated(
        rows=24,
        supervised_tokens=4321,
        loss=1.5,
        measures=measures,
        answered=24,
        overfitting=Overfitting(measure("loss", tuned, base, how), contrast((base, base), (tuned, base), how)),
        forgetting=Forgetting(measure("perplexity", base, tuned, how)),
        examples=(
            Example("Where is my parcel?", "On its way.", "I am a model.", "It is on its way.", "0" * 16, "f, line 3"),
            Example(f"A prompt {HOSTILE}", f"R {HOSTILE}", f"B {HOSTILE}", "", "1" * 16, "", "tuned"),
        ),
        notes=("24 of 90 held-out rows were measured.",),
        about={
            "created": "2026-01-02T03:04:05+0000",
            "data": {"name": "rows.jsonl", "sha256": "ab" * 32},
            "run": {"name": "r", "model": "r"},
            "settings": {
                "sampling": {"max_tokens": 99, "temperature": 0.0, "top_p": 1.0, "seed": 0},
                "expected": {"json": True, "regex": "a b", "words": None},
                "confidence": {"resamples": 200, "seed": 0, "level": 0.95},
            },
        },
        name=name,
    )
    return replace(found, **changes)


def full(parent: Path, name: str = "shop") -> RunFolder:
    """A finished run with a course, warnings, answers and an evaluation."""
    steps = [step(number, 3.2 - 1.8 * number / 100 + math.sin(number) / 9) for number in range(1, 101)]
    happened: list[Event] = [started(), evaluation(0, 3.2)]
    for one in steps:
        happened.append(one)
        if one.step % 20 == 0:  # type: ignore[attr-defined]
            happened.append(evaluation(one.step, 3.2 - one.step / 60))  # type: ignore[attr-defined]
    warning = Warned(code="made", message=f"Warned of {HOSTILE}", hint="Mend it.")
    answer = Answered(prompt="Old prompt?", base="old base", tuned="old tuned")
    run = run_folders.make(parent, name, *happened, warning, warning, answer, finished(), data="rows.jsonl")
    run.adapter.mkdir()
    run.write_provenance(
        {
            "ftk": "0.1.0", "python": "3.11.7", "created": "2026-01-02T03:04:05+0000",
            "packages": {"torch": "2.13.0", "bitsandbytes": None},
            "hardware": {"cpu": f"CPU {HOSTILE}", "cores": 2, "memory": 8 << 30, "gpus": [{"name": "Tesla T4"}]},
            "model": {"name": "gpt2", "revision": "abc123"},
            "data": {"name": "rows.jsonl", "rows": 240, "sha256": "cd" * 32},
            "reasons": {"learning_rate": f"because {HOSTILE}"},
        }
    )  # fmt: skip
    record.write(run, evaluated())
    return run


def comparison(run: RunFolder, name: str, *, tuned: str | None = None) -> Path:
    """A comparison of base and run in its folder."""
    models = [{"label": "base", "kind": "base", "run": run.name},
              {"label": "mine", "kind": "adapter", "run": tuned or run.name}]  # fmt: skip
    lines = [
        {"kind": "comparison", "format": 1, "models": models},
        {"kind": "answers", "number": 1, "prompt": "Compared?", "reference": None, "origin": "",
         "answers": {"base": {"text": "base said"}, "mine": {"text": f"mine said {name}"}}},
        {"kind": "verdict", "number": 1, "better": "mine"},
    ]  # fmt: skip
    path = run.path / "comparisons" / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
