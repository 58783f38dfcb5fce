"""NVIDIA's cards as their driver describes them. The only module that talks to NVML (through `pynvml`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .gpu import Gpu, NoDriver, Reading
from .main_memory import memory_in_use, usable_memory
from .visible import listed, select

NOT_SUPPORTED, NOT_LOADED, NOT_FOUND, NO_LIBRARY, MISMATCH, NO_PERMISSION = 3, 9, 6, 12, 18, 4
"""NVML's error codes that mean something to a person (nvml.h)."""

_LOST = frozenset({1, NOT_LOADED, 15, 16, 28})
"""Error codes after which a card, or the whole driver, answers no more: uninitialised, unloaded, lost, to be reset."""


@dataclass(frozen=True)
class _Card:
    """A card or a slice of one; `whole` is the handle of the card that it is a slice of, which has the sensors."""

    slot: int
    handle: Any
    whole: Any
    uuid: str
    name: str
    sliced: bool = False


class Nvidia:
    """An open connection to NVIDIA's driver (a `Backend`).

    Raises:
        NoDriver: there is no driver, or it does not work.

    """

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self.trouble, self._code, self._lost = "", 0, False
        self._memory_trouble, self._memory_code = "", 0
        try:
            import pynvml

            self._nvml: Any = pynvml
            pynvml.nvmlInit()
        except ImportError as error:
            raise NoDriver(f"the package nvidia-ml-py is missing ({error})") from None
        except Exception as error:  # noqa: BLE001 - a missing, old or broken driver all mean: no GPU to be seen
            raise NoDriver(_said(error), getattr(error, "value", None)) from None
        self.driver = _text(self._ask("nvmlSystemGetDriverVersion"))
        number = self._ask("nvmlSystemGetCudaDriverVersion_v2") or self._ask("nvmlSystemGetCudaDriverVersion")
        self.cuda = (number // 1000, number % 1000 // 10) if number else None

    def close(self) -> None:
        """Let go of the driver."""
        with contextlib.suppress(Exception):
            self._nvml.nvmlShutdown()

    def cards(self) -> list[_Card]:
        """The cards that CUDA will use in this process, in its order.

        Of slices it uses a single one, and no whole card besides.
        """
        everything = self._all()
        wholes = [card for card in everything if not card.sliced]
        names = [card.uuid for card in wholes]
        if variable := listed(["CUDA_VISIBLE_DEVICES"]):
            names, remark = select(variable[1], names, [card.uuid for card in everything if card.sliced])
            if wholes and not names and not remark:
                remark = f"is {variable[1]!r}: all cards are hidden"
            self.remarks += [f"{variable[0]} {remark}."] if remark else []
        else:
            self._of_order(wholes)
        found = [card for name in names for card in self._usable(name, everything)]
        if slices := [card for card in found if card.sliced]:
            if len(found) > 1:
                self.remarks.append(
                    f"CUDA uses one slice of a card at a time, and no whole card beside it: here {slices[0].name}, "
                    f"of {len(found)} that are visible. CUDA_VISIBLE_DEVICES=MIG-... chooses another."
                )
            return slices[:1]
        return found

    def _usable(self, uuid: str, everything: Sequence[_Card]) -> list[_Card]:
        """A card that answers, or its slices where it is cut into some."""
        card = next(card for card in everything if card.uuid == uuid)
        if card.sliced:
            return [card]
        if card.handle is None or not self._is_cut(card.handle):
            return [card] if card.handle is not None else []
        slices = [part for part in everything if part.sliced and part.slot == card.slot]
        if not slices:
            self.remarks.append(f"{card.name} (card {card.slot}) is in MIG mode, with no instance to compute on.")
        return slices

    def _all(self) -> list[_Card]:
        found: list[_Card] = []
        count = self._ask("nvmlDeviceGetCount")
        if count is None:
            self.remarks.append(f"NVIDIA's driver does not say how many cards there are: {self.trouble}.")
        for slot in range(count or 0):
            handle = self._ask("nvmlDeviceGetHandleByIndex", slot)
            if handle is None:
                self.remarks.append(f"Card {slot} does not answer: {self.trouble}.")
                found.append(_Card(slot, None, None, f"#{slot}", f"card {slot}"))
                continue
            uuid, name = _text(self._ask("nvmlDeviceGetUUID", handle)), _text(self._ask("nvmlDeviceGetName", handle))
            found.append(_Card(slot, handle, handle, uuid or f"#{slot}", name or "NVIDIA GPU"))
            found += self._slices(found[-1])
        return found

    def _slices(self, card: _Card) -> list[_Card]:
        if not self._is_cut(card.handle):
            return []
        found = []
        for number in range(self._ask("nvmlDeviceGetMaxMigDeviceCount", card.handle) or 0):
            handle = self._ask("nvmlDeviceGetMigDeviceHandleByIndex", card.handle, number)
            if handle is not None:
                uuid = _text(self._ask("nvmlDeviceGetUUID", handle)) or f"#{card.slot}.{number}"
                name = _text(self._ask("nvmlDeviceGetName", handle))
                name = name if "MIG" in name else f"{card.name} MIG {number}"
                found.append(_Card(card.slot, handle, card.handle, uuid, name, sliced=True))
        return found

    def _is_cut(self, handle: Any) -> bool:
        mode = self._ask("nvmlDeviceGetMigMode", handle)
        return bool(mode and mode[0] == 1)

    def _of_order(self, cards: Sequence[_Card]) -> None:
        if (
            len({card.name for card in cards if card.handle is not None}) > 1
            and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
        ):
            self.remarks.append(
                "The cards differ, and CUDA numbers the fastest one first; "
                "export CUDA_DEVICE_ORDER=PCI_BUS_ID makes its numbers those of nvidia-smi."
            )

    def describe(self, card: _Card, index: int) -> Gpu | None:
        """All about a card; None where it does not even tell its memory."""
        now = self.read(card, os.getpid())
        unified = now.memory_total is None and self._memory_code == NOT_SUPPORTED
        total, used = (usable_memory(), memory_in_use()) if unified else (now.memory_total, now.memory_used)
        if total is None or used is None:
            self.remarks.append(f"{card.name} (card {card.slot}) does not tell its memory: {self._memory_trouble}.")
            return None
        capability = self._ask("nvmlDeviceGetCudaComputeCapability", card.whole) or (0, 0)
        limit = self._ask("nvmlDeviceGetEnforcedPowerLimit", card.whole)
        return Gpu(
            index=index,
            name=card.name,
            memory_total=total,
            memory_used=used,
            capability=(int(capability[0]), int(capability[1])),
            driver=self.driver,
            uuid="" if card.uuid.startswith("#") else card.uuid,
            slot=card.slot,
            memory_others=None if unified else max(0, used - (now.memory_mine or 0)),
            utilisation=now.utilisation,
            temperature=now.temperature,
            power=now.power,
            power_limit=limit / 1000 if limit else None,
            cuda=self.cuda,
            sliced=card.sliced,
            unified=unified,
        )

    def read(self, card: _Card, pid: int) -> Reading:
        """What a card tells now; the memory that process `pid` holds is None where the driver does not list it."""
        self._lost = False
        memory = self._ask("nvmlDeviceGetMemoryInfo", card.handle)
        if memory is None:
            self._memory_trouble, self._memory_code = self.trouble, self._code
        if self._lost:
            return Reading(lost=True)  # the other questions would only wait for a card that is gone
        busy = None if card.sliced else self._ask("nvmlDeviceGetUtilizationRates", card.handle)
        power = self._ask("nvmlDeviceGetPowerUsage", card.whole)
        heat = self._ask("nvmlDeviceGetTemperature", card.whole, 0)  # 0: of the chip
        return Reading(
            memory_total=int(memory.total) if memory else None,
            memory_used=int(memory.used) if memory else None,
            memory_mine=self.memory_of(card, pid),
            utilisation=float(busy.gpu) if busy else None,
            temperature=float(heat) if heat is not None else None,
            power=power / 1000 if power is not None else None,
            lost=self._lost,
        )

    def memory_of(self, card: _Card, pid: int) -> int | None:
        """Bytes that a process holds on a card; None where the driver does not list it, or not how much."""
        for process in self._ask("nvmlDeviceGetComputeRunningProcesses", card.handle) or []:
            if process.pid == pid:
                return None if process.usedGpuMemory is None else int(process.usedGpuMemory)
        return None

    def _ask(self, function: str, *arguments: Any) -> Any:
        """The driver's answer, or None; then `trouble` says why."""
        try:
            return getattr(self._nvml, function)(*arguments)
        except Exception as error:  # noqa: BLE001 - NVMLError, a function that this pynvml lacks, text that is no UTF-8
            self.trouble, self._code = _said(error), getattr(error, "value", 0) or 0
            self._lost = self._lost or self._code in _LOST
            return None


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
