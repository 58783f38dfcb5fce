"""How a training loop and whoever runs it talk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..events import Event
from .checkpoint import Snapshot
from .control import Control


def _nothing(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Link:
    """How a loop and whoever runs it talk.

    `emit` takes the events, `save` a checkpoint when one is due; `poll` is called after every step and while the run
    holds; `control` is looked at before every micro-batch.
    """

    emit: Callable[[Event], None]
    control: Control
    save: Callable[[Snapshot], object] = _nothing
    poll: Callable[[], object] = _nothing
