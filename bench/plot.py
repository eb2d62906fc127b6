"""Plots as one SVG, drawn by hand: legible on light and on dark paper, with axes that say what they are."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH: Final = 430
HEIGHT: Final = 300
LEFT, RIGHT, TOP, BOTTOM = 78, 30, 56, 46
COLOURS: Final = ("a", "b", "c")
STYLE: Final = """
svg { font: 12px system-ui, sans-serif; }
.paper { fill: #ffffff; } .ink { fill: #1f2328; } .dim { fill: #59636e; } .title { font-weight: 600; font-size: 14px; }
.grid { stroke: #d1d9e0; } .axis { stroke: #59636e; }
.line { fill: none; stroke-width: 2; } .goal { stroke-dasharray: 5 4; }
.s-a { stroke: #0969da; } .f-a { fill: #0969da; } .s-b { stroke: #bc4c00; } .f-b { fill: #bc4c00; }
.s-c { stroke: #8250df; } .f-c { fill: #8250df; }
@media (prefers-color-scheme: dark) {
.paper { fill: #0d1117; } .ink { fill: #f0f6fc; } .dim { fill: #9198a1; }
.grid { stroke: #3d444d; } .axis { stroke: #9198a1; }
.s-a { stroke: #4493f8; } .f-a { fill: #4493f8; } .s-b { stroke: #f0883e; } .f-b { fill: #f0883e; }
.s-c { stroke: #ab7df8; } .f-c { fill: #ab7df8; }
}
"""

Point = tuple[float, str, float]


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot; both axes are logarithmic.

    Attributes:
        title: what is shown.
        across: label of the horizontal axis.
        up: label of the vertical axis.
        points: (x, series, y).
    """

    title: str
    across: str
    up: str
    points: Sequence[Point]


def svg(panels: Sequence[Panel]) -> str:
    """All panels, two beside each other."""
    drawn = [panel for panel in panels if any(x > 0 and y > 0 for x, _, y in panel.points)]
    rows = math.ceil(len(drawn) / 2)
    width, height = 2 * WIDTH, max(rows, 1) * HEIGHT
    label = "Benchmarks of chromadrop; the figures are in benchmarks.md"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
    ]
    for number, panel in enumerate(drawn):
        lines.append(f'<g transform="translate({number % 2 * WIDTH} {number // 2 * HEIGHT})">')
        lines += _panel(panel)
        lines.append("</g>")
    return "\n".join([*lines, "</svg>", ""])


def _panel(panel: Panel) -> Iterable[str]:
    points = [point for point in panel.points if point[0] > 0 and point[2] > 0]
    across = _Axis([x for x, _, _ in points], LEFT, WIDTH - RIGHT)
    up = _Axis([y for _, _, y in points], HEIGHT - BOTTOM, TOP)
    yield f'<text class="ink title" x="{LEFT}" y="20">{escape(panel.title)}</text>'
    for value in up.ticks:
        y = up.at(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="dim" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>'
    for value in across.ticks:
        x, y = across.at(value), HEIGHT - BOTTOM + 17
        yield f'<text class="dim" x="{x:.1f}" y="{y}" text-anchor="middle">{_short(value)}</text>'
    yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text class="dim" x="{middle:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(panel.across)}</text>'
    turned = f"rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2:.0f})"
    yield (
        f'<text class="dim" x="14" y="{(TOP + HEIGHT - BOTTOM) / 2:.0f}" text-anchor="middle" '
        f'transform="{turned}">{escape(panel.up)}</text>'
    )
    series: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for x, name, y in points:
        series[name].append((across.at(x), up.at(y)))
    for number, (name, places) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        dashed = " goal" if name == "limit" else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline class="line s-{colour}{dashed}" points="{path}"/>'
        for x, y in places:
            yield f'<circle class="f-{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
        yield f'<text class="f-{colour}" x="{LEFT + number * 118}" y="40">{escape(name)}</text>'


class _Axis:
    """A logarithmic scale onto pixels."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low, self._high = math.log10(min(values)), math.log10(max(values))
        if self._high - self._low < 0.3:  # noqa: PLR2004 - all but one value: room on both sides
            self._low, self._high = self._low - 0.3, self._high + 0.3
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Where a value lies."""
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    @property
    def ticks(self) -> list[float]:
        """Round values: decades, and 2 and 5 of them where there is room."""
        steps = (1,) if self._high - self._low > 2.5 else (1, 2, 5)  # noqa: PLR2004 - decades that fit
        low, high = math.floor(self._low), math.ceil(self._high)
        found = [step * 10.0**power for power in range(low, high + 1) for step in steps]
        return [value for value in found if self._low - 0.01 <= math.log10(value) <= self._high + 0.01]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
