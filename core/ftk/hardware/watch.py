"""One card, looked at again and again, whatever becomes of it or of its driver."""

from __future__ import annotations

import os
from typing import Any

from .amd import Amd
from .gpu import Backend, NoDriver, Reading
from .nvidia import Nvidia

_PATIENCE = 60
"""Readings that are answered with "lost" between two attempts to find a lost card again, at most."""


def connect() -> list[Backend]:
    """The drivers that work here; each is to be closed by the caller."""
    found: list[Backend] = []
    for kind in (Nvidia, Amd):
        try:
            found.append(kind())
        except NoDriver:
            continue
    return found


class Watch:
    """The card of a device such as ``cuda:1``; nothing here raises.

    A card that does not answer any more (it fell off the bus, its driver was unloaded) is looked for again after 1, 2,
    4, ... readings, at last every 60: a reset or a reloaded driver brings some back.

    Args:
        device: As torch names it; ``cuda`` is the first card.

    """

    def __init__(self, device: str = "cuda") -> None:
        self.device = device
        number = device.partition(":")[2]
        self._index = int(number) if number.isdigit() else 0
        self._backend: Backend | None = None
        self._card: Any = None
        self._wait = self._pause = 0
        self.name = ""
        """The card's name; empty where there is no such card."""
        if device.startswith("cuda"):
            self._open()

    def _open(self) -> None:
        """Find the card; it counts as found when it tells its memory."""
        for backend in connect():
            cards = backend.cards() if self._backend is None else []
            card = cards[self._index] if self._index < len(cards) else None
            about = backend.describe(card, self._index) if card else None
            if about is None:
                backend.close()
                continue
            self._backend, self._card, self.name = backend, card, about.name

    def read(self) -> Reading | None:
        """What the card tells now; None where there never was one."""
        if not self.name:
            return None
        if self._backend is None:
            self._look_again()
        if self._backend is None:
            return Reading(lost=True)
        now = self._backend.read(self._card, os.getpid())
        if now.lost:
            self.close()
        else:
            self._pause = 0
        return now

    def _look_again(self) -> None:
        if self._wait > 0:
            self._wait -= 1
            return
        self._pause = min(_PATIENCE, 2 * self._pause or 1)
        self._wait = self._pause
        self._open()

    def close(self) -> None:
        """Let go of the driver."""
        backend, self._backend, self._card = self._backend, None, None
        if backend is not None:
            backend.close()
