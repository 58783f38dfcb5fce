"""Run tiny trainings and look at what they told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftk import QuickTrainer
from ftk.events import Event, Step
from ftk.training.trainer import RunResult
from tests import tiny

DEFAULTS: dict[str, Any] = {
    "precision": "float32",
    "device": "cpu",
    "learning_rate": 1e-2,
    "max_steps": 8,
    "lora_rank": 4,
    "eval_fraction": 0.0,
    "compare": [],
    "max_length": 128,
}


class Run:
    """A finished tiny run: its result and everything it told."""

    def __init__(self, model: Path, rows: Any = None, **settings: Any) -> None:
        self.events: list[Event] = []
        trainer = QuickTrainer(str(model), rows or tiny.ROWS, **{**DEFAULTS, **settings})
        self.result: RunResult = trainer.train([self.events.append])

    def of(self, kind: str) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if event.kind == kind]

    @property
    def losses(self) -> list[float]:
        """The losses of all steps."""
        return [event.loss for event in self.events if isinstance(event, Step)]

    def weights(self) -> dict[str, Any]:
        """The saved adapter."""
        from safetensors.torch import load_file

        assert self.result.run is not None
        return load_file(self.result.run.adapter / "adapter_model.safetensors")
