"""What ftk sees of a machine, up to the driver's boundary: stand-ins for pynvml, and for the library beneath it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftk import hardware
from ftk.hardware import Gpu, builds, cgroups, gib, processor, room
from ftk.hardware.visible import select
from tests.nvml.builder import A100 as STUB_A100
from tests.nvml.builder import T4 as STUB_T4
from tests.nvml.builder import StubDriver, cut, h100


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
    assert (card.index, card.slot, card.name) == (0, 1, A100[0])
    assert hardware.detect().remarks == ("Card 0 does not answer: GPU is lost.",)


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
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert "torch" not in sys.modules or found.accelerators == ()
    assert 0 < found.memory_available <= found.memory
    assert hardware.process_memory() > 10 << 20
    json.dumps(found.to_dict())


def test_sizes_are_told_as_people_read_them() -> None:
    assert (gib(23.44 * 2**30), gib(512 * 2**20), gib(0)) == ("23.4 GiB", "512 MiB", "0 MiB")


DETECT = "print(json.dumps([dataclasses.asdict(g) for g in hardware.detect().gpus] + list(hardware.detect().remarks)))"


@pytest.fixture
def stub(tmp_path: Path) -> StubDriver:
    return StubDriver(tmp_path)


def test_everything_that_the_driver_tells(stub: StubDriver) -> None:
    stub.tell(STUB_T4, "process|of=0|pid=self|used=300000000", "process|of=0|pid=1|used=600000000")
    (card,) = stub.ask(DETECT)
    assert card == {
        "index": 0,
        "name": "Tesla T4",
        "memory_total": 16_000_000_000,
        "memory_used": 1_000_000_000,
        "capability": [7, 5],
        "driver": "580.65.06",
        "uuid": "GPU-1111-aaaa",
        "slot": 0,
        "memory_others": 700_000_000,
        "utilisation": 40.0,
        "temperature": 50.0,
        "power": 30.5,
        "power_limit": 70.0,
        "cuda": [13, 0],
        "sliced": False,
        "unified": False,
        "vendor": "nvidia",
    }
    assert stub.ask("print(hardware.gpu_memory_used())") == 300_000_000
    assert stub.ask("print(hardware.gpu_memory_used(1))") == 600_000_000


def test_the_driver_is_let_go_and_torch_is_not_imported(stub: StubDriver) -> None:
    stub.tell(STUB_T4, STUB_A100)
    library = 'ctypes.CDLL("libnvidia-ml.so.1")'
    looked = "hardware.detect(); hardware.gpu_memory_used(); hardware.rooms(); hardware.torch_build()"
    assert stub.ask(f"{looked}; print(json.dumps([{library}.stub_open(), 'torch' in sys.modules]))") == [0, False]


def test_eight_cards_have_the_numbers_of_cuda(stub: StubDriver) -> None:
    stub.tell(*(h100(number) for number in range(8)))
    assert [(card["index"], card["slot"]) for card in stub.ask(DETECT)] == [(n, n) for n in range(8)]
    some = stub.ask(DETECT, CUDA_VISIBLE_DEVICES="6,GPU-not-looked-at")[:-1]
    assert [(card["index"], card["slot"]) for card in some] == [(0, 6)]
    some = stub.ask(DETECT, CUDA_VISIBLE_DEVICES="GPU-5,GPU-222")
    assert [(card["index"], card["slot"], card["uuid"]) for card in some] == [(0, 5, "GPU-555"), (1, 2, "GPU-222")]


def test_hidden_cards_are_hidden_and_it_is_said(stub: StubDriver) -> None:
    stub.tell(STUB_T4)
    assert stub.ask(DETECT, CUDA_VISIBLE_DEVICES="") == ["CUDA_VISIBLE_DEVICES is '': all cards are hidden."]
    (remark,) = stub.ask(DETECT, CUDA_VISIBLE_DEVICES="3")
    assert remark == "CUDA_VISIBLE_DEVICES names '3', which is not here: it and all after it are hidden."
    assert stub.ask("print(json.dumps(hardware.gpu_memory_used()))", CUDA_VISIBLE_DEVICES="-1") is None


def test_cards_that_differ_may_have_other_numbers_in_cuda(stub: StubDriver) -> None:
    stub.tell(STUB_T4, STUB_A100)
    *cards, remark = stub.ask(DETECT)
    assert len(cards) == 2
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in remark
    assert len(stub.ask(DETECT, CUDA_DEVICE_ORDER="PCI_BUS_ID")) == 2


def test_a_slice_is_a_card_with_its_own_memory(stub: StubDriver) -> None:
    stub.tell(*cut(0, 3), "process|of=2|pid=self|used=2")
    card, remark = stub.ask(DETECT)
    assert (card["name"], card["memory_total"], card["memory_used"]) == (
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb", 10_000_000_000, 1,
    )  # fmt: skip
    assert (card["index"], card["slot"], card["sliced"], card["capability"]) == (0, 0, True, [8, 0])
    assert (card["utilisation"], card["power"], card["temperature"]) == (None, 60.0, 31.0)
    assert "MIG-..." in remark
    (card,) = stub.ask(DETECT, CUDA_VISIBLE_DEVICES="MIG-222")
    assert (card["uuid"], card["index"], card["memory_used"], card["memory_others"]) == ("MIG-222", 0, 2, 0)


def test_a_slice_hides_whole_cards_as_in_cuda(stub: StubDriver) -> None:
    stub.tell(STUB_A100.replace("2222-bbbb", "0000"), *cut(1, 1))
    card, remark = stub.ask(DETECT)
    assert card["uuid"] == "MIG-111"
    assert "no whole card beside it" in remark
    (card,) = stub.ask(DETECT, CUDA_VISIBLE_DEVICES="0")
    assert card["uuid"] == "GPU-0000"


def test_a_cut_card_without_instances_is_no_card(stub: StubDriver) -> None:
    stub.tell(*cut(0, 0))
    (remark,) = stub.ask(DETECT)
    assert "MIG mode, with no instance" in remark


@pytest.mark.parametrize("code", [9, 12, 18, 4, 999])
def test_a_driver_that_does_not_start_means_no_gpu(stub: StubDriver, code: int) -> None:
    stub.tell(STUB_T4, f"error|in=nvmlInitWithFlags|code={code}")
    assert stub.ask(DETECT) == []
    assert stub.ask("print(json.dumps(hardware.gpu_memory_used()))") is None


def test_what_a_card_does_not_support_is_none(stub: StubDriver) -> None:
    stub.tell("gpu|name=Old Card|uuid=GPU-3|total=4000000000|used=5|major=5|minor=0")
    (card,) = stub.ask(DETECT)
    unknown = {key for key, value in card.items() if value is None}
    assert unknown == {"utilisation", "temperature", "power", "power_limit"}
    stub.tell(
        STUB_T4, *(f"error|in=nvmlDeviceGet{what}|code=4" for what in ("UUID", "Name", "ComputeRunningProcesses_v3"))
    )
    (card,) = stub.ask(DETECT)
    assert (card["name"], card["uuid"], card["memory_others"]) == ("NVIDIA GPU", "", 1_000_000_000)


def test_a_card_without_memory_of_its_own_has_that_of_the_machine(stub: StubDriver) -> None:
    stub.tell("gpu|name=NVIDIA GB10|uuid=GPU-4|major=12|minor=1|heat=40")
    (card,) = stub.ask(DETECT)
    assert (card["unified"], card["memory_total"]) == (True, hardware.usable_memory())


def test_a_card_that_is_lost_in_the_middle_is_left_out(stub: StubDriver) -> None:
    for after in range(0, 60, 3):
        stub.tell(h100(1), h100(2), f"lost|gpu=0|after={after}")
        *cards, remark = stub.ask("found = hardware.detect(); print(json.dumps("
            "[[g.index, g.slot] for g in found.gpus] + [list(found.remarks)]))")  # fmt: skip
        assert cards in ([[0, 1]], [[0, 0], [1, 1]])
        assert (len(cards) == 2) == (remark == [])
        if len(cards) == 2:
            return
    pytest.fail("the card was always lost")


@pytest.mark.parametrize(
    ("wanted", "chosen", "said"),
    [
        ("0", ["GPU-a1"], ""),
        ("2,0", ["GPU-b1", "GPU-a1"], ""),
        (" 1 , 2 ", ["GPU-a2", "GPU-b1"], ""),
        ("1gpu,2ampere", ["GPU-a2", "GPU-b1"], ""),
        ("", [], ""),
        ("-1", [], ""),
        ("0,-1,1", ["GPU-a1"], "'-1'"),
        ("0,7,1", ["GPU-a1"], "'7'"),
        ("none", [], "'none'"),
        ("1,1", [], "twice"),
        ("GPU-a2", ["GPU-a2"], ""),
        ("gpu-a2", [], "'gpu-a2'"),
        ("GPU-a", [], "'GPU-a'"),
        ("GPU-b", ["GPU-b1"], ""),
        ("GPU-b,GPU-b1", [], "twice"),
        ("GPU-b1,0", ["GPU-b1"], "'0'"),
        ("MIG-x", ["MIG-x"], ""),
        ("MIG-y", [], "'MIG-y'"),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(wanted: str, chosen: list[str], said: str) -> None:
    found, remark = select(wanted, ["GPU-a1", "GPU-a2", "GPU-b1"], ["MIG-x"])
    assert found == chosen
    assert said in remark
    assert bool(remark) == bool(said)


@pytest.mark.parametrize(
    ("name", "vendor", "capability", "able"),
    [
        ("Tesla P100", "nvidia", (6, 0), (False, False, False)),
        ("Tesla V100", "nvidia", (7, 0), (False, True, False)),
        ("NVIDIA GeForce GTX 1660", "nvidia", (7, 5), (False, False, False)),
        ("Tesla T4", "nvidia", (7, 5), (False, True, False)),
        ("NVIDIA L4", "nvidia", (8, 9), (True, True, True)),
        ("AMD Instinct MI100", "amd", (9, 0), (False, True, False)),
        ("AMD Instinct MI300X", "amd", (9, 4), (True, True, True)),
        ("Radeon RX 6800", "amd", (10, 3), (False, False, False)),
        ("Radeon RX 7900 XTX", "amd", (11, 0), (True, True, True)),
        ("Apple M2", "apple", (0, 0), (False, False, False)),
    ],
)
def test_what_a_card_can_do(name: str, vendor: Any, capability: tuple[int, int], able: tuple[bool, ...]) -> None:
    gpu = Gpu(0, name, 16, 4, capability, "1", vendor=vendor)
    assert (gpu.bfloat16, gpu.tensor_cores, gpu.flash_attention) == able
    assert gpu.memory_free == 12


class FakeAmd:
    """The calls of amdsmi that ftk makes; answers are those of an MI300X, where None stands for an error."""

    AmdSmiMemoryType = SimpleNamespace(VRAM="vram")
    AmdSmiTemperatureType = SimpleNamespace(HOTSPOT="hotspot", EDGE="edge")
    AmdSmiTemperatureMetric = SimpleNamespace(CURRENT="current")

    def __init__(self, cards: int = 1, **answers: Any) -> None:
        self.open = 0
        self._answers = {
            "amdsmi_get_processor_handles": list(range(cards)),
            "amdsmi_get_gpu_memory_total": 200 << 30,
            "amdsmi_get_gpu_memory_usage": 3 << 30,
            "amdsmi_get_gpu_asic_info": {"market_name": "AMD Instinct MI300X", "target_graphics_version": "gfx942"},
            "amdsmi_get_gpu_driver_info": {"driver_version": "6.10.5"},
            "amdsmi_get_power_info": {
                "current_socket_power": 140, "average_socket_power": "N/A", "power_limit": 750,
            },
            "amdsmi_get_gpu_activity": {"gfx_activity": "N/A"},
            "amdsmi_get_gpu_process_list": [
                {"pid": 1, "memory_usage": {"vram_mem": 5}},
                {"pid": os.getpid(), "memory_usage": {"vram_mem": 1 << 30}},
            ],
            **answers,
        }  # fmt: skip

    def amdsmi_init(self) -> None:
        self.open += 1

    def amdsmi_shut_down(self) -> None:
        self.open -= 1

    def amdsmi_get_gpu_device_uuid(self, handle: int) -> str:
        return f"GPU-amd{handle}"

    def amdsmi_get_temp_metric(self, handle: int, place: str, metric: str) -> int:
        assert metric == "current"
        if place == "hotspot":
            raise RuntimeError("AMDSMI_STATUS_NOT_SUPPORTED")
        return 44

    def __getattr__(self, name: str) -> Any:
        answer = self.__dict__.get("_answers", {}).get(name)
        if answer is None:
            raise AttributeError(name)
        return lambda *arguments: answer


@pytest.fixture
def amd(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(**answers: Any) -> FakeAmd:
        fake = FakeAmd(**answers)
        monkeypatch.setitem(sys.modules, "pynvml", None)
        monkeypatch.setitem(sys.modules, "amdsmi", fake)  # type: ignore[arg-type]
        return fake

    return install


def test_cards_of_amd_are_cards_too(amd: Any) -> None:
    fake = amd()
    (card,) = hardware.detect().gpus
    assert (card.name, card.vendor, card.capability, card.driver) == ("AMD Instinct MI300X", "amd", (9, 4), "6.10.5")
    assert (card.memory_total, card.memory_used, card.memory_others) == (200 << 30, 3 << 30, 2 << 30)
    assert (card.temperature, card.power, card.power_limit, card.utilisation) == (44.0, 140.0, 750.0, None)
    assert hardware.gpu_memory_used() == 1 << 30
    assert fake.open == 0


def test_cards_of_amd_are_hidden_twice(amd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    amd(cards=4)
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "1,2,3")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "2,0")
    assert [(card.index, card.slot) for card in hardware.detect().gpus] == [(0, 3), (1, 1)]


def test_a_card_of_amd_that_tells_nothing_is_left_out(amd: Any) -> None:
    amd(amdsmi_get_gpu_memory_total=None)
    found = hardware.detect()
    assert found.gpus == ()
    assert found.remarks == ("AMD Instinct MI300X (card 0) does not tell its memory.",)
    amd(amdsmi_get_processor_handles=None)
    assert hardware.detect().gpus == ()


def _tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "limit", "left"),
    [
        ("", {}, None, None),
        ("0::/", {"memory.max": "max"}, None, None),
        (
            "0::/",
            {"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 1\ninactive_file 200\n"},
            1000,
            500,
        ),
        ("0::/a/b", {"a/memory.max": "500", "a/memory.current": "100", "a/b/memory.max": "800"}, 500, 400),
        ("0::/not/seen", {"memory.max": "1000", "memory.current": "2000"}, 1000, 0),
        ("0::/../x", {"x/memory.max": "7", "x/memory.current": "torn"}, 7, 7),
        ("4:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None, None),
        (
            "5:cpu,cpuacct:/j\n4:memory:/j\n0::/",
            {
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/j/memory.limit_in_bytes": "4000",
                "memory/j/memory.usage_in_bytes": "3000",
                "memory/j/memory.stat": "total_inactive_file 500\n",
            },
            4000,
            1500,
        ),
    ],
)
def test_a_containers_memory_is_counted(
    tmp_path: Path, groups: str, files: dict[str, str], limit: int | None, left: int | None
) -> None:
    _tree(tmp_path, **{"proc/self/cgroup": groups}, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert cgroups.memory_limit(tmp_path) == limit
    assert cgroups.memory_left(tmp_path) == left


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/a", {"a/cpu.max": "150000 100000", "cpu.max": "max 100000"}, 1.5),
        ("3:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 0.5),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "5", "cpu/cpu.cfs_period_us": "0"}, None),
    ],
)
def test_a_containers_share_of_time_is_counted(
    tmp_path: Path, groups: str, files: dict[str, str], limit: float | None
) -> None:
    _tree(tmp_path, **{"proc/self/cgroup": groups}, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert cgroups.cpu_limit(tmp_path) == limit


def test_limits_of_a_container_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "memory_limit", lambda: 1 << 30)
    monkeypatch.setattr(cgroups, "memory_left", lambda: 1 << 20)
    monkeypatch.setattr(cgroups, "cpu_limit", lambda: 0.4)
    found = hardware.detect()
    assert (found.memory, found.memory_available, found.cores) == (1 << 30, 1 << 20, 1)
    assert hardware.memory_in_use() == (1 << 30) - (1 << 20)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None",
            ("cpu", "2.13.0+cpu", None),
        ),
        ("__version__ = '2.12.0'\ncuda: Optional[str] = '13.0'\nhip = None", ("cuda", "2.12.0", (13, 0))),
        ("__version__ = '2.12.0+rocm'\ncuda = None\nhip = '6.4.43482-0f2d60242'", ("rocm", "2.12.0+rocm", (6, 4))),
        ("__version__ = '2.12.0+xpu'\nxpu = '20250100'", ("xpu", "2.12.0+xpu", None)),
        ("this is (no Python", ("cpu", "", None)),
    ],
)
def test_what_torch_was_built_for_is_read_from_its_files(tmp_path: Path, text: str, expected: tuple[Any, ...]) -> None:
    path = tmp_path / "version.py"
    path.write_text(text)
    build = builds.read_build(path)
    assert (build.kind, build.version, build.toolkit) == expected


def test_the_torch_that_is_installed_is_told_without_importing_it() -> None:
    import torch

    build = hardware.torch_build()
    assert build.version == torch.__version__
    assert (build.kind == "cuda") == (torch.version.cuda is not None)


def test_room_is_told_of_folders_that_do_not_exist_yet(tmp_path: Path) -> None:
    found = room.room("runs", tmp_path / "not" / "yet")
    assert found.obstacle == ""
    assert found.free is not None
    assert 0 < found.free <= (found.total or 0)
    (tmp_path / "file").write_text("")
    assert "is a file" in room.room("runs", tmp_path / "file" / "runs").obstacle


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_an_obstacle(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "nothing may be written" in room.room("runs", tmp_path / "x").obstacle


def test_every_place_that_ftk_fills_is_told(home: Path) -> None:
    found = {one.what: one.path for one in hardware.rooms()}
    assert found["cache"] == home / "ftk_cache"
    assert found["runs"] == home / "ftk_runs"
    assert len(found) == 4


def test_serial_numbers_are_not_published(stub: StubDriver) -> None:
    stub.tell(STUB_T4)
    assert "aaaa" not in json.dumps(stub.ask("print(json.dumps(hardware.detect().to_dict()))"))


def test_the_processor_has_a_name_and_cores() -> None:
    assert processor.name()
    assert processor.physical_cores() is None or processor.physical_cores() >= 1  # type: ignore[operator]
    assert processor.load() is None or processor.load() >= 0  # type: ignore[operator]
