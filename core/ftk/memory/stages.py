"""The stages of a micro-batch: what each takes at most, and what it leaves behind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """A part of a computation: `peak` bytes above what was alive when it began, and `change` when it was over.

    `passed` is what was taken and given back in between in blocks of a MiB and more, all of it together.
    """

    name: str
    peak: int
    change: int
    passed: int = 0


@dataclass(frozen=True)
class Trace:
    """A traced micro-batch: its stages by name, and for every layer of the whole model the name of its like.

    The stages are ``begin``, ``forward NAME`` for each kind of layer, ``loss``, ``turn`` (from the loss to the last
    layer) and ``backward NAME``; `gradients` are the bytes of gradients that a stage leaves behind.
    """

    layers: tuple[str, ...]
    stages: dict[str, Stage]
    gradients: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Trace:
        """What `to_dict` gave."""
        stages = {name: Stage(**stage) for name, stage in values["stages"].items()}
        return Trace(tuple(values["layers"]), stages, dict(values["gradients"]))


@dataclass(frozen=True)
class Census:
    """What the tensors of a model take, in bytes, and which of them are trained.

    `weights` is what the base takes as it is stored; `unpacked` what its 4-bit layers would take in plain numbers;
    `adapters` the adapter in the number format of the base; `trained` the number of weights of each trained tensor,
    `copied` of those that need a float32 copy; `parameters` the number of weights of the base, `packed` of those
    that are quantised.
    """

    weights: int
    unpacked: int
    adapters: int
    trained: tuple[int, ...]
    copied: tuple[int, ...]
    parameters: int
    packed: int

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Census:
        """What `to_dict` gave."""
        return Census(**{**values, "trained": tuple(values["trained"]), "copied": tuple(values["copied"])})
