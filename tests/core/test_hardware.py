"""What ftk sees of a machine, up to the driver's boundary: a stand-in for pynvml that can fail anywhere."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from ftk import hardware
from ftk.hardware import gib


class FakeNvml:
    """The calls of pynvml that ftk makes, for some cards; `broken` names those that raise."""

    class NVMLError(Exception):
        pass

    def __init__(self, cards: list[tuple[str, int, int, tuple[int, int]]], broken: tuple[str, ...] = ()) -> None:
        self.cards = cards
        self.broken = broken
        self.open = 0
        self.processes: dict[int, list[tuple[int, int | None]]] = {}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)
        if name in self.broken:
            return self._raise
        return getattr(self, "_" + name)

    def _raise(self, *args: object) -> None:
        raise self.NVMLError("Unknown Error")

    def _nvmlInit(self) -> None:
        self.open += 1

    def _nvmlShutdown(self) -> None:
        self.open -= 1

    def _nvmlSystemGetDriverVersion(self) -> bytes:
        return b"580.65.06"  # older versions of pynvml give bytes

    def _nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def _nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if self.cards[index][0] == "fallen off":
            raise self.NVMLError("GPU is lost")
        return index

    def _nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=self.cards[handle][1], used=self.cards[handle][2])

    def _nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return self.cards[handle][3]

    def _nvmlDeviceGetName(self, handle: int) -> str:
        return self.cards[handle][0]

    def _nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes.get(handle, [])]


T4 = ("Tesla T4", 16 << 30, 1 << 30, (7, 5))
A100 = ("NVIDIA A100-SXM4-80GB", 80 << 30, 2 << 30, (8, 0))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(*cards: Any, broken: tuple[str, ...] = ()) -> FakeNvml:
        fake = FakeNvml(list(cards), broken)
        monkeypatch.setitem(sys.modules, "pynvml", fake)  # type: ignore[arg-type]
        return fake

    return install


def test_every_card_is_reported(driver: Any) -> None:
    fake = driver(T4, A100)
    first, second = hardware.detect().gpus
    assert (first.name, first.memory_total, first.memory_used, first.driver) == (
        "Tesla T4",
        16 << 30,
        1 << 30,
        "580.65.06",
    )
    assert (first.bfloat16, second.bfloat16, second.index) == (False, True, 1)
    assert hardware.detect().summary == "Tesla T4 (16.0 GiB), NVIDIA A100-SXM4-80GB (80.0 GiB)"
    assert fake.open == 0


def test_a_card_that_fell_off_does_not_hide_the_others(driver: Any) -> None:
    driver(("fallen off", 0, 0, (0, 0)), A100)
    (card,) = hardware.detect().gpus
    assert (card.index, card.name) == (1, A100[0])


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetMemoryInfo"])
def test_a_broken_driver_means_no_gpu(driver: Any, broken: str) -> None:
    fake = driver(T4, broken=(broken,))
    found = hardware.detect()
    assert found.gpus == ()
    assert "no GPU" in found.summary
    assert hardware.gpu_memory_used() is None
    assert fake.open == 0


def test_a_missing_package_means_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert hardware.detect().gpus == ()
    assert hardware.gpu_memory_used() is None


def test_the_memory_of_this_process_is_summed_over_the_cards(driver: Any) -> None:
    fake = driver(T4, A100)
    mine, other = os.getpid(), 1
    fake.processes = {0: [(mine, 100), (other, 5000)], 1: [(mine, 20)]}
    assert hardware.gpu_memory_used() == 120
    assert hardware.gpu_memory_used(other) == 5000


def test_in_a_container_that_hides_process_numbers_the_card_is_told(driver: Any) -> None:
    fake = driver(T4)
    fake.processes = {0: [(999_999, 5000)]}
    assert hardware.gpu_memory_used() == T4[2]


def test_this_machine_is_described_without_torch_and_as_plain_values() -> None:
    found = hardware.detect()
    assert found.cores == len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else found.cores
    assert 0 < found.memory_available <= found.memory
    assert hardware.process_memory() > 10 << 20
    json.dumps(found.to_dict())


def test_sizes_are_told_as_people_read_them() -> None:
    assert (gib(23.44 * 2**30), gib(512 * 2**20), gib(0)) == ("23.4 GiB", "512 MiB", "0 MiB")
