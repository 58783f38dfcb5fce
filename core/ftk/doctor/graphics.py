"""The cards, their driver, and whether the installed torch was built for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import hardware
from ..errors import FtkError
from ..hardware import Gpu, Hardware, NoDriver, TorchBuild, gib
from ..hardware.nvidia import MISMATCH, NO_LIBRARY, NO_PERMISSION, NOT_LOADED, Nvidia
from .finding import Finding

_HOT = 85
"""Degrees Celsius from which data-centre and desktop cards begin to slow down."""
_NVIDIA = "0x10de"
_CHOOSE_TORCH = "Install a torch that fits: https://pytorch.org/get-started/locally/ makes the command."
_IN_CONTAINER = "in a container, start it with its cards (docker run --gpus all)"
_MENDS = {
    MISMATCH: "Restart the machine: the driver was updated while it ran (in a container: start the container anew).",
    NOT_LOADED: f"sudo modprobe nvidia; if that fails, install the driver for the running kernel; {_IN_CONTAINER}.",
    NO_PERMISSION: "Look at the rights of /dev/nvidia*: the user may have to be in the group video or render.",
    NO_LIBRARY: f"Install NVIDIA's driver (`nvidia-smi` must work); {_IN_CONTAINER}.",
}


_asked = threading.Event()


def look() -> Hardware:
    """What this machine has, its cards among it.

    Raises:
        FtkError: an earlier question to the driver has not been answered yet, and another would wait as long.

    """
    if _asked.is_set():
        raise FtkError(
            "not known, because the driver of the cards does not answer", hint="Restart the machine; see `dmesg`."
        )
    _asked.set()
    try:
        return hardware.detect()
    finally:
        _asked.clear()


def cards() -> Iterator[Finding]:
    """Every card that this process may use, in a line; without any, why."""
    found = look()
    for gpu in (*found.gpus, *found.accelerators):
        yield of_card(gpu)
    for remark in found.remarks:
        yield Finding("gpu", "warning", remark, "`nvidia-smi` shows all cards." if found.gpus else "", {})
    if not (found.gpus or found.accelerators or found.remarks):
        yield of_driver(_trouble(), pci_cards())


def _trouble() -> NoDriver | None:
    try:
        Nvidia().close()
    except NoDriver as error:
        return error
    return None


def pci_cards(root: Path = Path("/")) -> bool | None:
    """Whether a graphics card of NVIDIA is on the machine's bus; None where that cannot be seen."""
    devices = list((root / "sys/bus/pci/devices").glob("*"))
    try:
        return any(
            (device / "vendor").read_text().strip() == _NVIDIA and (device / "class").read_text().startswith("0x03")
            for device in devices
        ) if devices else None  # fmt: skip
    except OSError:
        return None


def of_driver(trouble: NoDriver | None, on_bus: bool | None) -> Finding:
    """Why there is no card.

    Args:
        trouble: What the driver says; None if it works.
        on_bus: Whether a card of NVIDIA is there all the same.

    """
    details = {"driver": trouble is None, "card": on_bus, "code": trouble.code if trouble else None}
    if trouble is None:
        text = "NVIDIA's driver works and has no card"
        return Finding("gpu", "warning" if on_bus else "ok", text, _MENDS[NOT_LOADED] if on_bus else "", details)
    if trouble.code == NO_LIBRARY and not on_bus:
        return Finding("gpu", "ok", "no GPU was found: training runs on the CPU", details=details)
    mend = _MENDS.get(trouble.code or 0, "`nvidia-smi` should work and say more.")
    if trouble.code is None:
        mend = "python -m pip install nvidia-ml-py"
    if trouble.code in (NO_LIBRARY, NOT_LOADED):
        there = "a card of NVIDIA is in this machine, but its driver cannot be used here"
        text = f"{there if on_bus else 'the driver of NVIDIA cannot be used'} ({trouble.reason})"
        return Finding("gpu", "failure" if on_bus and trouble.code == NOT_LOADED else "warning", text, mend, details)
    return Finding("gpu", "failure", f"NVIDIA's driver does not work: {trouble.reason}", mend, details)


def of_card(gpu: Gpu) -> Finding:
    """What a card is, and what stands in its way."""
    abilities = [
        name
        for name, has in (
            ("bfloat16", gpu.bfloat16),
            ("tensor cores", gpu.tensor_cores),
            ("flash attention", gpu.flash_attention),
        )
        if has
    ]
    parts = [f"{gpu.name}, {gib(gpu.memory_free)} of {gib(gpu.memory_total)} free"]
    if gpu.vendor in ("nvidia", "amd"):
        parts.append(f"capability {gpu.capability[0]}.{gpu.capability[1]}")
    parts += [", ".join(abilities) or "neither bfloat16 nor tensor cores"]
    parts += [f"{gpu.temperature:g} °C"] if gpu.temperature is not None else []
    parts += [f"{gpu.power:.0f} W"] if gpu.power is not None else []
    cuda = f" (CUDA {gpu.cuda[0]}.{gpu.cuda[1]})" if gpu.cuda else ""
    parts += [f"driver {gpu.driver}{cuda}"] if gpu.driver else []
    device = {"apple": "mps", "intel": f"xpu:{gpu.index}"}.get(gpu.vendor, f"cuda:{gpu.index}")
    text = f"{device} {'; '.join(parts)}"
    details: dict[str, Any] = {
        "device": device,
        "slot": gpu.slot,
        "memory_total": gpu.memory_total,
        "memory_used": gpu.memory_used,
    }
    details |= {"utilisation": gpu.utilisation, "temperature": gpu.temperature, "power": gpu.power}
    details |= {"name": gpu.name, "driver": gpu.driver, "cuda": gpu.cuda, "capability": gpu.capability}
    if gpu.temperature is not None and gpu.temperature >= _HOT:
        mend = "Look at its fans and at the air around it: a hot card slows down."
        return Finding("gpu", "warning", f"{text}; hot", mend, details)
    if gpu.memory_others is not None and gpu.memory_others > max(2**30, gpu.memory_total // 10):
        mend = "`nvidia-smi` shows whose they are; ftk counts only on what is free."
        return Finding("gpu", "warning", f"{text}; others hold {gib(gpu.memory_others)}", mend, details)
    return Finding("gpu", "ok", text, details=details)


def cuda() -> Iterator[Finding]:
    """What torch was built for, against the driver; without importing torch."""
    yield of_build(hardware.torch_build(), look().gpus)


def of_build(build: TorchBuild, gpus: tuple[Gpu, ...]) -> Finding:
    """Whether a torch fits the cards and their driver."""
    kinds = {"cpu": "the CPU alone", "cuda": "CUDA", "rocm": "ROCm", "xpu": "Intel's cards"}
    toolkit = f" {build.toolkit[0]}.{build.toolkit[1]}" if build.toolkit else ""
    text = f"torch {build.version} is built for {kinds.get(build.kind, 'nothing')}{toolkit}"
    details = {"torch": build.version, "kind": build.kind, "toolkit": build.toolkit}
    if build.kind == "missing":
        return Finding("cuda", "failure", "torch is missing", _CHOOSE_TORCH, details)
    if not gpus:
        return Finding("cuda", "ok", f"{text}; no card needs another", details=details)
    gpu = gpus[0]
    details["driver"] = gpu.cuda
    if build.kind != {"nvidia": "cuda", "amd": "rocm"}.get(gpu.vendor):
        return Finding("cuda", "failure", f"{text}: it cannot use the {gpu.name}", _CHOOSE_TORCH, details)
    if gpu.cuda is None or build.toolkit is None or gpu.vendor != "nvidia":
        return Finding("cuda", "ok", text, details=details)
    runs = f"the driver {gpu.driver} runs CUDA up to {gpu.cuda[0]}.{gpu.cuda[1]}"
    if build.toolkit[0] > gpu.cuda[0]:
        mend = f"Update the driver to one for CUDA {build.toolkit[0]}, or: {_CHOOSE_TORCH}"
        return Finding("cuda", "failure", f"{text}, which is too new: {runs}", mend, details)
    if build.toolkit > gpu.cuda:
        mend = f"It should work; if kernels fail, update the driver to one for CUDA{toolkit}."
        return Finding("cuda", "warning", f"{text}, a little newer than {runs}", mend, details)
    return Finding("cuda", "ok", f"{text}; {runs}", details=details)
