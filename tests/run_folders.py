"""Run folders with a journal of one's choice, made without training anything."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

from ftk.config import build
from ftk.events import Evaluation, Event, Failed, Finished, Started, Step, Stopped
from ftk.runs import Journal, RunFolder

_clock = itertools.count(1_000_000)


def at_last(event: Event) -> Event:
    """The event, later than all others."""
    return dataclasses.replace(event, time=float(next(_clock)))


def started(resumed_from: int = 0) -> Event:
    return Started(run="r", folder="/f", model="started-model", data="d", version="1", resumed_from=resumed_from)


def step(number: int, loss: float = 2.5) -> Event:
    return Step(
        step=number, total_steps=100, epoch=0.1, loss=loss, learning_rate=1e-4, grad_norm=1.0, tokens=1,
        supervised_tokens=1, tokens_per_s=1.0, eta_s=1.0, elapsed_s=number / 2, memory_bytes=1,
    )  # fmt: skip


def evaluation(number: int, loss: float) -> Event:
    return Evaluation(step=number, loss=loss, perplexity=1.0, rows=1, supervised_tokens=1, best=True, seconds=0.1)


def finished(**changes: object) -> Event:
    event = Finished(
        step=100, adapter="/a", loss_before=3.0, loss_after=1.5, train_loss=1.4, seconds=70.0, training_s=60.0,
        tokens=9, peak_memory_bytes=1,
    )  # fmt: skip
    return dataclasses.replace(event, **changes)  # type: ignore[arg-type]


STOPPED = Stopped(step=42, reason="Ctrl-C", checkpoint=None)
FAILED = Failed(step=7, error="E", message="no memory")


def make(parent: Path, name: str, *happened: Event, data: str = "rows.jsonl") -> RunFolder:
    """A run whose journal holds some events, each a second after the one before, over all runs that are made."""
    run = RunFolder.create(name, "gpt2", parent)
    header = f"{name}: the settings of this run\n\nftk --preset {run.config_file}"
    run.config_file.write_text(build({"model": "gpt2", "data": data, "learning_rate": 1e-3}).to_yaml(header=header))
    run.write_provenance({"model": {"name": "gpt2"}, "data": {"name": data}, "created": "1970-01-02T00:00:00+0000"})
    journal = Journal(run)
    for event in happened:
        journal(at_last(event))
    journal.close()
    return run
