"""What the training and the scaling benchmark share: a contestant in a process of its own, and what it left.

This process stays small and imports no torch. A child's peak memory is counted from its parent's at the moment of the
start (Linux keeps the mark across exec), so a large parent would be measured instead of a small child.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from ftk import hardware

HERE = Path(__file__).resolve().parent
BUSY = 0.15
"""Part of the processor that others may use before the figures are worth less."""
Result = dict[str, Any]
console = Console(width=None if sys.stdout.isatty() else 120)


def run(python: str, job: dict[str, Any], cache: Path) -> Result:
    """One contestant in a process of its own; `ok` of the result says whether it came to its end.

    Args:
        python: The interpreter that has the contestant's libraries.
        job: What to train, without the places and the start, which are added here.
        cache: A folder for everything that the contestant's libraries keep between runs.

    """
    busy = psutil.cpu_percent(interval=0.5) / 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        errors = folder / "errors.txt"
        file = folder / "job.json"
        file.write_text(json.dumps({**job, "folder": name, "started": time.monotonic()}), encoding="utf-8")
        with errors.open("wb") as stderr:
            command = [python, str(HERE / "contestants.py"), str(file)]
            environment = _environment(cache, job["device"])
            done = subprocess.run(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=stderr, check=False
            )
        result = parse(done.returncode, done.stdout.decode(errors="replace"), errors.read_text(errors="replace"))
    return {"contestant": job["contestant"], **result, "busy_before": busy}


def parse(code: int, output: str, errors: str) -> Result:
    """The last line of a contestant's output, or why there is none."""
    if code == 0 and output.strip():
        try:
            return {"ok": True, **json.loads(output.strip().splitlines()[-1])}
        except (ValueError, TypeError):
            errors = f"{errors}\nThe last line is no JSON object: {output.strip().splitlines()[-1][:200]}"
    tail = [line for line in errors.splitlines() if line.strip()][-12:]
    return {"ok": False, "error": "\n".join([f"exit code {code}", *tail])}


def _environment(cache: Path, device: str) -> dict[str, str]:
    """Caches of its own for every contestant, so that the first repeat starts cold; no network; one GPU or none."""
    environment = {
        **os.environ,
        "FTK_CACHE": str(cache / "ftk"),
        "HF_HOME": str(cache / "huggingface"),
        "HF_DATASETS_CACHE": str(cache / "datasets"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONSAFEPATH": "1",  # the names of the benchmarks must not hide modules of the contestants
        "RECORD_VRAM": "1",  # has LLaMA-Factory write its peak of GPU memory into its log
    }
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    visible = environment.get("CUDA_VISIBLE_DEVICES") or "0"
    environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0] if device == "cuda" else ""
    return environment


def disturbed(results: Iterable[Result]) -> str:
    """A warning if the machine was not idle when contestants began; empty if it was.

    Threads that share a core wait for each other at every operation, so that small steps take many times as long.
    """
    busiest = max((result["busy_before"] for result in results), default=0.0)
    if busiest < BUSY:
        return ""
    return f"Something else used up to {busiest:.0%} of the processor: measure again on an idle machine."


def interpreter(given: str | None) -> str:
    """The path of a Python; this one where none is given. A link is kept: it is what makes it an environment's."""
    if given is None:
        return sys.executable
    found = shutil.which(given)
    return str(Path(found or given).absolute())


def missing(python: str, modules: tuple[str, ...]) -> list[str]:
    """Which of these modules an interpreter does not have; all of them if it does not run."""
    question = "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])"
    try:
        done = subprocess.run([python, "-c", question, *modules], capture_output=True, text=True, check=False)
    except OSError:
        return list(modules)
    return list(modules) if done.returncode else done.stdout.split()


def number_format(asked: str, machine: hardware.Hardware, device: str) -> str:
    """The number format for all contestants alike: bfloat16 where the hardware multiplies it, if nobody asks else."""
    if asked != "auto":
        return asked
    has = machine.gpus[0].bfloat16 if device == "cuda" and machine.gpus else machine.bfloat16
    return "bfloat16" if has else "float32"


def weights_of(folder: Path) -> int:
    """The number of weights in a model's safetensors files; a head that is tied to the embedding counts once."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a report, and its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
