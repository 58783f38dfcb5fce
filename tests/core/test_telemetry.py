"""The sampler: what it tells, and that nothing that a driver or a listener does ends it."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from ftk import telemetry
from ftk.events import Event, Leaving, Telemetry, Warned, from_json
from ftk.telemetry import Sampler
from tests.nvml.builder import A100, T4, StubDriver, cut

PATIENCE = 60  # seconds after which a sample is taken to be missing


@pytest.fixture
def heard() -> queue.Queue[Event]:
    return queue.Queue()


@pytest.fixture
def sampler(heard: queue.Queue[Event]) -> Iterator[Sampler]:
    with Sampler([heard.put], device="cpu", interval=0.01) as running:
        yield running


def test_without_a_card_the_processor_and_the_memory_are_told(sampler: Sampler, heard: queue.Queue[Event]) -> None:
    sample = heard.get(timeout=PATIENCE)
    assert isinstance(sample, Telemetry)
    assert 10 << 20 < sample.memory_bytes < sample.memory_total
    assert 0 < sample.memory_used <= sample.memory_total <= psutil.virtual_memory().total
    assert sample.cpu_percent is not None
    assert (sample.gpu, sample.gpu_memory_used, sample.gpu_lost) == ("", None, False)
    assert from_json(sample.to_json()) == sample
    assert sampler.latest is not None


def test_it_ends_when_told_and_tells_nothing_after(heard: queue.Queue[Event]) -> None:
    sampler = Sampler([heard.put], device="cpu", interval=0.001).start()
    heard.get(timeout=PATIENCE)
    sampler.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "ftk-telemetry"]
    while not heard.empty():
        heard.get()
    sampler.stop()
    assert heard.empty()
    with pytest.raises(RuntimeError, match="started already"):
        sampler.start()


def test_a_pause_holds_it_and_it_goes_on_or_ends_from_there(heard: queue.Queue[Event]) -> None:
    sampler = Sampler([heard.put], device="cpu", interval=0.001)
    sampler.pause()
    sampler.start()
    with pytest.raises(queue.Empty):
        heard.get(timeout=0.5)
    sampler.proceed()
    heard.get(timeout=PATIENCE)
    sampler.pause()
    sampler.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "ftk-telemetry"]


def test_a_listener_that_fails_or_leaves_does_not_keep_the_others_from_hearing(heard: queue.Queue[Event]) -> None:
    calls: list[str] = []

    def broken(event: Event) -> None:
        calls.append("broken")
        raise ZeroDivisionError

    def leaving(event: Event) -> None:
        calls.append("leaving")
        raise Leaving(Warned(code="terminal", message="gone"))

    with Sampler([broken, leaving, heard.put], device="cpu", interval=0.001):
        for _ in range(3):
            heard.get(timeout=PATIENCE)
    assert calls == ["broken", "leaving"]


def test_a_listener_may_end_it(heard: queue.Queue[Event]) -> None:
    sampler = Sampler([lambda event: sampler.stop(), heard.put], device="cpu", interval=0.001)
    with sampler:
        while any(thread.name == "ftk-telemetry" for thread in threading.enumerate()):
            pass
    assert heard.empty()


@pytest.mark.parametrize(("spent", "interval", "pause"), [(0.0, 1.0, 1.0), (0.005, 1.0, 1.0), (0.05, 1.0, 5.0)])
def test_costly_samples_come_less_often(spent: float, interval: float, pause: float) -> None:
    assert telemetry.pause_after(spent, interval) == pytest.approx(pause)


def test_in_a_container_torch_says_what_this_process_holds(
    monkeypatch: pytest.MonkeyPatch, heard: queue.Queue[Event]
) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: True, memory_reserved=lambda device: 12345)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))  # type: ignore[arg-type]
    with Sampler([heard.put], device="cuda:0", interval=0.001):
        assert _telemetry(heard).gpu_memory_bytes == 12345
    cuda.memory_reserved = lambda device: 1 // 0
    with Sampler([heard.put], device="cuda:0", interval=0.001):
        while _telemetry(heard).gpu_memory_bytes is not None:
            pass


def _telemetry(heard: queue.Queue[Event]) -> Telemetry:
    sample = heard.get(timeout=PATIENCE)
    assert isinstance(sample, Telemetry)
    return sample


SAMPLE = """
import queue
from ftk.telemetry import Sampler
heard = queue.Queue()
def after(count):
    for _ in range(count):
        sample = heard.get(timeout=60)
    return sample
"""


@pytest.fixture
def stub(tmp_path: Path) -> StubDriver:
    return StubDriver(tmp_path)


def sampled(stub: StubDriver, code: str, device: str = "cuda", **variables: str) -> Any:
    begun = f"sampler = Sampler([heard.put], device={device!r}, interval=0.001).start()\n"
    return stub.ask(SAMPLE + begun + code, **variables)


SHOW = "print(json.dumps([{k: v for k, v in dataclasses.asdict(s).items() if k.startswith('gpu')} for s in found]))"


def test_a_card_is_told(stub: StubDriver) -> None:
    stub.tell(T4, A100, "process|of=1|pid=self|used=700", "process|of=1|pid=1|used=9")
    (sample,) = sampled(stub, f"found = [after(1)]; {SHOW}", "cuda:1")
    assert sample == {
        "gpu": "NVIDIA A100-SXM4-80GB",
        "gpu_memory_bytes": 700,
        "gpu_memory_used": 2_000_000_000,
        "gpu_memory_total": 80_000_000_000,
        "gpu_percent": 0.0,
        "gpu_power": 60.0,
        "gpu_temperature": 31.0,
        "gpu_lost": False,
    }


def test_a_slice_is_told_with_the_sensors_of_its_card(stub: StubDriver) -> None:
    stub.tell(*cut(0, 2))
    (sample,) = sampled(stub, f"found = [after(1)]; {SHOW}", CUDA_VISIBLE_DEVICES="MIG-222")
    assert (sample["gpu_memory_total"], sample["gpu_memory_used"]) == (10_000_000_000, 2)
    assert (sample["gpu_percent"], sample["gpu_power"]) == (None, 60.0)


def test_no_card_of_that_number_is_no_card(stub: StubDriver) -> None:
    stub.tell(T4)
    (sample,) = sampled(stub, f"found = [after(2)]; {SHOW}", "cuda:3")
    assert (sample["gpu"], sample["gpu_lost"]) == ("", False)


@pytest.mark.parametrize(
    ("fault", "lost"),
    [
        ("error|in=nvmlDeviceGetUtilizationRates|code=3", False),
        ("error|in=nvmlDeviceGetPowerUsage|code=4", False),
        ("error|in=nvmlDeviceGetTemperature|code=999", False),
        ("error|in=nvmlDeviceGetMemoryInfo|code=999", False),
        ("error|in=nvmlDeviceGetComputeRunningProcesses_v3|code=2", False),
        ("error|in=nvmlDeviceGetPowerUsage|code=15", True),
        ("error|in=nvmlDeviceGetMemoryInfo|code=1", True),
        ("lost|gpu=0|after=0", True),
    ],
)
def test_errors_in_the_middle_do_not_end_it(stub: StubDriver, fault: str, lost: bool) -> None:
    stub.tell(T4)
    worse = stub.file.with_name("worse.txt")
    worse.write_text(stub.file.read_text() + fault + "\n")
    before, during, after = sampled(
        stub,
        f"""
found = [after(1)]
import shutil
well = open({str(stub.file)!r}).read()
shutil.copy({str(worse)!r}, {str(stub.file)!r})
found.append(after(3))
open({str(stub.file)!r}, "w").write(well)
while (sample := after(1)).gpu_power is None or sample.gpu_memory_used is None or sample.gpu_percent is None: pass
found.append(after(1))
sampler.stop()
{SHOW}""",
    )
    assert (before["gpu_lost"], during["gpu_lost"], after["gpu_lost"]) == (False, lost, False)
    assert before == after
    assert during != before or "Processes" in fault
    assert during["gpu"] == "Tesla T4"


def test_a_driver_that_hangs_holds_nobody(stub: StubDriver) -> None:
    stub.tell(T4)
    hanging = f"{stub.file.read_text()}hang|in=nvmlDeviceGetPowerUsage\n"
    told = sampled(stub, f"after(1); open({str(stub.file)!r}, 'w').write({hanging!r}); sampler.stop(); print(1)")
    assert told == 1


def test_the_driver_is_let_go_at_the_end(stub: StubDriver) -> None:
    stub.tell(T4)
    opened = 'ctypes.CDLL("libnvidia-ml.so.1").stub_open()'
    told = sampled(stub, f"after(1); during = {opened}; sampler.stop(); print(json.dumps([during, {opened}]))")
    assert told == [1, 0]


def test_sampling_imports_no_torch(stub: StubDriver) -> None:
    stub.tell(T4)
    assert sampled(stub, "after(2); print(json.dumps('torch' in sys.modules))") is False


def test_a_sample_is_one_line_of_json() -> None:
    sample = Telemetry(memory_bytes=1, memory_used=2, memory_total=3)
    assert json.loads(sample.to_json())["event"] == "telemetry"
