"""Line charts and scatters as SVG, drawn from what a result's JSON says of them.

A figure is a mapping: ``title``, ``x`` and ``y`` (names of the axes), ``log_x``, and ``series``: a list with ``name``,
``points`` (x, y or x, y, low, high), and optionally ``style``: ``line`` (default), ``dots`` (numbered as their names
are) or ``level`` (a control: one y over the whole width, grey), ``hollow`` (dots that were measured elsewhere) and
``ahead`` (a forecast: x, y, low, high, joined by a broken line). Colours tell apart with colour blindness (Okabe, Ito
2008), and every series has its name at its end, so that no colour is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["draw_figure"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7b3294")
GREYS = ("#222222", "#777777")
WIDTH, HEIGHT = 700, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 235, 34, 46
LINE = 15  # between two names, in pixels


def draw_figure(figure: Mapping[str, Any]) -> str:
    """Return a figure as one SVG document."""
    axes = _Axes(figure)
    parts = [*axes.draw(figure)]
    names, used = [], {GREYS: 0, COLOURS: 0}
    for series in figure["series"]:
        palette = GREYS if series.get("style") == "level" else COLOURS
        colour = palette[used[palette] % len(palette)]
        used[palette] += 1
        number = f"{used[COLOURS]}" if series.get("style") == "dots" else ""
        parts += _series(series, axes, colour, number)
        last = series.get("ahead") or series["points"][-1]
        names.append((axes.y(last[1]), colour, f"{number} {series['name']}".strip()))
    parts += _names(names)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="{escape(figure["title"])}">'
    )
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return "\n".join([head, ground, *parts, "</svg>"]) + "\n"


class _Axes:
    """From values to pixels."""

    def __init__(self, figure: Mapping[str, Any]) -> None:
        self.log_x = bool(figure.get("log_x"))
        lines = [series for series in figure["series"] if series.get("style") != "level"]
        ahead = [series["ahead"] for series in lines if "ahead" in series]
        points = [point for series in figure["series"] for point in series["points"]] + ahead
        across = [point[0] for series in lines for point in series["points"]] + [point[0] for point in ahead]
        heights = [value for point in points for value in point[1:] if value is not None]
        self.x0, self.x1 = min(across), max(across)
        low, high = min(heights), max(heights)
        margin = 0.05 * (high - low) or 1.0
        self.ticks_y = _ticks(low - margin, high + margin)
        self.y0, self.y1 = min(low - margin, self.ticks_y[0]), max(high + margin, self.ticks_y[-1])
        self.ticks_x = figure.get("ticks") or (_decades(self.x0, self.x1) if self.log_x else _ticks(self.x0, self.x1))

    def x(self, value: float) -> float:
        low, high, at = (math.log(v) if self.log_x else v for v in (self.x0, self.x1, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return round(LEFT + 12 + share * (WIDTH - LEFT - RIGHT - 24), 1)

    def y(self, value: float) -> float:
        share = (value - self.y0) / (self.y1 - self.y0)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def draw(self, figure: Mapping[str, Any]) -> Iterator[str]:
        """Yield title, grid, ticks and names of the axes."""
        yield f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(figure["title"])}</text>'
        for tick in self.ticks_y:
            y = self.y(tick)
            yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>'
            yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>'
        for tick in self.ticks_x:
            at, name = tick if isinstance(tick, (list, tuple)) else (tick, f"{tick:g}")
            yield f'<text x="{self.x(at)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{escape(str(name))}</text>'
        middle = (LEFT + WIDTH - RIGHT) / 2
        yield f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(figure["x"])}</text>'
        up = (TOP + HEIGHT - BOTTOM) / 2
        yield f'<text transform="translate(14 {up}) rotate(-90)" text-anchor="middle">{escape(figure["y"])}</text>'


def _series(series: Mapping[str, Any], axes: _Axes, colour: str, number: str) -> Iterator[str]:
    points, style = series["points"], series.get("style", "line")
    if style == "level":
        y = axes.y(points[0][1])
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="{colour}" stroke-dasharray="5 4"/>'
        return
    banded = [point for point in points if len(point) == 4 and point[2] is not None]
    if style == "line" and len(banded) > 1:
        edge = [(p[0], p[3]) for p in banded] + [(p[0], p[2]) for p in reversed(banded)]
        drawn = " ".join(f"{axes.x(x)},{axes.y(y)}" for x, y in edge)
        yield f'<polygon points="{drawn}" fill="{colour}" opacity="0.12"/>'
    if style == "line":
        drawn = " ".join(f"{axes.x(point[0])},{axes.y(point[1])}" for point in points)
        yield f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>'
    fill = "white" if series.get("hollow") else colour
    for point in points:
        x, y = axes.x(point[0]), axes.y(point[1])
        yield f'<circle cx="{x}" cy="{y}" r="3.5" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'
        if number:
            yield f'<text x="{x}" y="{y - 7}" text-anchor="middle" font-size="10" fill="{colour}">{number}</text>'
    if "ahead" in series:
        yield from _forecast(points[-1], series["ahead"], axes, colour)


def _forecast(last: Sequence[Any], ahead: Sequence[Any], axes: _Axes, colour: str) -> Iterator[str]:
    (x0, y0), (x1, y1) = ((axes.x(point[0]), axes.y(point[1])) for point in (last, ahead))
    yield f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="{colour}" stroke-dasharray="3 3"/>'
    if len(ahead) == 4 and ahead[2] is not None:
        low, high = axes.y(ahead[2]), axes.y(ahead[3])
        yield f'<line x1="{x1}" y1="{low}" x2="{x1}" y2="{high}" stroke="{colour}"/>'
    yield f'<circle cx="{x1}" cy="{y1}" r="3.5" fill="white" stroke="{colour}" stroke-width="1.5"/>'


def _names(names: Sequence[tuple[float, str, str]]) -> Iterator[str]:
    """Yield the names at the right edge, moved apart where they would overlap."""
    last = TOP - LINE
    for at, colour, name in sorted(names):
        y = max(at + 4, last + LINE)
        last = y
        yield f'<text x="{WIDTH - RIGHT + 8}" y="{round(y, 1)}" fill="{colour}">{escape(name)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    span = (high - low) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def _decades(low: float, high: float) -> list[float]:
    values = [factor * 10.0**i for i in range(-4, 9) for factor in (1, 2, 5)]
    inside = [value for value in values if low <= value <= high]
    return inside if len(inside) <= 6 else [value for value in inside if math.log10(value) % 1 == 0]
