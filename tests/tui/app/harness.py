"""What the tests of the app share: a fake engine, a machine that is always the same, ways to press, wait and look.

A test is a plain function that hands an `async` one to `drive`:

    def test_something() -> None:
        async def test(pilot: Pilot[int]) -> None:
            await pilot.press("1")
            await until(pilot, lambda: "smollm2" in text(pilot.app))

        drive(test, size=SMALL)
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from textual.pilot import Pilot

from ftk import autoconfig, catalog
from ftk.autoconfig import Plan
from ftk.config import build
from ftk.data.dataset import load_dataset
from ftk.errors import FtkError, TrainingError
from ftk.events import (
    ENDINGS,
    Event,
    Failed,
    Finished,
    Leaving,
    Listener,
    Paused,
    Proceeded,
    Started,
    Step,
    Stopped,
    Telemetry,
)
from ftk.hardware import Gpu, Hardware
from ftk.models.sources import Source
from ftk.runs import Journal, RunFolder
from ftk_tui.app import FtkApp
from ftk_tui.session import Session
from ftk_tui.wizard import Wizard

SMALL, LARGE = (80, 24), (160, 50)
SIZES = (SMALL, LARGE)

GIB = 2**30
_FRAMES = re.compile("[\u2500-\u25ff]")
CPU = Hardware(
    cpu="Test processor", cores=2, memory=8 * GIB, memory_available=6 * GIB, bfloat16=False, gpus=(), physical_cores=2
)
CARD = Gpu(
    index=0, name="NVIDIA Test 24", memory_total=24 * GIB, memory_used=1 * GIB, capability=(8, 9), driver="580.1"
)
WITH_CARD = Hardware(
    cpu="Test processor", cores=16, memory=64 * GIB, memory_available=60 * GIB, bfloat16=True, gpus=(CARD,)
)


def plan(hardware: Hardware = CPU, **settings: Any) -> Plan:
    """What would be decided for settings; the embedded model, the chat sample and 100 steps by default."""
    config = build({"max_steps": 100, **settings})
    entry = catalog.find(config.model)
    source = Source(config.model, "embedded", None, None, entry)
    return autoconfig.resolve(config, hardware, source, load_dataset(config.data))


class FakeRunner:
    """In place of `ftk.runner.Runner`: tells what the test wants, and does what it is told.

    It has a run folder with a journal, like the real one; nothing is trained.
    """

    def __init__(self, trainer: Any, listeners: Sequence[Listener]) -> None:
        self.plan: Plan = trainer.plan
        self.config = trainer.config
        self.listeners = list(listeners)
        self.asked: list[str] = []
        """What it was told, in order: ``pause``, ``proceed``, ``save``, ``stop``, ``abort``."""
        self.run: RunFolder | None = trainer._resume
        self.step = 0
        self.state = "ready"
        self._done = threading.Event()
        self._ending: Event | None = None
        self._journal: Journal | None = None
        self._lock = threading.RLock()
        self._locked: Any = None

    def start(self) -> FakeRunner:
        """Begin: the folder is made and locked, and `Started` told."""
        reached = None
        if self.run is not None:
            reached = max((event.step for event in self.run.events() if isinstance(event, Step)), default=0)
        else:
            self.run = RunFolder.create(self.config.name, self.config.model)
            self.run.config_file.write_text(self.config.to_yaml())
            self.run.write_provenance({"model": {"name": self.config.model}, "data": {"name": self.plan.dataset.name}})
        self._locked = self.run.locked()
        self._locked.__enter__()
        self._journal = Journal(self.run)
        self.state = "running"
        self.tell(
            Started(
                run=self.run.name, folder=str(self.run.path), model=self.config.model, data=self.plan.dataset.name,
                version="0", resumed_from=reached,
            )
        )  # fmt: skip
        return self

    def tell(self, *events: Event) -> None:
        """Have events happen, in the thread that calls."""
        for event in events:
            with self._lock:
                if self._journal and not isinstance(event, Telemetry):
                    self._journal(event)
                for listener in list(self.listeners):
                    try:
                        listener(event)
                    except Exception as error:  # noqa: BLE001 - as the engine does
                        self.listeners.remove(listener)
                        if isinstance(error, Leaving):
                            self.tell(error.warning)
            if isinstance(event, Step):
                self.step = event.step
            if isinstance(event, ENDINGS):
                self._end(event)

    def steps(self, number: int, *, loss: Callable[[int], float] = lambda step: 3.0 / (1 + step / 20)) -> None:
        """Have so many further steps happen."""
        for _ in range(number):
            self.tell(step(self.step + 1, self.plan.total_steps, loss=loss(self.step + 1)))

    def finish(self) -> None:
        """Have the run end as planned."""
        assert self.run
        self.tell(
            Finished(
                step=self.plan.total_steps, adapter=str(self.run.adapter), loss_before=3.0, loss_after=1.5,
                train_loss=1.4, seconds=70.0, training_s=60.0, tokens=12_345, peak_memory_bytes=GIB,
            )
        )  # fmt: skip

    def fail(self, message: str = "The loss is not a number.", hint: str = "Try a lower learning rate.") -> None:
        """Have the run fail."""
        self.tell(Failed(step=self.step, error="TrainingError", message=message, hint=hint))

    def flood(self, seconds: float, *, per_second: int = 1000) -> threading.Thread:
        """Have steps happen at a rate, in a thread of its own, which is returned."""

        def work() -> None:
            begin, told = time.monotonic(), 0
            while (passed := time.monotonic() - begin) < seconds and self.state == "running":
                self.steps(max(0, round(passed * per_second) - told))
                told = round(passed * per_second)
                time.sleep(0.005)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _end(self, event: Event) -> None:
        self._ending = event
        if self._journal:
            self._journal.close()
            self._journal = None
        if self._locked:
            self._locked.__exit__(None, None, None)
            self._locked = None
        self.state = "failed" if isinstance(event, Failed) else "done"
        self._done.set()

    def pause(self) -> None:
        self.asked.append("pause")
        self.state = "paused"
        self.tell(Paused(step=self.step))

    def proceed(self) -> None:
        self.asked.append("proceed")
        self.state = "running"
        self.tell(Proceeded(step=self.step))

    def save(self) -> None:
        self.asked.append("save")

    def stop(self, reason: str = "stopped on request", *, save: bool = True) -> None:
        """Note it; the run ends when the test calls `stopped`, as a real one takes its time."""
        self.asked.append("stop" if save else "abort")
        self.state = "stopping"
        self.reason = reason

    def stopped(self) -> None:
        """Have the run end after `stop`."""
        checkpoint = None
        if self.run and self.asked and self.asked[-1] == "stop":
            checkpoint = str(self.run.checkpoints / f"step-{self.step:06d}")
        self.tell(Stopped(step=self.step, reason=getattr(self, "reason", "stopped"), checkpoint=checkpoint))

    def join(self, timeout: float | None = None) -> bool:
        return self._done.wait(timeout)

    def result(self, on_interrupt: Any = None) -> Any:
        from ftk.training.trainer import RunResult

        self._done.wait()
        if isinstance(self._ending, Failed):
            raise TrainingError(self._ending.message, hint=self._ending.hint)
        if self._ending is None:
            raise FtkError("The run ended without a result.")
        return RunResult(self.run, self._ending, None, None)


class FakeEngine:
    """Makes the runners of a session, and keeps them: ``engine.runner`` is the newest."""

    def __init__(self) -> None:
        self.runners: list[FakeRunner] = []

    def __call__(self, trainer: Any, listeners: Sequence[Listener]) -> Any:
        self.runners.append(FakeRunner(trainer, listeners))
        return self.runners[-1]

    @property
    def runner(self) -> FakeRunner:
        """The newest run."""
        return self.runners[-1]

    def session(self) -> Session:
        """A session that this engine works for, and that samples nothing unless the test does."""
        return Session(make=self, sample=lambda listener, device: NoSampler())

    def close(self) -> None:
        """End what still runs, so that no lock stays."""
        for runner in self.runners:
            if not runner.join(0):
                runner.stop()
                runner.stopped()


class NoSampler:
    """Samples nothing."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def step(number: int, total: int = 100, *, loss: float = 2.5, **changes: Any) -> Step:
    """An update as the engine tells it."""
    values: dict[str, Any] = {
        "step": number, "total_steps": total, "epoch": 3 * number / total, "loss": loss, "learning_rate": 2e-4,
        "grad_norm": 1.0, "tokens": 400 * number, "supervised_tokens": 200 * number, "tokens_per_s": 250.0,
        "eta_s": float(total - number), "elapsed_s": float(number), "memory_bytes": 3 * GIB,
    }  # fmt: skip
    return Step(**{**values, **changes})


def telemetry(**changes: Any) -> Telemetry:
    """A sample of a machine without a card."""
    values: dict[str, Any] = {
        "memory_bytes": 3 * GIB, "memory_used": 4 * GIB, "memory_total": 8 * GIB, "cpu_percent": 180.0
    }  # fmt: skip
    return Telemetry(**{**values, **changes})


Test = Callable[[Pilot[int]], Coroutine[Any, Any, None]]


def drive(
    test: Test,
    *,
    size: tuple[int, int] = SMALL,
    wizard: Wizard | None = None,
    session: Session | None = None,
    engine: FakeEngine | None = None,
    hardware: Hardware = CPU,
    app: FtkApp | None = None,
) -> FtkApp:
    """Run the app without a terminal, and a test with it; returns the app after it has ended.

    Args:
        test: The test.
        size: Columns and lines.
        wizard: The settings to begin with; new ones by default.
        session: The run to show; by default one of the engine.
        engine: Carries runs out; a new one by default.
        hardware: The machine that the app finds.
        app: The app itself, where the test makes it.

    """
    engine = engine or FakeEngine()
    with mock.patch.dict(os.environ, {"TERM": "xterm-256color", "COLORTERM": "truecolor"}):
        os.environ.pop("NO_COLOR", None)
        made = app or FtkApp(wizard or Wizard(), session or engine.session(), detect=lambda: hardware)

    async def run() -> None:
        async with made.run_test(size=size, notifications=True) as pilot:
            await test(pilot)

    try:
        asyncio.run(run())
    finally:
        engine.close()
    return made


async def until(pilot: Pilot[Any], condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Let the app work until something is so; fails, with what is on the screen, where it does not come."""
    end = time.monotonic() + seconds
    while True:
        await pilot.pause()
        if condition():
            return
        assert pilot.app.is_running, "the app has ended"  # its own error, if it had one, is raised when it is left
        assert time.monotonic() < end, "waited in vain; on the screen:\n" + text(pilot.app)
        await asyncio.sleep(0.01)


async def typed(pilot: Pilot[Any], words: str) -> None:
    """Type some text, key by key."""
    names = {" ": "space", "\n": "enter", ".": "full_stop", "/": "slash", "-": "minus", ":": "colon", "_": "underscore"}
    await pilot.press(*(names.get(letter, letter) for letter in words))


def text(app: Any) -> str:
    """What is on the screen, line by line, without colours."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip)[:width].rstrip() for strip in lines[:height])


def said(app: Any) -> str:
    """The words on the screen in one line, without frames: for sentences that may be broken anywhere."""
    return " ".join(_FRAMES.sub(" ", text(app)).split())


def toasts(app: Any) -> list[str]:
    """What the toasts of now say, wherever they lie on the screen."""
    return [str(note.message) for note in app._notifications]


def footer(app: Any) -> dict[str, str]:
    """The keys that the footer shows, with their words."""
    return {
        binding.key: binding.description
        for _, binding, enabled, _ in app.screen.active_bindings.values()
        if binding.show and enabled
    }


def picture(app: Any, path: Path) -> Path:
    """Write what is on the screen as SVG."""
    path.write_text(app.export_screenshot())
    return path


async def loop_gaps(seconds: float, during: Awaitable[Any] | None = None) -> list[float]:
    """How long the event loop lets a timer of 10 ms wait: the gaps, in seconds and in order, longest last.

    Args:
        seconds: How long to look at least.
        during: What goes on meanwhile; it is looked on until its end.

    """
    gaps: list[float] = []
    task = asyncio.ensure_future(during) if during else None
    end = last = time.perf_counter()
    end += seconds
    while last < end or (task and not task.done()):
        await asyncio.sleep(0.01)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now
    if task:
        await task
    return sorted(gaps)


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which a part (0 to 1) of sorted values lies."""
    return values[min(len(values) - 1, int(part * len(values)))]
