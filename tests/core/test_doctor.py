"""Each check of the doctor on machines that are well and that are not, and that none of them can hold the others."""

from __future__ import annotations

import http.server
import importlib.metadata
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from ftk import doctor, hardware
from ftk.doctor import Check, Finding, examine, graphics, hub, login, machine, software, terminal, trials
from ftk.hardware import Gpu, NoDriver, Room, TorchBuild, processor
from tests.nvml.builder import T4, StubDriver
from tests.pseudo_terminal import until

GIB = 2**30


def levels(findings: Any) -> list[str]:
    return [finding.level for finding in findings]


# --- the examination


def test_findings_come_one_after_another_and_a_crash_is_one_of_them() -> None:
    begun: list[str] = []

    def well() -> Iterator[Finding]:
        yield Finding("well", "ok", "fine")

    def broken() -> Iterator[Finding]:
        yield Finding("broken", "ok", "so far")
        raise ZeroDivisionError("a fault\nof the check")

    checks = [Check("broken", broken), Check("slow", well, heavy=True), Check("well", well)]
    found = examine(checks, begun=lambda check: begun.append(check.name))
    assert next(found) == Finding("broken", "ok", "so far")
    assert begun == ["broken"]
    crashed, *rest = found
    assert (crashed.check, crashed.level) == ("broken", "failure")
    assert "ZeroDivisionError: a fault of the check" in crashed.text
    assert levels(rest) == ["ok", "ok"]
    assert levels(examine(checks, quick=True)) == ["ok", "failure", "ok"]


def test_a_check_that_hangs_is_left_behind() -> None:
    release = threading.Event()

    def hang() -> Iterator[Finding]:
        yield Finding("hang", "ok", "begun")
        release.wait()

    found = list(examine([Check("hang", hang, seconds=0.05), Check("next", lambda: [Finding("next", "ok", "")])]))
    release.set()
    assert [(finding.check, finding.level) for finding in found] == [
        ("hang", "ok"),
        ("hang", "failure"),
        ("next", "ok"),
    ]
    assert "no answer within 0.05 s" in found[1].text


def test_quick_checks_come_first_and_every_part_is_there() -> None:
    heavy = [check.heavy for check in doctor.CHECKS]
    assert heavy == sorted(heavy)
    assert {check.name for check in doctor.CHECKS} == {
        "python", "packages", "processor", "memory", "disk", "gpu", "cuda", "terminal", "login",
        "hub", "torch", "bitsandbytes", "compile",
    }  # fmt: skip


def test_a_finding_is_a_line_of_json_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary0123456789012345678901234567")
    line = Finding("hub", "failure", f"refused {os.environ['HF_TOKEN']}", details={"path": Path("/x")}).to_json()
    assert "canary" not in line
    assert json.loads(line)["details"] == {"path": "/x"}


# --- Python and packages


def _installed(monkeypatch: pytest.MonkeyPatch, requires: list[str], versions: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        if versions[name] == "damaged":
            raise KeyError("Version")
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requires)
    monkeypatch.setattr(importlib.metadata, "version", version)


def test_this_environment_is_as_ftk_asks() -> None:
    (found,) = software.packages()
    assert found.level == "ok", found.text
    assert found.details["versions"]["torch"] == importlib.metadata.version("torch")
    assert "ruff" not in found.details["versions"]
    assert levels(software.python()) in (["ok"], ["warning"])


@pytest.mark.parametrize(
    ("version", "level", "said"),
    [
        ("2.13.0+cpu", "ok", "all 1"),
        ("2.11.0a0+git1234", "ok", "all 1"),
        ("2.9.1", "failure", "torch is 2.9.1; ftk asks for >=2.10"),
        (None, "failure", "torch is missing"),
        ("damaged", "failure", "torch is damaged"),
        ("not a version", "failure", "torch is not a version"),
    ],
)
def test_each_packages_version_is_compared(
    monkeypatch: pytest.MonkeyPatch, version: str | None, level: str, said: str
) -> None:
    _installed(monkeypatch, ["torch>=2.10", 'ruff>=9; extra == "dev"'], {"torch": version} if version else {})
    (found,) = software.packages()
    assert found.level == level
    assert said in found.text
    assert (level == "ok") == (found.mend == "")
    if version == "2.9.1":
        assert "'torch>=2.10'" in found.mend


def test_an_extra_may_be_missing_but_not_of_the_wrong_version(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["torch>=2", 'liger-kernel>=0.8; extra == "liger"', 'nothing; python_version < "3"']
    _installed(monkeypatch, asked, {"torch": "2.1"})
    assert levels(software.packages()) == ["ok"]
    _installed(monkeypatch, asked, {"torch": "2.1", "liger-kernel": "0.5"})
    (found,) = software.packages()
    assert "liger-kernel is 0.5" in found.text


def test_a_folder_that_was_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    monkeypatch.setattr(importlib.metadata, "metadata", missing)
    (found,) = software.packages()
    assert (found.level, "pip install -e ." in found.mend) == ("warning", True)
    assert levels(software.python()) == ["ok"]


@pytest.mark.parametrize(
    ("version", "level"), [("3.10.4", "failure"), ("3.11.0", "ok"), ("3.13.1", "ok"), ("3.99.0rc1", "warning")]
)
def test_pythons_version_is_compared(monkeypatch: pytest.MonkeyPatch, version: str, level: str) -> None:
    monkeypatch.setattr("platform.python_version", lambda: version)
    major, minor = (int(part) for part in version.split(".")[:2])
    monkeypatch.setattr(sys, "version_info", (major, minor, 0))
    found = list(software.python())
    monkeypatch.undo()
    assert levels(found) == [level]


# --- memory, processor, disk


@pytest.mark.parametrize(("left", "level"), [(8, "ok"), (3, "warning"), (0.5, "failure")])
def test_memory_is_compared_with_what_the_smallest_preset_takes(
    monkeypatch: pytest.MonkeyPatch, left: float, level: str
) -> None:
    monkeypatch.setattr(hardware, "available_memory", lambda: int(left * GIB))
    monkeypatch.setattr(hardware, "usable_memory", lambda: 1 << 30)
    (found,) = machine.memory()
    assert found.level == level
    assert "limit of this container" in found.text


def test_a_machine_on_which_others_compute_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for load, level in ((0.1, "ok"), (1000.0, "warning"), (None, "ok")):
        monkeypatch.setattr(processor, "load", lambda value=load: value)
        assert levels(machine.processor()) == [level]


def test_every_place_without_room_is_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def rooms(*free: float) -> None:
        names = ("cache", "Hub models", "runs", "temporary files")
        made = [Room(name, tmp_path, int(size * GIB), 99 * GIB) for name, size in zip(names, free, strict=True)]
        monkeypatch.setattr(hardware, "rooms", lambda: tuple(made))

    rooms(50, 50, 50, 2)
    (found,) = machine.disk()
    assert found.text == "50.0 GiB free for cache, Hub models, runs; 2.0 GiB free for temporary files"
    rooms(3, 50, 0.1, 2)
    cache, runs = machine.disk()
    assert (cache.level, runs.level) == ("warning", "failure")
    assert "FTK_CACHE" in cache.mend
    assert "FTK_RUNS" in runs.mend
    monkeypatch.setattr(hardware, "rooms", lambda: (Room("runs", tmp_path, 9 * GIB, 9 * GIB, "it is a file"),))
    (found,) = machine.disk()
    assert (found.level, "it is a file" in found.text) == ("failure", True)


def test_the_real_places_have_names_that_the_check_knows() -> None:
    assert levels(machine.disk())


# --- cards


def gpu(**changed: Any) -> Gpu:
    values: dict[str, Any] = {"index": 0, "name": "NVIDIA L4", "memory_total": 24 * GIB, "memory_used": GIB // 2}
    values |= {"capability": (8, 9), "driver": "570.1", "cuda": (12, 8), "temperature": 40.0, "power": 30.0}
    return Gpu(**values | changed)


def test_a_card_is_told_in_a_line() -> None:
    found = graphics.of_card(gpu(memory_others=GIB // 2))
    assert found.level == "ok"
    for part in ("cuda:0 NVIDIA L4", "23.5 GiB of 24.0 GiB free", "8.9", "bfloat16", "flash", "40 °C", "CUDA 12.8"):
        assert part in found.text
    assert "mps Apple" in graphics.of_card(gpu(vendor="apple", name="Apple M3")).text
    json.loads(found.to_json())


def test_a_driver_that_hangs_is_waited_for_once(tmp_path: Path) -> None:
    stub = StubDriver(tmp_path)
    stub.tell(T4, "hang|in=nvmlDeviceGetCount_v2")
    code = """
from ftk.doctor import Check, examine, graphics, trials
checks = [Check("gpu", graphics.cards, seconds=1), Check("cuda", graphics.cuda, seconds=1000)]
if hardware.torch_build().kind == "cuda":
    checks.append(Check("torch", trials.torch, seconds=1000))
print(json.dumps([[finding.level, finding.text] for finding in examine(checks)]))"""
    first, *rest = stub.ask(code)
    assert first == ["failure", "no answer within 1 s"]
    assert {tuple(finding) for finding in rest} == {
        ("failure", "not known, because the driver of the cards does not answer")
    }


def test_a_hot_card_and_one_that_others_use_are_told() -> None:
    assert graphics.of_card(gpu(temperature=90.0)).level == "warning"
    used = graphics.of_card(gpu(memory_used=20 * GIB, memory_others=20 * GIB))
    assert (used.level, "others hold 20.0 GiB" in used.text) == ("warning", True)


@pytest.mark.parametrize(
    ("code", "on_bus", "level", "said"),
    [
        (12, False, "ok", "training runs on the CPU"),
        (12, None, "ok", "training runs on the CPU"),
        (12, True, "warning", "a card of NVIDIA is in this machine"),
        (9, True, "failure", "modprobe"),
        (9, False, "warning", "modprobe"),
        (18, True, "failure", "Restart"),
        (4, None, "failure", "/dev/nvidia"),
        (999, False, "failure", "nvidia-smi"),
        (None, False, "failure", "nvidia-ml-py"),
    ],
)
def test_why_there_is_no_card(code: int | None, on_bus: bool | None, level: str, said: str) -> None:
    found = graphics.of_driver(NoDriver("the driver's own words", code), on_bus)
    assert found.level == level
    assert said in found.text + found.mend


def test_a_driver_without_a_card_is_well_unless_there_is_one() -> None:
    assert graphics.of_driver(None, False).level == "ok"
    assert graphics.of_driver(None, True).level == "warning"


def test_the_bus_tells_of_cards(tmp_path: Path) -> None:
    assert graphics.pci_cards(tmp_path) is None
    for name, vendor, kind in (("0", "0x8086", "0x030000"), ("1", "0x10de", "0x040300")):
        device = tmp_path / "sys/bus/pci/devices" / name
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    assert graphics.pci_cards(tmp_path) is False
    (device / "class").write_text("0x030200\n")
    assert graphics.pci_cards(tmp_path) is True


@pytest.mark.parametrize(
    ("build", "card", "level", "said"),
    [
        (TorchBuild("missing"), None, "failure", "missing"),
        (TorchBuild("cpu", "2.13.0+cpu"), None, "ok", "no card needs another"),
        (TorchBuild("cuda", "2.13.0", (13, 0)), None, "ok", "CUDA 13.0"),
        (TorchBuild("cpu", "2.13.0+cpu"), gpu(), "failure", "cannot use the NVIDIA L4"),
        (TorchBuild("rocm", "2.13.0", (6, 4)), gpu(), "failure", "cannot use the NVIDIA L4"),
        (TorchBuild("cuda", "2.13.0", (12, 8)), gpu(), "ok", "up to 12.8"),
        (TorchBuild("cuda", "2.13.0", (12, 6)), gpu(), "ok", "up to 12.8"),
        (TorchBuild("cuda", "2.13.0", (12, 9)), gpu(), "warning", "a little newer"),
        (TorchBuild("cuda", "2.13.0", (13, 0)), gpu(), "failure", "Update the driver to one for CUDA 13"),
        (TorchBuild("cuda", "2.13.0", (13, 0)), gpu(cuda=None), "ok", "CUDA 13.0"),
        (TorchBuild("rocm", "2.13.0", (6, 4)), gpu(vendor="amd", cuda=None), "ok", "ROCm 6.4"),
        (TorchBuild("cuda", "2.13.0", (13, 0)), gpu(vendor="amd", cuda=None), "failure", "cannot use"),
    ],
)
def test_torchs_cuda_is_compared_with_the_driver(build: TorchBuild, card: Gpu | None, level: str, said: str) -> None:
    found = graphics.of_build(build, (card,) if card else ())
    assert found.level == level
    assert said in f"{found.text} {found.mend}"
    assert (level == "ok") == (found.mend == "")


# --- the terminal


@pytest.mark.parametrize(
    ("environ", "size", "said"),
    [
        ({"TERM": "xterm-256color"}, (80, 24), ""),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/x"}, (200, 50), ""),
        ({"TERM": "dumb"}, (80, 24), "plain lines"),
        ({}, (80, 24), "TERM is not set"),
        ({"TERM": "xterm", "TMUX": "/tmp/x"}, (80, 24), "inside tmux"),
        ({"TERM": "xterm"}, (79, 24), "79x24 is small"),
        ({"TERM": "xterm"}, (80, 23), "80x23 is small"),
        ({"TERM": "xterm"}, (0, 0), "does not tell its size"),
    ],
)
def test_what_is_wrong_with_a_terminal(environ: dict[str, str], size: tuple[int, int], said: str) -> None:
    found = list(terminal.of_kind(environ, size))
    assert len(found) == bool(said)
    assert all(said in finding.text and finding.mend and finding.level == "warning" for finding in found)


def test_an_encoding_that_lacks_most_characters_is_told() -> None:
    assert list(terminal.of_encoding("UTF-8")) == []
    assert levels(terminal.of_encoding("ISO-8859-1")) == ["warning"]
    first, second = terminal.of_encoding("ANSI_X3.4-1968", "xx_YY.UTF-8")
    assert "xx_YY.UTF-8" in first.text
    assert "export LANG=C.UTF-8" in second.mend


@pytest.mark.parametrize(
    ("environ", "colours"),
    [
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "true colour"),
        ({"TERM": "xterm-256color"}, "256 colours"),
        ({"TERM": "linux"}, "16 colours"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, "no colours"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "no colours (NO_COLOR)"),
    ],
)
def test_colours_are_told(environ: dict[str, str], colours: str) -> None:
    assert terminal.colours(environ) == colours


# --- the login


def computer(root: Path, group: str, **files: str) -> Path:
    """A machine with systemd-logind, on which this process is in a control group."""
    for folder in ("run/systemd/system", "run/systemd/sessions", "proc/self"):
        (root / folder).mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
SERVICE = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n"
KILL, KEEP = "[Login]\nKillUserProcesses=yes\n", "[Login]\nKillUserProcesses=no\n"


def silent(command: Any) -> str:
    return ""


def test_without_logind_nothing_is_killed(tmp_path: Path) -> None:
    found = login.at_logout(tmp_path, "me", silent)
    assert (found.level, "no systemd-logind" in found.text) == ("ok", True)


@pytest.mark.parametrize(
    ("files", "level"),
    [
        ({"etc/systemd/logind.conf": KEEP}, "ok"),
        ({"etc/systemd/logind.conf": KILL}, "warning"),
        ({"etc/systemd/logind.conf": "[Login]\n#KillUserProcesses=no\n"}, "ok"),
        ({"etc/systemd/logind.conf": "[Login]\n# KillUserProcesses = yes\n"}, "warning"),
        ({}, "warning"),
        ({"usr/lib/systemd/logind.conf": KEEP}, "ok"),
        ({"usr/lib/systemd/logind.conf": KILL, "etc/systemd/logind.conf": KEEP}, "ok"),
        ({"etc/systemd/logind.conf": KILL, "etc/systemd/logind.conf.d/10.conf": KEEP}, "ok"),
        ({"etc/systemd/logind.conf.d/10.conf": KEEP, "usr/lib/systemd/logind.conf.d/20.conf": KILL}, "warning"),
        ({"etc/systemd/logind.conf.d/20.conf": KEEP, "usr/lib/systemd/logind.conf.d/20.conf": KILL}, "ok"),
        ({"etc/systemd/logind.conf": KEEP + KILL}, "warning"),
        ({"etc/systemd/logind.conf": "#KillUserProcesses=no\nKillUserProcesses=yes\nKillUserProcesses=\n"}, "ok"),
        ({"etc/systemd/logind.conf": KILL + "KillExcludeUsers=you me\n"}, "ok"),
        ({"etc/systemd/logind.conf": KILL + "KillOnlyUsers=you\n"}, "ok"),
        ({"etc/systemd/logind.conf": KILL + "KillOnlyUsers=me\n"}, "warning"),
    ],
)
def test_loginds_files_say_whether_a_logout_kills(tmp_path: Path, files: dict[str, str], level: str) -> None:
    found = login.at_logout(computer(tmp_path, SESSION, **files), "me", silent)
    assert found.level == level
    if level == "warning":
        assert "tmux" in found.text
        assert "loginctl enable-linger" in found.mend
        assert "systemd-run --user --scope ftk" in found.mend
    assert login.at_logout(tmp_path, "root", silent).level == ("warning" if "KillExclude" in str(files) else "ok")


def test_the_running_logind_counts_more_than_its_files(tmp_path: Path) -> None:
    computer(tmp_path, SESSION, **{"etc/systemd/logind.conf": KEEP})
    found = login.at_logout(tmp_path, "me", lambda command: "b true\n" if command[0] == "busctl" else "")
    assert found.level == "warning"


def test_with_linger_only_the_way_to_start_is_told(tmp_path: Path) -> None:
    computer(tmp_path, SESSION, **{"etc/systemd/logind.conf": KILL})
    found = login.at_logout(tmp_path, "me", lambda command: "Linger=yes\n" if command[0] == "loginctl" else "")
    assert found.level == "warning"
    assert "enable-linger" not in found.mend
    assert "systemd-run --user --scope" in found.mend


@pytest.mark.parametrize(
    ("told", "file", "level"), [("Linger=no\n", False, "warning"), ("Linger=yes\n", False, "ok"), ("", True, "ok")]
)
def test_services_of_the_user_need_linger(tmp_path: Path, told: str, file: bool, level: str) -> None:
    computer(tmp_path, SERVICE, **({"var/lib/systemd/linger/me": ""} if file else {}))
    found = login.at_logout(tmp_path, "me", lambda command: told)
    assert found.level == level
    assert ("enable-linger" in found.mend) == (level == "warning")


def test_a_service_of_the_system_is_ended_by_no_logout(tmp_path: Path) -> None:
    computer(tmp_path, "1:name=systemd:/system.slice/x.service\n4:memory:/y\n", **{"etc/systemd/logind.conf": KILL})
    assert login.at_logout(tmp_path, "me", silent).level == "ok"


def test_a_command_that_is_missing_or_fails_says_nothing() -> None:
    assert login.ask(["no-such-command-of-ftk"]) == ""
    assert login.ask(["sh", "-c", "echo half; exit 1"]) == ""
    assert login.ask(["sh", "-c", "echo whole"]) == "whole\n"


# --- the Hub


class RefusedError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.response = SimpleNamespace(status_code=status)


@pytest.mark.parametrize(
    ("answer", "token", "level", "said"),
    [
        (object(), False, "ok", "no token is set"),
        ({"name": "me", "auth": {"accessToken": {"role": "read"}}}, True, "ok", "takes the token (read)"),
        ({"name": "me"}, True, "ok", "takes the token"),
        (RefusedError(401), True, "failure", "does not take the token"),
        (RefusedError(429), True, "warning", "could not be checked (HTTP 429)"),
        (RefusedError(404), False, "warning", "HTTP 404"),
        (TimeoutError("no answer within 4.5 s"), True, "warning", "cannot be reached: no answer"),
        (OSError("Name or service not known"), False, "warning", "HF_ENDPOINT"),
    ],
)
def test_what_the_hubs_answer_means(
    monkeypatch: pytest.MonkeyPatch, answer: Any, token: bool, level: str, said: str
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", "hf_canary")
    found = hub.of_answer(answer, "https://huggingface.co", token=token)
    assert found.level == level
    assert said in f"{found.text} {found.mend}"
    assert (level == "ok") == (found.mend == "")


def test_a_hub_that_cannot_be_reached_is_a_warning() -> None:
    (found,) = hub.hub()
    assert found.level == "warning"
    assert found.details["reachable"] in (False, None)


@pytest.mark.parametrize(("status", "level"), [(200, "ok"), (401, "failure"), (503, "warning")])
def test_the_token_goes_to_the_hub_and_nowhere_else(status: int, level: str) -> None:
    shown: list[str | None] = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers.get("Authorization"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b'{"name": "me", "auth": {"accessToken": {"role": "write"}}}')

        def log_message(self, *arguments: object) -> None:
            pass

    canary = "hf_canary0123456789012345678901234567"
    with http.server.HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_TOKEN": canary}
        code = "from ftk.doctor import hub\nfor finding in hub.hub(): print(finding.to_json())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        server.shutdown()
    assert f"Bearer {canary}" in shown  # the client asks other things too, without it
    assert json.loads(done.stdout)["level"] == level, done.stdout + done.stderr
    assert "canary" not in done.stdout + done.stderr


def test_offline_mode_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (found,) = hub.hub()
    assert (found.level, "HF_HUB_OFFLINE" in found.text) == ("warning", True)


# --- trials


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a module before the real one, in the processes of trials."""

    def install(name: str, code: str) -> None:
        (tmp_path / "fake").mkdir(exist_ok=True)
        (tmp_path / "fake" / f"{name}.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))

    return install


def test_torch_computes_here() -> None:
    (found,) = trials.torch()
    assert found.level == "ok", found.text
    assert found.details["version"] == importlib.metadata.version("torch")


def test_bitsandbytes_quantises_and_unpacks_here() -> None:
    (found,) = trials.bitsandbytes()
    assert found.level == "ok", found.text
    assert 0 < found.details["deviation"] < 0.15


@pytest.mark.slow
@pytest.mark.skipif(bool(hardware.compile_obstacle("cpu")), reason=hardware.compile_obstacle("cpu") or "-")
def test_torch_compiles_here() -> None:
    (found,) = trials.compiling()
    assert found.level == "ok", found.text


def test_without_a_compiler_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/no/compiler")
    monkeypatch.setenv("CC", "/no/compiler")
    monkeypatch.setattr(trials, "device", lambda: "cpu")
    (found,) = trials.compiling()
    assert (found.level, "no C++ compiler" in found.text, "g++" in found.mend) == ("warning", True, True)


def test_a_trial_that_crashes_is_a_line(fake: Any) -> None:
    fake("torch", "import os, sys\nprint('dying', file=sys.stderr)\nos.abort()")
    (found,) = trials.torch()
    assert (found.level, "ended by SIGABRT" in found.text) == ("failure", True)
    assert "dying" in found.details["log"]
    fake("torch", "import os; os._exit(3)")
    assert "exit code 3" in next(iter(trials.torch())).text


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        ("RuntimeError('no kernel image is available')", "of that age"),
        ("RuntimeError('CUDA out of memory')", "nvidia-smi"),
        ("ImportError('libtorch.so: undefined symbol: x')", "environment of its own"),
        ("RuntimeError('what nobody thought of')", "pytorch.org"),
    ],
)
def test_torchs_own_words_and_their_mend(fake: Any, error: str, mend: str) -> None:
    fake("torch", f"raise {error}")
    (found,) = trials.torch()
    assert error.split("'")[1] in found.text
    assert mend in found.mend
    assert "Traceback" in found.details["log"]


def test_bitsandbytes_that_computes_nonsense_is_a_failure(fake: Any) -> None:
    code = "import torch\nclass functional:\n def quantize_4bit(w, **k): return w[:32], 0\n def dequantize_4bit(p, s): "
    fake("bitsandbytes", f"{code}return torch.zeros(64, 64)\n__version__ = '0'")
    (found,) = trials.bitsandbytes()
    assert (found.level, "100% off" in found.text, "--quantization none" in found.mend) == ("failure", True, True)


def test_a_trial_that_hangs_is_ended_with_all_that_it_started(fake: Any, tmp_path: Path) -> None:
    child = tmp_path / "pid"
    fake(
        "torch",
        f"import os, subprocess, time\np = subprocess.Popen(['sleep', '1000'])\n"
        f"open({str(child)!r}, 'w').write(str(p.pid))\ntime.sleep(1000)",
    )
    told = trials.attempt("torch", "cpu", seconds=5)
    assert told["error"] == "no end after 5 s"
    pid = int(child.read_text())
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_files_of_the_folder_do_not_get_in_the_way_of_a_trial(home: Path) -> None:
    (home / "torch.py").write_text("raise SystemExit('this is not torch')")
    assert "error" not in trials.attempt("torch", "cpu")


def test_nothing_is_left_of_a_trial(fake: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    fake("torch", "raise ValueError")
    trials.attempt("torch", "cpu")
    assert list((tmp_path / "tmp").iterdir()) == []
