"""Comparisons that were made, kept in the folder of their run: ``comparisons/NAME.jsonl``.

The first line tells of the whole (``comparison``: time, models, sampling, where the prompts are from), then comes a
line for every prompt with all answers (``answers``), then one for every blind verdict (``verdict``).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import files
from .._version import __version__
from ..errors import RunError
from ..plain_files import read_text
from ..runs import RunFolder
from .asked import Compared, Sampling
from .subjects import Subject

FORMAT = 1
_LIMIT = 1 << 28


@dataclass(frozen=True)
class Verdict:
    """A person's choice between two answers without knowing whose they are: a label, or None for no difference.

    `order` has the labels in the order in which the answers were shown.
    """

    number: int
    better: str | None
    order: tuple[str, str]


@dataclass(frozen=True)
class Record:
    """A comparison as it is kept: what it was, the answers, the verdicts; all plain values."""

    about: dict[str, Any]
    answers: list[dict[str, Any]]
    verdicts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def labels(self) -> list[str]:
        """The models, in order."""
        return [str(model["label"]) for model in self.about["models"]]


def record(
    subjects: Sequence[Subject],
    sampling: Sampling,
    found: Sequence[Compared],
    source: str,
    *,
    notes: Sequence[str] = (),
    verdicts: Sequence[Verdict] = (),
) -> Record:
    """A comparison in plain values.

    Args:
        subjects: The models.
        sampling: How tokens were chosen.
        found: The answers.
        source: Where the prompts are from.
        notes: What is to be known of them.
        verdicts: What a person chose blindly.

    """
    about = {
        "kind": "comparison",
        "format": FORMAT,
        "ftk": __version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "models": [subject.to_dict() for subject in subjects],
        "sampling": asdict(sampling),
        "prompts": source,
        "notes": list(notes),
    }
    chosen = [{"kind": "verdict", **asdict(verdict)} for verdict in verdicts]
    return Record(about, [as_line(compared) for compared in found], chosen)


def as_line(compared: Compared) -> dict[str, Any]:
    """A prompt with all answers, as plain values."""
    prompt = compared.prompt
    return {
        "kind": "answers",
        "number": compared.number + 1,
        "prompt": prompt.asked,
        "messages": list(prompt.messages),
        "reference": prompt.reference,
        "origin": prompt.origin,
        "answers": {
            label: {"text": answer.text, "tokens": answer.tokens, "ended": answer.reason}
            for label, answer in compared.answers.items()
        },
    }


def folder(run: RunFolder) -> Path:
    """Where the comparisons of a run are kept."""
    return run.path / "comparisons"


def keep(run: RunFolder, made: Record, path: Path | None = None) -> Path:
    """Write a comparison into its run, whole or not at all; returns the file.

    Args:
        run: The run.
        made: The comparison.
        path: The file of one that goes on, to be replaced; a new one by default.

    Raises:
        RunError: it cannot be written.

    """
    lines = [made.about, *made.answers, *made.verdicts]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    try:
        path = path or _free(folder(run))
        files.write_atomic(path, text)
    except OSError as error:
        raise RunError(f"The comparison cannot be kept in {folder(run)}: {error.strerror or error}.") from None
    return path


def _free(parent: Path) -> Path:
    """A name that nobody has, and that comes after all earlier ones."""
    while (path := parent / f"{datetime.now():%Y%m%d-%H%M%S-%f}.jsonl").exists():
        time.sleep(1e-6)
    return path


def read(path: Path) -> Record:
    """A comparison that was kept.

    Raises:
        RunError: the file cannot be read, is damaged or of a later format.

    """
    try:
        lines = [json.loads(line) for line in read_text(path, _LIMIT).split("\n") if line.strip()]
        about = next(line for line in lines if line["kind"] == "comparison")
        if about["format"] > FORMAT:
            raise RunError(f"{path} was written by a later version of ftk.", hint="pip install -U llm-finetune-kit")
    except (OSError, ValueError, KeyError, TypeError, StopIteration, RecursionError) as error:
        raise RunError(f"{path} is no comparison that can be read: {error}.") from None
    parts = {kind: [line for line in lines if line["kind"] == kind] for kind in ("answers", "verdict")}
    return Record(about, parts["answers"], parts["verdict"])


def chance(one: int, other: int) -> float:
    """How often two equal models would be preferred as unevenly as `one` to `other`, or more (the sign test)."""
    total = one + other
    ways = sum(math.comb(total, count) for count in range(min(one, other) + 1))
    return min(1.0, float(2 * ways / 2**total))
