"""The run that the app shows: one that it carries out itself, or one of another process that it follows.

Belongs to the app and not to a screen: whatever screen is shown, or none, the run goes on and its numbers are kept.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ftk.errors import FtkError
from ftk.events import ENDINGS, Event, Leaving, Listener, Paused, Phase, Proceeded, Started, Telemetry, Warned

from .bridge import Bridge
from .samples import Samples
from .series import Series

if TYPE_CHECKING:
    from ftk.autoconfig import Plan
    from ftk.runner import Runner
    from ftk.runs import RunFolder
    from ftk.training.trainer import RunResult

    from .follower import Follower

State = Literal["none", "running", "paused", "stopping", "finished", "stopped", "failed", "interrupted"]
_ACTIVE = ("running", "paused", "stopping")
_AT_ONCE = 4000
"""Events that are taken in one go, in about 20 ms: the journal of a long run comes in many."""
LIBRARY = "library"
"""The code of a warning that a library gave, and that nobody has to act on."""


class Sampling(Protocol):
    """What samples the machine: `ftk.telemetry.Sampler`."""

    def start(self) -> Any:
        """Begin."""

    def stop(self) -> None:
        """End."""


def _runner(trainer: Any, listeners: Sequence[Listener]) -> Runner:
    from ftk.runner import Runner

    return Runner(trainer, listeners)


def _sampler(listener: Listener, device: str) -> Sampling:
    from ftk.telemetry import Sampler

    return Sampler([listener], device=device)


class Session:
    """A run as the app sees it: its state, its events, its numbers, and the switches.

    Args:
        make: Makes the runner of a trainer; replaced in tests.
        sample: Makes what samples the machine for a listener and a device; replaced in tests.

    """

    def __init__(
        self,
        make: Callable[[Any, Sequence[Listener]], Runner] = _runner,
        sample: Callable[[Listener, str], Sampling] = _sampler,
    ) -> None:
        self._make, self._sample = make, sample
        self._runner: Runner | None = None
        self._follower: Follower | None = None
        self._sampler: Sampling | None = None
        self._bridge = Bridge()
        self._reset()

    def _reset(self) -> None:
        self.plan: Plan | None = None
        self.run: RunFolder | None = None
        self.series = Series()
        self.telemetry = Samples()
        """What the machine did while a run of this process went on: the last sample, and a course of them."""
        self.log: list[Event] = []
        """Every event but steps, samples and the progress of phases, in order."""
        self.last: dict[str, Event] = {}
        """The last event of each kind."""
        self._ending: Event | None = None
        self._cut = False
        self._paused = self._stopping = False
        self._bridge = Bridge()
        if self._follower:
            self._follower.stop()
        self._follower = self._runner = None
        self._end_sampling()

    @property
    def state(self) -> State:
        """What the run is doing, as far as its events were taken."""
        if isinstance(self._ending, ENDINGS):
            return self._ending.kind  # type: ignore[return-value]
        if self._follower and self._follower.caught_up and self._follower.state not in _ACTIVE:
            return "interrupted"
        if self._runner is None and self._follower is None:
            return "none"
        if self._runner and self._runner.state in ("done", "failed") and not self._bridge.waiting:
            return "failed"  # it could not even begin, so that no event tells why; see `problem`
        if self._stopping:
            return "stopping"
        return "paused" if self._paused else "running"

    @property
    def active(self) -> bool:
        """Whether the run goes on, here or in another process."""
        return self.state in _ACTIVE

    @property
    def own(self) -> bool:
        """Whether this process carries the run out."""
        return self._runner is not None

    @property
    def busy(self) -> bool:
        """Whether a run of this process goes on; no other can be started or followed then."""
        return self.own and self.active

    @property
    def runner(self) -> Runner | None:
        """The thread that carries the run out, if it is one of this process."""
        return self._runner

    @property
    def result(self) -> RunResult | None:
        """The finished run of this process, with the model in memory."""
        if self._runner is None or not self._runner.join(0):
            return None
        try:
            return self._runner.result()
        except FtkError:
            return None

    @property
    def problem(self) -> FtkError | None:
        """Why a run of this process failed; None if it did not."""
        if self._runner is None or not self._runner.join(0):
            return None
        try:
            self._runner.result()
        except FtkError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a fault of ours must be told like any other
            return FtkError(f"{type(error).__name__}: {error}", hint="This is a fault of ftk.")
        return None

    def start(
        self,
        plan: Plan,
        *,
        resume: RunFolder | None = None,
        remarks: Sequence[Warned] = (),
        past: Sequence[Event] = (),
    ) -> None:
        """Train in a thread of the engine, and sample the machine while it does.

        Args:
            plan: What will be done.
            resume: The run to go on with.
            remarks: What is to be told when it begins.
            past: What that run told before, to be shown again; see `starting.past`.

        Raises:
            RuntimeError: a run of this process goes on already.

        """
        if self.busy:
            raise RuntimeError("A run goes on already.")
        from ftk.training.trainer import Trainer

        self._reset()
        self.plan, self.run = plan, resume
        self._bridge.begin_with(past)
        self._runner = self._make(Trainer(plan, resume=resume, remarks=remarks), [self._bridge]).start()
        self._sampler = self._sample(self._bridge, plan.config.device)
        self._sampler.start()

    def follow(self, run: RunFolder) -> None:
        """Show a run of another process, or one that has ended, from its beginning.

        Raises:
            RuntimeError: a run of this process goes on.

        """
        if self.busy:
            raise RuntimeError("A run goes on already.")
        from .follower import Follower

        self._reset()
        self.run = run
        self._follower = Follower(run, self._bridge)

    def take(self) -> list[Event]:
        """New events, after they were added to `series`, `telemetry`, `log` and `last`; many come in several calls."""
        events = self._bridge.take(_AT_ONCE)
        self._cut = len(events) == _AT_ONCE
        for event in events:
            self._add(event)
        if self._sampler and self._ending:
            self._end_sampling()
        return events

    @property
    def behind(self) -> bool:
        """Whether more was waiting than was taken; what comes just now waits for the next time."""
        return self._cut and self._bridge.waiting > 0

    def _add(self, event: Event) -> None:
        self.last[event.kind] = event
        if isinstance(event, Telemetry):
            self.telemetry.take(event)
            return
        self.series.take(event)
        if event.kind == "step" or (isinstance(event, Phase) and event.done):
            return
        self.log.append(event)
        if isinstance(event, Started):
            self._began(event)
        elif isinstance(event, ENDINGS):
            self._ending = event
        elif isinstance(event, Paused | Proceeded):
            self._paused = isinstance(event, Paused)

    def _began(self, event: Started) -> None:
        from ftk.runs import RunFolder

        self._ending = None
        self._paused = False
        self._stopping = self._stopping and self.own
        if event.folder and not self._follower:
            self.run = RunFolder(Path(event.folder))

    def note(self, text: str) -> None:
        """Keep what a library said, as a warning with the code `LIBRARY`; may be called from any thread."""
        with contextlib.suppress(Leaving):
            self._bridge(Warned(code=LIBRARY, message=text))

    def hand_over(self, listener: Listener) -> None:
        """Show nothing more: the run goes on, and tells another listener what happens."""
        self._bridge.hand_over(listener)
        if self._follower:
            self._follower.stop()
        self._end_sampling()

    def _end_sampling(self) -> None:
        sampler, self._sampler = self._sampler, None
        if sampler:  # it may wait for a driver that hangs
            threading.Thread(target=sampler.stop, name="ftk-telemetry-end", daemon=True).start()

    def pause(self) -> None:
        """Hold before the next micro-batch.

        Raises:
            RunError: the run of another process cannot be asked; so for the other switches.

        """
        if self._runner:
            self._runner.pause()
        else:
            self._ask("pause")

    def proceed(self) -> None:
        """Go on after a pause."""
        if self._runner:
            self._runner.proceed()
        else:
            self._ask("proceed")

    def save(self) -> None:
        """Ask for a checkpoint after this step."""
        if self._runner:
            self._runner.save()
        else:
            self._ask("save")

    def stop(self, *, save: bool = True, why: str = "stopped in the app") -> None:
        """Stop, with a checkpoint or (abort) without."""
        if self._runner:
            self._runner.stop(why, save=save)
        else:
            self._ask("stop" if save else "abort")
        self._stopping = True

    def _ask(self, request: Literal["pause", "proceed", "save", "stop", "abort"]) -> None:
        from ftk import requests

        if self.run:
            requests.send(self.run, request)
