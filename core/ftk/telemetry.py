"""What the machine does while a run goes on, once a second: memory, load, temperature, power."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import psutil

from . import hardware
from .events import Listener, Telemetry
from .hardware import Reading, Watch

_SHARE = 0.01
"""Of one core, the most that sampling may take: where a driver answers slowly, samples come less often."""
_FAREWELL = 2.0
"""Seconds that `stop` waits for a sample under way; a driver that hangs would otherwise hold the end of a run."""

_log = logging.getLogger(__name__)


class Sampler:
    """Tells listeners what the machine does, from a thread of its own; live only: nothing of it goes into the journal.

    It takes less than 1 % of a core: samples come every `interval` seconds, or less often where taking one costs more.
    Nothing that a driver does ends it: what is not told is None, and a card that falls off is marked `gpu_lost` and
    looked for again. A listener that raises is not asked again; the others are.

    Args:
        listeners: Called with every `Telemetry`, in the sampler's thread; they should only hand it on.
        device: Where training happens, as torch names it: ``cuda:1`` is watched besides the processor, ``cpu`` means
            no card.
        interval: Seconds from one sample to the next.

    """

    def __init__(self, listeners: Sequence[Listener] = (), *, device: str = "cuda", interval: float = 1.0) -> None:
        self._listeners = list(listeners)
        self._device, self._interval = device, interval
        self._ended, self._running = threading.Event(), threading.Event()
        self._running.set()
        self._thread: threading.Thread | None = None
        self._latest: Telemetry | None = None

    @property
    def latest(self) -> Telemetry | None:
        """The newest sample; None before the first one, some milliseconds after `start`."""
        return self._latest

    def start(self) -> Self:
        """Begin; a sampler runs once.

        Raises:
            RuntimeError: it was started before.

        """
        if self._thread is not None:
            raise RuntimeError("This sampler was started already.")
        self._thread = threading.Thread(target=self._work, name="ftk-telemetry", daemon=True)
        self._thread.start()
        return self

    def pause(self) -> None:
        """Hold after the sample under way; nothing wakes up until `proceed`."""
        self._running.clear()

    def proceed(self) -> None:
        """Go on after a pause, with a sample at once."""
        self._running.set()

    def stop(self) -> None:
        """End; no listener is called any more when this returns, unless a driver or a listener hangs for 2 s."""
        self._ended.set()
        self._running.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_FAREWELL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _work(self) -> None:
        watch, process = Watch(self._device), psutil.Process()
        process.cpu_percent()  # measures from here on; the first answer means nothing
        pause = min(0.1, self._interval)
        while not self._ended.wait(pause):
            self._running.wait()
            if self._ended.is_set():
                break
            began = time.thread_time()
            try:
                self._latest = taken = sample(watch, process)
            except (OSError, psutil.Error, ValueError) as error:  # /proc went away, or says what it never said
                _log.debug("A sample could not be taken: %s", error)
            else:
                self._tell(taken)
            pause = pause_after(time.thread_time() - began, self._interval)
        watch.close()

    def _tell(self, taken: Telemetry) -> None:
        for listener in list(self._listeners):
            if self._ended.is_set():
                return
            try:
                listener(taken)
            except Exception as error:  # noqa: BLE001 - `Leaving`, or a fault of the listener: the others go on
                self._listeners.remove(listener)
                _log.info("A listener left: %s", error)


def pause_after(spent: float, interval: float) -> float:
    """Seconds until the next sample: the interval, or as long as makes the last one 1 % of a core.

    Args:
        spent: Seconds of computing that the last sample took.
        interval: Seconds between samples, if they are cheap.

    """
    return max(interval, spent / _SHARE)


def sample(watch: Watch, process: psutil.Process) -> Telemetry:
    """What the machine, this process and a card do now.

    Args:
        watch: The card.
        process: This process; its share of the processor is that since the last call.

    """
    with process.oneshot():
        memory, cpu = process.memory_info().rss, process.cpu_percent()
    card, total = watch.read() or Reading(), hardware.usable_memory()
    return Telemetry(
        memory_bytes=memory,
        memory_used=max(0, total - hardware.available_memory()),
        memory_total=total,
        cpu_percent=cpu,
        gpu=watch.name,
        gpu_memory_bytes=_held(card.memory_mine, watch.device),
        gpu_memory_used=card.memory_used,
        gpu_memory_total=card.memory_total,
        gpu_percent=card.utilisation,
        gpu_power=card.power,
        gpu_temperature=card.temperature,
        gpu_lost=card.lost,
    )


def _held(listed: int | None, device: str) -> int | None:
    """What this process holds on the card: by the driver's list, else by torch's allocator, if that is in use.

    In a container the driver knows this process by another number. Torch's figure lacks the CUDA context (some hundred
    MiB). Torch is never imported for it.
    """
    if listed is not None or not device.startswith("cuda"):
        return listed
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    try:
        return int(cuda.memory_reserved(device)) if cuda is not None and cuda.is_initialized() else None
    except Exception:  # noqa: BLE001 - a device that torch does not know, or a card that was lost
        return None
