"""AMD's cards through amdsmi, the Python package of ROCm, where it is installed."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import Any

from .gpu import Gpu, NoDriver, Reading
from .visible import listed, select

_ARCHITECTURE = re.compile(r"gfx(?P<major>\d+)(?P<minor>[0-9a-f])[0-9a-f]$")


@dataclass(frozen=True)
class _Card:
    slot: int
    handle: Any
    uuid: str


class Amd:
    """An open connection to AMD's driver (a `Backend`).

    Raises:
        NoDriver: amdsmi is not installed, or finds no driver.

    """

    def __init__(self) -> None:
        self.remarks: list[str] = []
        try:
            import amdsmi

            self._smi: Any = amdsmi
            amdsmi.amdsmi_init()
        except Exception as error:  # noqa: BLE001 - the package loads ROCm's library at import, which fails in many ways
            raise NoDriver(" ".join(str(error).split()) or type(error).__name__) from None

    def close(self) -> None:
        """Let go of the driver."""
        with contextlib.suppress(Exception):
            self._smi.amdsmi_shut_down()

    def cards(self) -> list[_Card]:
        """The cards that ROCm's torch will use in this process, in its order: it calls them cuda:0, cuda:1, ..."""
        found = [
            _Card(slot, handle, self._ask("amdsmi_get_gpu_device_uuid", handle) or f"#{slot}")
            for slot, handle in enumerate(self._ask("amdsmi_get_processor_handles") or [])
        ]
        for names in (["ROCR_VISIBLE_DEVICES"], ["HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"]):
            if variable := listed(names):
                chosen, remark = select(variable[1], [card.uuid for card in found])
                if remark:
                    self.remarks.append(f"{variable[0]} {remark}.")
                found = [card for name in chosen for card in found if card.uuid == name]
        return found

    def describe(self, card: _Card, index: int) -> Gpu | None:
        """All about a card; None where it does not even tell its memory."""
        now = self.read(card, os.getpid())
        about = self._ask("amdsmi_get_gpu_asic_info", card.handle) or {}
        name = str(about.get("market_name") or "AMD GPU")
        if now.memory_total is None or now.memory_used is None:
            self.remarks.append(f"{name} (card {card.slot}) does not tell its memory.")
            return None
        target = _ARCHITECTURE.match(str(about.get("target_graphics_version", "")))
        return Gpu(
            index=index,
            name=name,
            memory_total=now.memory_total,
            memory_used=now.memory_used,
            capability=(int(target["major"]), int(target["minor"], 16)) if target else (0, 0),
            driver=str((self._ask("amdsmi_get_gpu_driver_info", card.handle) or {}).get("driver_version", "")),
            uuid="" if card.uuid.startswith("#") else card.uuid,
            slot=card.slot,
            memory_others=max(0, now.memory_used - (now.memory_mine or 0)),
            utilisation=now.utilisation,
            temperature=now.temperature,
            power=now.power,
            power_limit=_number((self._ask("amdsmi_get_power_info", card.handle) or {}).get("power_limit")),
            vendor="amd",
        )

    def read(self, card: _Card, pid: int) -> Reading:
        """What a card tells now."""
        vram = self._constant("AmdSmiMemoryType", "VRAM")
        total = self._ask("amdsmi_get_gpu_memory_total", card.handle, vram)
        used = self._ask("amdsmi_get_gpu_memory_usage", card.handle, vram)
        power = self._ask("amdsmi_get_power_info", card.handle) or {}
        return Reading(
            memory_total=total,
            memory_used=used,
            memory_mine=self._memory_of(card, pid),
            utilisation=_number((self._ask("amdsmi_get_gpu_activity", card.handle) or {}).get("gfx_activity")),
            temperature=self._temperature(card),
            power=_number(power.get("current_socket_power")) or _number(power.get("average_socket_power")),
            lost=total is None and used is None and not power,
        )

    def _temperature(self, card: _Card) -> float | None:
        """Of the hottest place, which is what slows a card down; server cards have no sensor at the edge."""
        now = self._constant("AmdSmiTemperatureMetric", "CURRENT")
        for place in ("HOTSPOT", "EDGE"):
            value = self._ask(
                "amdsmi_get_temp_metric", card.handle, self._constant("AmdSmiTemperatureType", place), now
            )
            if value is not None:
                return float(value)
        return None

    def _memory_of(self, card: _Card, pid: int) -> int | None:
        for process in self._ask("amdsmi_get_gpu_process_list", card.handle) or []:
            if isinstance(process, dict) and process.get("pid") == pid:
                return int(process.get("memory_usage", {}).get("vram_mem") or 0)
        return None

    def _constant(self, kind: str, name: str) -> Any:
        return getattr(getattr(self._smi, kind, None), name, None)

    def _ask(self, function: str, *arguments: Any) -> Any:
        """The driver's answer, or None."""
        try:
            return getattr(self._smi, function)(*arguments)
        except Exception:  # noqa: BLE001 - what a version lacks or a card does not support
            return None


def _number(value: Any) -> float | None:
    """A number, or None for ``N/A`` and for the zeros that stand for it in power figures."""
    return float(value) if isinstance(value, int | float) else None
