"""What happens in a thread before a run begins or goes on: everything that takes longer than a key press."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftk.errors import FtkError
from ftk.events import CheckpointSaved, Evaluation, Event, Step, Warned

if TYPE_CHECKING:
    from ftk.autoconfig import Plan
    from ftk.config import RunConfig
    from ftk.runs import RunFolder

_OF_THE_PAST = (Step, Evaluation, CheckpointSaved, Warned)
"""Events of a run's past that are shown again when it goes on."""


class CancelledError(FtkError):
    """Nobody wants the plan any more."""


@dataclass(frozen=True)
class Ready:
    """A run that can begin, or go on: its plan, what was learnt of it, and the memory that it is expected to take."""

    plan: Plan
    resume: RunFolder | None = None
    remarks: tuple[Warned, ...] = ()
    past: tuple[Event, ...] = ()
    memory: int | None = None


@dataclass
class Planning:
    """Work on a plan, which can be watched and cancelled from another thread."""

    name: str
    cancelled: threading.Event = field(default_factory=threading.Event)
    done: int = 0
    total: int = 0

    def progress(self, done: int, total: int) -> None:
        """Called with bytes of the data read and bytes in all.

        Raises:
            CancelledError: the plan is no longer wanted.

        """
        self.done, self.total = done, total
        if self.cancelled.is_set():
            raise CancelledError("Cancelled.")


def new(settings: RunConfig, planning: Planning) -> Ready:
    """Plan a new run; imports what the first thread of it needs, so that the start takes no time.

    Raises:
        FtkError: the model or the data cannot be had, or a setting cannot work here.

    """
    from ftk import autoconfig

    plan = autoconfig.plan(settings, planning.progress)
    _import_engine()
    planning.progress(planning.done, planning.total)
    return Ready(plan, memory=expected_memory(plan))


def again(run: RunFolder, planning: Planning, *, override: bool = False) -> Ready:
    """Plan the rest of a run.

    Raises:
        FtkError: it is finished, taken, or not as it was; see `ftk.resume.prepare`.

    """
    from ftk import resume

    found = resume.prepare(str(run.path), override=override, progress=planning.progress)
    _import_engine()
    planning.progress(planning.done, planning.total)
    return Ready(found.plan, found.run, found.remarks, past(found.run), expected_memory(found.plan))


def past(run: RunFolder) -> tuple[Event, ...]:
    """What a run told so far that its charts need; no ending, and nothing of what it was doing then."""
    return tuple(event for event in run.history() if isinstance(event, _OF_THE_PAST))


def expected_memory(plan: Plan) -> int | None:
    """Bytes of memory that a run will take at most on its device, by formula; None where that cannot be said."""
    with contextlib.suppress(FtkError, LookupError, ValueError):
        from ftk import memory
        from ftk.memory.card import of_gpu

        device: Any = "cpu"
        if plan.config.device.startswith("cuda"):
            device = of_gpu(plan.hardware.gpus[int(plan.config.device.partition(":")[2] or 0)])
        return memory.estimate(plan.source, memory.Settings.of(plan.config), device, trace=False).process
    return None


def _import_engine() -> None:
    import ftk.runner
    import ftk.training.trainer  # noqa: F401 - torch comes with the run itself
