"""Start a run in a worker thread that the engine owns: stop it, pause it, wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal

from .errors import FtkError
from .events import Listener
from .training.allocator import keep_freed_memory
from .training.control import Control
from .training.trainer import RunResult, Trainer

State = Literal["ready", "running", "paused", "stopping", "done", "failed"]


class Runner:
    """A run in its own thread. Whoever watches may go away; the run goes on.

    Args:
        trainer: What to run.
        listeners: Called with every event, in the worker thread.

    """

    def __init__(self, trainer: Trainer, listeners: Sequence[Listener] = ()) -> None:
        self._trainer = trainer
        self._listeners = listeners
        self._control = Control()
        self._result: RunResult | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> State:
        """What the run is doing."""
        if self._thread is None:
            return "ready"
        if self._done.is_set():
            return "failed" if self._error else "done"
        if self._control.stopping:
            return "stopping"
        return "paused" if self._control.paused else "running"

    def start(self) -> Runner:
        """Begin; a runner runs once.

        Raises:
            RuntimeError: it was started before.

        """
        if self._thread is not None:
            raise RuntimeError("This runner was started already.")
        keep_freed_memory()  # here, because a thread takes over the heap that it finds
        self._thread = threading.Thread(target=self._work, name="ftk-run", daemon=True)
        self._thread.start()
        return self

    def _work(self) -> None:
        try:
            self._result = self._trainer.run(self._listeners, self._control)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._error = error
        finally:
            self._done.set()

    def stop(self, reason: str = "stopped on request", *, save: bool = True) -> None:
        """Ask for a stop: a checkpoint is written (unless not to `save`), then the run ends."""
        self._control.stop(reason, save=save)

    def save(self) -> None:
        """Ask for a checkpoint after the step that is being computed."""
        self._control.save()

    def pause(self) -> None:
        """Hold before the next micro-batch."""
        self._control.pause()

    def proceed(self) -> None:
        """Go on after a pause."""
        self._control.proceed()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the run has ended, or for `timeout` seconds; returns whether it has."""
        return self._done.wait(timeout)

    def result(self, on_interrupt: Callable[[], None] | None = None) -> RunResult:
        """Wait for the end and return the result.

        Args:
            on_interrupt: What the first Ctrl-C does; asks for a stop by default. A second one leaves at once.

        Raises:
            FtkError: the run failed.

        """
        try:
            self._wait()
        except KeyboardInterrupt:
            (on_interrupt or self._interrupted)()
            self._wait()
        if self._error:
            raise self._error
        if self._result is None:
            raise FtkError("The run ended without a result.")
        return self._result

    def _interrupted(self) -> None:
        self.stop("Ctrl-C")

    def _wait(self) -> None:
        while not self._done.wait(0.5):  # a wait without limit would not hear signals on every platform
            pass
        if self._thread is not None:
            self._thread.join()  # a thread that is still inside torch when the interpreter ends aborts the process
