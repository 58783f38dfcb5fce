"""The losses of a run as a drawing: SVG of a fixed size that scales, in the colours of the page, without any script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from .elements import tag
from .gathered import Course

WIDTH, HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 28, 40
_POINTS = 240
"""Points of a curve: more than one for each three columns nobody can see."""

Points = Sequence[tuple[float, float]]


def loss_plot(course: Course) -> Element | None:
    """Training and held-out loss by step; None where there is nothing to draw."""
    train = [(float(step), loss) for step, loss in course.train if math.isfinite(loss)]
    held_out = [(float(step), loss) for step, loss in course.held_out if math.isfinite(loss)]
    if not train and not held_out:
        return None
    frame = _Frame.around(train, held_out)
    parts = thinned(train, _POINTS)
    drawing = tag(
        "svg",
        tag("title", _described(train, held_out)),
        *frame.axes(),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="plot",
    )
    if len(parts) > 1:
        band = [(x, high) for x, _, _, high in parts] + [(x, low) for x, _, low, _ in reversed(parts)]
        drawing.append(tag("polygon", points=frame.points(band), class_="band"))
        drawing.append(tag("polyline", points=frame.points([(x, mean) for x, mean, _, _ in parts]), class_="train"))
    for x, mean, _, _ in parts if len(parts) == 1 else ():
        drawing.append(frame.dot(x, mean, "train-dot"))
    if len(held_out) > 1:
        drawing.append(tag("polyline", points=frame.points(held_out), class_="held"))
    for x, loss in held_out:
        drawing.append(frame.dot(x, loss, "held-dot"))
    drawing.extend(_legend(bool(train), bool(held_out)))
    return drawing


def thinned(points: Points, most: int) -> list[tuple[float, float, float, float]]:
    """Points as at most so many of step, mean, lowest and highest value, in order."""
    made = []
    count = min(most, len(points))
    for number in range(count):
        part = points[number * len(points) // count : (number + 1) * len(points) // count]
        values = [value for _, value in part]
        made.append((part[-1][0], sum(values) / len(values), min(values), max(values)))
    return made


class _Frame:
    """The axes, and where a step and a loss are drawn."""

    def __init__(self, steps: tuple[float, float], losses: tuple[float, float]) -> None:
        self._steps = steps
        self._ticks = ticks(*losses, 5)
        self._losses = (min(losses[0], self._ticks[0]), max(losses[1], self._ticks[-1]))

    @classmethod
    def around(cls, train: Points, held_out: Points) -> _Frame:
        """A frame that holds all held-out losses, and the training losses but for a few that lie far off."""
        values = sorted(value for _, value in train)
        inner = values[len(values) // 100 : len(values) - len(values) // 100] or values
        shown = [*(inner[:1] + inner[-1:]), *(value for _, value in held_out)]
        low, high = min(shown), max(shown)
        if high - low < 1e-9 * max(1.0, abs(high)):
            low, high = low - 0.5, high + 0.5
        last = max(step for step, _ in [*train, *held_out])
        first = min(step for step, _ in [*train, *held_out])
        return cls((min(first, 0.0), max(last, first + 1)), (low, high))

    def place(self, step: float, loss: float) -> tuple[float, float]:
        """Where a point is drawn; what lies outside of the frame, at its edge."""
        x = (step - self._steps[0]) / (self._steps[1] - self._steps[0])
        y = (loss - self._losses[0]) / (self._losses[1] - self._losses[0])
        y = min(1.0, max(0.0, y))
        return _LEFT + x * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - y * (HEIGHT - _TOP - _BOTTOM)

    def points(self, points: Points) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.place(*point) for point in points))

    def dot(self, step: float, loss: float, kind: str) -> Element:
        x, y = self.place(step, loss)
        return tag("circle", tag("title", f"step {step:.0f}: {loss:.4f}"), cx=f"{x:.1f}", cy=f"{y:.1f}", r="3.5",
                   class_=kind)  # fmt: skip

    def axes(self) -> list[Element]:
        made = []
        for value in self._ticks:
            _, y = self.place(self._steps[0], value)
            made.append(tag("line", x1=str(_LEFT), x2=str(WIDTH - _RIGHT), y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"))
            made.append(tag("text", f"{value:g}", x=str(_LEFT - 8), y=f"{y + 4:.1f}", class_="tick end"))
        for step in ticks(*self._steps, 6):
            if self._steps[0] <= step <= self._steps[1]:
                x, _ = self.place(step, self._losses[0])
                made.append(tag("text", f"{step:g}", x=f"{x:.1f}", y=str(HEIGHT - _BOTTOM + 18), class_="tick middle"))
        middle = str((_LEFT + WIDTH - _RIGHT) // 2)
        made.append(tag("text", "step", x=middle, y=str(HEIGHT - 4), class_="tick middle"))
        made.append(tag("text", "loss (nats a token)", x="4", y="14", class_="tick"))
        return made


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers over a range, about so many."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _legend(train: bool, held_out: bool) -> list[Element]:
    made, x = [], WIDTH - _RIGHT
    for wanted, kind, text, width in ((held_out, "held", "held out", 84), (train, "train", "training", 84)):
        if wanted:
            x -= width
            made.append(tag("line", x1=str(x), x2=str(x + 20), y1="10", y2="10", class_=kind))
            made.append(tag("text", text, x=str(x + 25), y="14", class_="tick"))
    return made


def _described(train: Points, held_out: Points) -> str:
    """The drawing in words."""
    parts = []
    for what, points in (("Training loss", train), ("Held-out loss", held_out)):
        if points:
            parts.append(f"{what} from {points[0][1]:.3f} at step {points[0][0]:.0f} to {points[-1][1]:.3f} at step "
                         f"{points[-1][0]:.0f}.")  # fmt: skip
    return " ".join(parts)
