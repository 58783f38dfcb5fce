"""Small log-log panels as SVG, written by hand so that a plot needs no library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 300, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 34, 44
INK, FAINT, LINE = "#333333", "#e3e3e3", "#1f5fa8"
_STYLE = f"text {{ font: 11px sans-serif; fill: {INK} }} .title {{ font-size: 13px; font-weight: bold }}"


@dataclass(frozen=True)
class Panel:
    """One series; panels of a row share the scale of their y axis, so that slopes can be compared."""

    title: str
    x_label: str
    y_label: str
    points: tuple[tuple[float, float], ...]


def draw(rows: Sequence[Sequence[Panel]]) -> str:
    """An SVG document with rows of panels.

    Args:
        rows: Panels with at least one point each; all values above zero.

    """
    width, height = WIDTH * max(len(row) for row in rows), HEIGHT * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, row in enumerate(rows):
        ticks = ticks_for([y for panel in row for _, y in panel.points])
        for column, panel in enumerate(row):
            parts.append(f'<g transform="translate({WIDTH * column} {HEIGHT * number})">')
            parts += [*_panel(panel, ticks), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks_for(values: Sequence[float]) -> list[float]:
    """Round numbers that enclose all values: 1, 2, 5, 10 ..., or only powers of ten where these are many."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    fine = [step * 10.0**power for power in range(low, high + 1) for step in (1, 2, 5)]
    begin = max((tick for tick in fine if tick <= min(values) * 1.001), default=fine[0])
    end = min((tick for tick in fine if tick >= max(values) / 1.001 and tick > begin), default=fine[-1])
    chosen = [tick for tick in fine if begin <= tick <= end]
    return chosen if len(chosen) <= 7 else [10.0**power for power in range(low, high + 1)]


def short(value: float) -> str:
    """A number as it fits on an axis: 0.05, 512, 27M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            part = value / (1e3 if letter == "k" else size)
            return f"{part:.2g}{letter}" if part < 10 else f"{part:.0f}{letter}"
    return f"{value:.4g}"


def _panel(panel: Panel, ticks: Sequence[float]) -> list[str]:
    xs = [x for x, _ in panel.points]
    across = _scale(min(xs), max(xs), LEFT + 10, WIDTH - RIGHT - 10)
    up = _scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    base = HEIGHT - BOTTOM
    parts = [_text(LEFT, TOP - 14, panel.title, "start", ' class="title"')]
    for tick in ticks:
        parts.append(_line(LEFT, up(tick), WIDTH - RIGHT, up(tick), FAINT))
        parts.append(_text(LEFT - 5, up(tick) + 4, short(tick), "end"))
    for x in xs:
        parts.append(_line(across(x), base, across(x), base + 4, INK))
        parts.append(_text(across(x), base + 16, short(x), "middle"))
    parts += [_line(LEFT, base, WIDTH - RIGHT, base, INK), _line(LEFT, TOP, LEFT, base, INK)]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, base + 34, panel.x_label, "middle"))
    middle = (TOP + base) / 2
    parts.append(_text(14, middle, panel.y_label, "middle", f' transform="rotate(-90 14 {middle:.1f})"'))
    places = [(across(x), up(y)) for x, y in panel.points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    return parts + [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{LINE}"/>' for x, y in places]


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    """Where a value lies on a logarithmic axis; a single value lies in its middle."""
    span = math.log(high / low)
    return lambda value: begin + (end - begin) * (math.log(value / low) / span if span else 0.5)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'
