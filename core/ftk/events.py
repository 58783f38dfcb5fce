"""The typed events of a run: the one stream that screens, printers, the journal and callbacks read.

A stream begins with `Started` and ends with exactly one of `Finished`, `Stopped` and `Failed`. Every event
is a frozen dataclass of plain values, and turns into one line of JSON and back.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a run; `time` is seconds since 1970, for people, never for durations."""

    kind: ClassVar[str]
    time: float = field(default_factory=lambda: round(time.time(), 3))

    def to_json(self) -> str:
        """One line of JSON with the event's kind first; numbers that JSON cannot hold become null."""
        values = {"event": self.kind} | {key: _finite(value) for key, value in asdict(self).items()}
        line = json.dumps(values, ensure_ascii=False, allow_nan=False)
        try:
            line.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, from JSON data: only an escape can hold it
            line = json.dumps(values, allow_nan=False)
        return line


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """The run begins; all later events belong to it."""

    kind: ClassVar[str] = "started"
    run: str
    folder: str
    model: str
    data: str
    version: str
    resumed_from: int = 0


@dataclass(frozen=True, kw_only=True)
class Phase(Event):
    """What the engine is busy with; `done` of `total` in `unit` where it can be counted."""

    kind: ClassVar[str] = "phase"
    name: str
    detail: str = ""
    done: float | None = None
    total: float | None = None
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """An optimiser update: loss is the mean over the supervised tokens since the last report.

    `eta_s` are the seconds left until the last update with its evaluation and checkpoint; the range around it is told
    while it is wider than some percent.
    """

    kind: ClassVar[str] = "step"
    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    supervised_tokens: int
    tokens_per_s: float
    eta_s: float
    elapsed_s: float
    memory_bytes: int
    gpu_memory_bytes: int | None = None
    eta_low_s: float | None = None
    eta_high_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Telemetry(Event):
    """What the machine does, about once a second, whatever the run does; live only, never in the journal.

    Memory is in bytes, temperature in degrees Celsius, power in watts; of `cpu_percent` 100 is one core. `memory_bytes`
    and `gpu_memory_bytes` are what this process holds. The GPU's figures are None where the driver does not tell, and
    without a GPU; `gpu_lost` says that it stopped answering.
    """

    kind: ClassVar[str] = "telemetry"
    memory_bytes: int
    memory_used: int
    memory_total: int
    cpu_percent: float | None = None
    gpu: str = ""
    gpu_memory_bytes: int | None = None
    gpu_memory_used: int | None = None
    gpu_memory_total: int | None = None
    gpu_percent: float | None = None
    gpu_power: float | None = None
    gpu_temperature: float | None = None
    gpu_lost: bool = False


@dataclass(frozen=True, kw_only=True)
class Evaluation(Event):
    """The held-out loss after `step` updates; `step` 0 is the untuned model."""

    kind: ClassVar[str] = "evaluation"
    step: int
    loss: float
    perplexity: float
    rows: int
    supervised_tokens: int
    best: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(Event):
    """A checkpoint is on disk, complete and synced."""

    kind: ClassVar[str] = "checkpoint"
    step: int
    path: str
    bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Paused(Event):
    """The run holds, after `step` updates, until it is told to go on."""

    kind: ClassVar[str] = "paused"
    step: int


@dataclass(frozen=True, kw_only=True)
class Proceeded(Event):
    """The run goes on after a pause."""

    kind: ClassVar[str] = "proceeded"
    step: int


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Something a person should know, with what to do about it; the run goes on."""

    kind: ClassVar[str] = "warning"
    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Answered(Event):
    """A prompt answered by the base model and by the tuned one."""

    kind: ClassVar[str] = "answer"
    prompt: str
    base: str
    tuned: str


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The run ended as planned (or early, because it stopped getting better: then `reason` says so)."""

    kind: ClassVar[str] = "finished"
    step: int
    adapter: str
    loss_before: float | None
    loss_after: float | None
    train_loss: float | None
    seconds: float
    training_s: float
    tokens: int
    peak_memory_bytes: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Stopped(Event):
    """The run was asked to stop; everything up to `step` is kept in `checkpoint`."""

    kind: ClassVar[str] = "stopped"
    step: int
    reason: str
    checkpoint: str | None


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The run could not go on."""

    kind: ClassVar[str] = "failed"
    step: int
    error: str
    message: str
    hint: str = ""


Listener = Callable[[Event], None]


class Leaving(Exception):  # noqa: N818 - not an error
    """Raised by a listener that will hear nothing more; `warning` tells the others, and the journal, why."""

    def __init__(self, warning: Warned) -> None:
        super().__init__(warning.message)
        self.warning = warning


ENDINGS: tuple[type[Event], ...] = (Finished, Stopped, Failed)
KINDS: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        Started, Phase, Step, Telemetry, Evaluation, CheckpointSaved, Paused, Proceeded, Warned, Answered,
        Finished, Stopped, Failed,
    )
}  # fmt: skip


def from_json(line: str) -> Event:
    """The event of one line of a journal; fields that this version does not know are left out.

    Raises:
        ValueError: the line is not an event (torn, or of an unknown kind).

    """
    try:
        values = json.loads(line)
        kind = KINDS[values.pop("event")]
        known = {item.name for item in fields(kind)}
        return kind(**{key: value for key, value in values.items() if key in known})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an event: {line[:80]!r}") from error


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
