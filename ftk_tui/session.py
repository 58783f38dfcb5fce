"""The run that the app shows: one that it carries out itself, or one of another process that it follows.

Belongs to the app and not to a screen: whatever screen is shown, or none, the run goes on and its numbers are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from ftk import requests
from ftk.autoconfig import Plan
from ftk.errors import FtkError
from ftk.events import ENDINGS, Event, Paused, Phase, Proceeded, Started, Warned
from ftk.runner import Runner
from ftk.runs import RunFolder
from ftk.training.trainer import RunResult, Trainer

from .attach_command import Tail
from .bridge import Bridge
from .series import Series

State = Literal["none", "running", "paused", "stopping", "finished", "stopped", "failed", "interrupted"]
_ACTIVE = ("running", "paused", "stopping")


class Session:
    """A run as the app sees it: its state, its events, its numbers, and the switches.

    Args:
        make: Makes the runner of a trainer; replaced in tests.

    """

    def __init__(self, make: Callable[[Trainer, Sequence[Callable[[Event], None]]], Runner] = Runner) -> None:
        self._make = make
        self._runner: Runner | None = None
        self._bridge = Bridge()
        self._tail: Tail | None = None
        self._reset()

    def _reset(self) -> None:
        self.plan: Plan | None = None
        self.run: RunFolder | None = None
        self.series = Series()
        self.log: list[Event] = []
        """Every event but steps and the progress of phases, in order."""
        self.last: dict[str, Event] = {}
        """The last event of each kind."""
        self._paused = self._stopping = False

    @property
    def state(self) -> State:
        """What the run is doing, as far as its events were taken."""
        ending = next((event for event in reversed(self.log) if isinstance(event, (*ENDINGS, Started))), None)
        if isinstance(ending, ENDINGS):
            return ending.kind  # type: ignore[return-value]
        if self._runner is None and self._tail is None:
            return "none"
        if self._tail and self.run and self.run.state() == "interrupted":
            return "interrupted"
        if self._stopping:
            return "stopping"
        return "paused" if self._paused else "running"

    @property
    def active(self) -> bool:
        """Whether a run goes on; no other can be started then."""
        return self.state in _ACTIVE

    @property
    def own(self) -> bool:
        """Whether this process carries the run out."""
        return self._runner is not None

    @property
    def result(self) -> RunResult | None:
        """The finished run of this process, with the model in memory."""
        if self._runner is None or not self._runner.join(0):
            return None
        try:
            return self._runner.result()
        except FtkError:
            return None

    def start(self, plan: Plan, *, resume: RunFolder | None = None, remarks: Sequence[Warned] = ()) -> None:
        """Train in a thread of the engine.

        Raises:
            RuntimeError: a run goes on already.

        """
        if self.active:
            raise RuntimeError("A run goes on already.")
        self._reset()
        self._bridge, self._tail = Bridge(), None
        self.plan = plan
        self._runner = self._make(Trainer(plan, resume=resume, remarks=remarks), [self._bridge]).start()

    def follow(self, run: RunFolder) -> None:
        """Show a run of another process, or one that has ended, from its beginning.

        Raises:
            RuntimeError: a run of this process goes on.

        """
        if self.own and self.active:
            raise RuntimeError("A run goes on already.")
        self._reset()
        self._runner, self.run = None, run
        self._tail = Tail(run.journal_file)

    def take(self) -> list[Event]:
        """The events since the last call, after they were added to `series`, `log` and `last`."""
        events = list(self._tail.new()) if self._tail else self._bridge.take()
        for event in events:
            self.series.take(event)
            self.last[event.kind] = event
            if event.kind != "step" and not (isinstance(event, Phase) and event.done):
                self.log.append(event)
            if isinstance(event, Started):
                self._paused = self._stopping = False
                if event.folder and not self._tail:
                    self.run = RunFolder.open(event.folder)
            elif isinstance(event, Paused | Proceeded):
                self._paused = isinstance(event, Paused)
        return events

    def pause(self) -> None:
        """Hold before the next micro-batch."""
        if self._runner:
            self._runner.pause()
        elif self.run:
            requests.send(self.run, "pause")

    def proceed(self) -> None:
        """Go on after a pause."""
        if self._runner:
            self._runner.proceed()
        elif self.run:
            requests.send(self.run, "proceed")

    def save(self) -> None:
        """Ask for a checkpoint after this step."""
        if self._runner:
            self._runner.save()
        elif self.run:
            requests.send(self.run, "save")

    def stop(self, *, save: bool = True) -> None:
        """Stop, with a checkpoint or (abort) without."""
        self._stopping = True
        if self._runner:
            self._runner.stop("stopped in the app", save=save)
        elif self.run:
            requests.send(self.run, "stop" if save else "abort")
