"""A card, and what it tells at a moment: plain values, whoever made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

Vendor = Literal["nvidia", "amd", "apple", "intel"]


@dataclass(frozen=True)
class Gpu:
    """A card as its driver reports it, or a slice of one (MIG).

    `index` is the number by which CUDA knows the card in this process: cards that ``CUDA_VISIBLE_DEVICES`` hides are
    left out and not counted. `slot` is the driver's own number, that of `nvidia-smi`. Memory is in bytes, `capability`
    such as (8, 0), for AMD (9, 4) of gfx942. What the driver does not tell is None.
    """

    index: int
    name: str
    memory_total: int
    memory_used: int
    capability: tuple[int, int]
    driver: str
    uuid: str = ""
    slot: int | None = None
    memory_others: int | None = None
    """Bytes that other processes hold, as far as the driver tells processes apart: in a container this process may
    count as another."""
    utilisation: float | None = None
    """Percent of the last moments in which the card was busy."""
    temperature: float | None = None
    """Degrees Celsius."""
    power: float | None = None
    """Watts."""
    power_limit: float | None = None
    """Watts at which the card slows itself down."""
    cuda: tuple[int, int] | None = None
    """The newest CUDA that the driver runs, such as (13, 0)."""
    sliced: bool = False
    """Whether this is a MIG instance, a slice of a card with memory of its own."""
    unified: bool = False
    """Whether the card has no memory of its own and uses the machine's."""
    vendor: Vendor = "nvidia"

    @property
    def memory_free(self) -> int:
        """Bytes that nobody uses."""
        return max(0, self.memory_total - self.memory_used)

    @property
    def bfloat16(self) -> bool:
        """Whether the card computes in bfloat16 natively: NVIDIA from Ampere (8.0), AMD from CDNA2 and RDNA3 on."""
        if self.vendor == "amd":
            return self._cdna2 or self.capability >= (11, 0)
        return self.vendor == "nvidia" and self.capability >= (8, 0)

    @property
    def tensor_cores(self) -> bool:
        """Whether there are units that multiply small matrices: NVIDIA from Volta (7.0), AMD from CDNA and RDNA3 on.

        The GTX 16 cards are Turing (7.5) without them.
        """
        if self.vendor == "amd":
            return (9, 0) <= self.capability < (10, 0) or self.capability >= (11, 0)
        return self.vendor == "nvidia" and self.capability >= (7, 0) and "GTX 16" not in self.name

    @property
    def flash_attention(self) -> bool:
        """Whether PyTorch's flash attention runs: NVIDIA from Ampere (8.0), AMD from CDNA2 and RDNA3 on."""
        return self.bfloat16

    @property
    def _cdna2(self) -> bool:
        return (9, 0) <= self.capability < (10, 0) and "MI100" not in self.name  # gfx908 is (9, 0) as gfx90a is


@dataclass(frozen=True)
class Reading:
    """What a card tells at a moment; memory in bytes, temperature in degrees Celsius, power in watts.

    `memory_mine` is what this process holds. A card that fell off the bus, or a driver that was unloaded, is `lost`.
    """

    memory_total: int | None = None
    memory_used: int | None = None
    memory_mine: int | None = None
    utilisation: float | None = None
    temperature: float | None = None
    power: float | None = None
    lost: bool = False


class NoDriver(Exception):  # noqa: N818 - not an error: most machines have none
    """There is no driver of this kind, or it does not work.

    Args:
        reason: What it says, in words.
        code: Its error code, if it gave one.

    """

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


class Backend(Protocol):
    """An open connection to a driver. What it cannot answer is None; its methods raise nothing."""

    remarks: list[str]
    """What a person should know of the cards found, in sentences."""

    def cards(self) -> list[Any]:
        """The cards that this process may use, in the order of their numbers."""

    def describe(self, card: Any, index: int) -> Gpu | None:
        """All about a card; None where it does not even tell its memory."""

    def read(self, card: Any, pid: int) -> Reading:
        """What a card tells now; `pid` is the process whose memory counts as this one's."""

    def close(self) -> None:
        """Let go of the driver."""
