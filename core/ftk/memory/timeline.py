"""From the stages of a traced micro-batch to the moment at which a whole model takes the most."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .stages import Stage, Trace

_WORDS = {
    "begin": "as the embeddings are looked up",
    "forward": "in the last layers of the forward pass",
    "loss": "as the loss is computed",
    "turn": "as the backward pass begins",
    "backward": "in the first layers that the backward pass reaches",
    "end": "at the end of the backward pass",
    "collect": "as gradients are added to their float32 sums",
    "update": "as the optimiser updates the weights",
}


@dataclass(frozen=True)
class Peak:
    """The moment of the most: bytes kept for the backward pass, of gradients, and of what only that moment takes.

    `passed` has for each kind of stage the bytes in large blocks that it takes and gives back before it is over.
    """

    moment: str
    activations: int
    gradients: int
    passing: int
    passed: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of it."""
        return self.activations + self.gradients + self.passing

    @property
    def words(self) -> str:
        """When that is, for people."""
        return _WORDS[self.moment]


def peak(trace: Trace) -> Peak:
    """Walk through all layers of the model, forward and back, and find the moment of the most."""
    alive = gradients = 0
    most = Peak("begin", 0, 0, 0)
    passed: dict[str, int] = {}
    for name, moment in _order(trace.layers):
        stage = trace.stages.get(name, Stage(name, 0, 0))
        if alive + stage.peak > most.total:
            most = Peak(moment, alive - gradients, gradients, stage.peak)
        alive += stage.change
        gradients += trace.gradients.get(name, 0)
        passed[name.split()[0]] = max(passed.get(name.split()[0], 0), stage.passed)
    return replace(most, passed=passed)


def _order(layers: tuple[str, ...]) -> list[tuple[str, str]]:
    """The stages of the whole model in their order, each with the name of its moment."""
    forward = [(f"forward {layer}", "forward") for layer in layers]
    back = [(f"backward {layer}", "backward") for layer in reversed(layers)]
    if back:
        back[-1] = (back[-1][0], "end")
    return [("begin", "begin"), *forward, ("loss", "loss"), ("turn", "turn"), *back]
