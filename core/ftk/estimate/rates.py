"""How fast a device is: measured once and kept, from a data sheet, or guessed."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .. import files
from ..hardware import Hardware, torch_build
from ..memory import Card

Basis = Literal["measured", "measured roughly", "data sheet", "guess"]

_FORMAT = 1
"""Part of every key: raised when what is measured changes."""
_SECONDS = 0.8
"""How long each of the measurements goes on."""
_ALONE = 0.8
"""Part of the processor that a measurement must have got to be kept: otherwise others were computing."""
_REACHED = 0.75
"""Part of the rate on paper that a large matmul reaches: 0.7 to 0.8 on cards with a power limit that lets them."""
_REACHED_BY = {"t4": 0.45, "mi300x": 0.45}
"""The exceptions: a T4 has 70 W and slows its clock down; an MI300X's libraries are not there yet."""
_OPERATION_GPU = 5e-6
"""Seconds in which the processor beside a card gets one small operation going."""
_GUESS_MATMUL, _GUESS_BFLOAT16 = 5e10, 3.0
"""Operations a second of a core in float32, and how many times as many in bfloat16 where that is native."""
_GUESS_BANDWIDTH = 1e10
_rough: dict[str, dict[str, float]] = {}
"""What was measured in this process while others were computing: measured anew by the next."""


@dataclass(frozen=True)
class Rates:
    """What a device does in a second.

    `matmul` are floating-point operations of a large matrix product, `bandwidth` bytes that are read or written,
    `operation` the seconds of one small operation; `words` say for people where they come from.
    """

    matmul: float
    bandwidth: float
    operation: float
    basis: Basis
    words: str

    @property
    def spread(self) -> tuple[float, float]:
        """By which parts less and more time may pass than is worked out from these rates."""
        more = {"measured": 1.3, "measured roughly": 1.6, "data sheet": 1.6, "guess": 2.5}[self.basis]
        return 1 / more, more


def of_card(card: Card, precision: str) -> Rates:
    """The rates of a card that is not here, from its data sheet, less what is not reached of it."""
    reached = _REACHED_BY.get(card.id, _REACHED)
    rate = card.rate(precision) * reached
    words = f"{card.rate(precision) / 1e12:g} TFLOP/s on paper in {precision}, of which {reached:.0%} are reached"
    return Rates(rate, card.bandwidth * 1e9 * 0.8, _OPERATION_GPU, "data sheet", words)


def of_machine(hardware: Hardware, device: str, precision: str, *, measure: bool = True) -> Rates:
    """The rates of a device of this machine: those measured before, else measured now (about 3 seconds) and kept.

    Args:
        hardware: This machine.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...
        precision: ``float32``, ``bfloat16`` or ``float16``.
        measure: False: measure nothing and import no torch; what was never measured is a guess, or a card's data sheet.

    """
    key = _key(hardware, device, precision)
    found = _kept().get(key) or _rough.get(key)
    if found is None and measure:
        found = _measured(device, precision)
        if found.get("alone", 1.0) >= _ALONE:
            _keep(key, found)
        else:
            _rough[key] = found
    if found is not None:
        alone = found.get("alone", 1.0)
        words = f"{found['matmul'] / 1e12:.2g} TFLOP/s measured here in {precision}"
        words += "" if alone >= _ALONE else f", while others had {1 - alone:.0%} of the processor"
        basis: Basis = "measured" if alone >= _ALONE else "measured roughly"
        return Rates(found["matmul"], found["bandwidth"], found["operation"], basis, words)
    if device.startswith("cuda"):
        from ..memory.card import of_gpu

        return of_card(of_gpu(gpu_of(hardware, device)), precision)
    rate = hardware.cores * _GUESS_MATMUL * (_GUESS_BFLOAT16 if precision != "float32" and hardware.bfloat16 else 1.0)
    words = f"{rate / 1e12:.2g} TFLOP/s guessed for {hardware.cores} cores; `ftk estimate` measures them"
    return Rates(rate, _GUESS_BANDWIDTH, 1e-6, "guess", words)


def gpu_of(hardware: Hardware, device: str) -> Any:
    """The card that a device such as ``cuda:1`` names."""
    return hardware.gpus[int(device.partition(":")[2] or 0)]


def _key(hardware: Hardware, device: str, precision: str) -> str:
    """What the rates depend on: the device, the number format, the library, the threads that may compute."""
    name = hardware.cpu
    if device.startswith("cuda"):
        name = str(gpu_of(hardware, device).name)
    threads = os.environ.get("OMP_NUM_THREADS") or str(hardware.cores)
    return " | ".join([name, threads, precision, torch_build().version, str(_FORMAT)])


def _path() -> Path:
    return files.cache_dir() / "rates.json"


def _kept() -> dict[str, dict[str, float]]:
    """What was measured before; a damaged file is as good as none."""
    try:
        values = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    wanted = ("matmul", "bandwidth", "operation")
    return {
        key: entry
        for key, entry in (values.items() if isinstance(values, dict) else ())
        if isinstance(entry, dict) and all(isinstance(entry.get(name), float) and entry[name] > 0 for name in wanted)
    }


def _keep(key: str, found: dict[str, float]) -> None:
    with contextlib.suppress(OSError):  # a full disk: it is measured again the next time
        files.write_atomic(_path(), json.dumps(_kept() | {key: found}, indent=1, sort_keys=True))


def _measured(device: str, precision: str) -> dict[str, float]:
    """Measure a device now: a matrix product, a copy, and small operations.

    Of each the fastest ones count: what else the machine does at the moment is not what the device can do.
    """
    import torch

    dtype, wait = getattr(torch, precision), _waiting(device)
    copied = 1 << (25 if device == "cpu" else 28)
    source = torch.zeros(copied // dtype.itemsize, dtype=dtype, device=device)
    target, small = torch.empty_like(source), torch.ones(4, device=device)

    def many() -> None:
        for _ in range(200):
            small.add(small)

    begin, spent = time.perf_counter(), time.process_time()
    found = {
        "matmul": matmul_rate(device, precision),
        "bandwidth": 2 * source.nbytes / _fastest(lambda: target.copy_(source), wait),
    }
    if device == "cpu":
        passed = torch.get_num_threads() * (time.perf_counter() - begin)
        found["alone"] = min(1.0, (time.process_time() - spent) / passed)
    found["operation"] = _fastest(many, wait) / 200  # one thread's work
    return found


def _waiting(device: str) -> Any:
    """What waits until a device has done all that it was told to do."""
    import torch

    return torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)


def _fastest(call: Any, wait: Any, seconds: float = _SECONDS) -> float:
    """Seconds of a call when nothing disturbs it."""
    call()
    wait()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < seconds:
        before = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - before)
    return sorted(times)[len(times) // 20]


def matmul_rate(device: str = "cpu", precision: str = "float32", seconds: float = _SECONDS) -> float:
    """Floating-point operations a second of a matrix product of the size that models have, measured now."""
    import torch

    size = 1024 if device == "cpu" else 4096
    left = torch.randn(size, size, device=device).to(getattr(torch, precision))
    return 2 * size**3 / _fastest(lambda: left @ left, _waiting(device), seconds)
