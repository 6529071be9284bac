"""Draw docs/tutorials/time-line.svg from benchmarks/results/timeline_hour.json: truth, segments and probabilities.

python -m benchmarks.timeline.figure
"""

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.tools.figures import COLOURS
from benchmarks.tools.record import RESULTS

PLACE = RESULTS.parents[1] / "docs" / "tutorials" / "time-line.svg"
WIDTH, LEFT, RIGHT = 820, 60, 140
BAR, TOP, CURVES = 22, 40, 150


def draw(shown: dict[str, Any]) -> str:
    """Return the figure of one recording's beginning as SVG."""
    seconds, names = shown["seconds"], [name for name in shown["classes"] if name != "background"]
    colours = dict(zip(names, COLOURS, strict=False))
    height = TOP + 2 * (BAR + 10) + CURVES + 50

    def x(value: float) -> float:
        return round(LEFT + min(value, seconds) / seconds * (WIDTH - LEFT - RIGHT), 1)

    base = TOP + 2 * (BAR + 10) + CURVES

    def y(value: float) -> float:
        return round(base - value * CURVES, 1)

    parts = [
        *_bars("true", shown["truth"], TOP, x, colours),
        *_bars("found", shown["found"], TOP + BAR + 10, x, colours),
    ]
    for tick in (0.0, 0.5, 1.0):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4}" text-anchor="end">{tick:g}</text>')
    for tick in range(0, int(seconds) + 1, 10):
        parts.append(f'<text x="{x(tick)}" y="{base + 18}" text-anchor="middle">{tick} s</text>')
    for name, colour in colours.items():
        column = shown["classes"].index(name)
        rows = zip(shown["middles"], shown["probabilities"], strict=True)
        points = " ".join(f"{x(t)},{y(row[column])}" for t, row in rows)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    for number, (name, colour) in enumerate(colours.items()):
        at = base - CURVES + 14 + 16 * number
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{at}" fill="{colour}">{escape(name)}</text>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="Truth, segments and probabilities of a recording">'
    )
    title = f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">What is there, and what was found</text>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', title, *parts, "</svg>"]) + "\n"


def _bars(name: str, segments: Sequence[Any], top: float, x: Any, colours: dict[str, str]) -> Iterator[str]:
    yield f'<text x="{LEFT - 6}" y="{top + 15}" text-anchor="end">{name}</text>'
    for onset, offset, label in segments:
        width = round(max(1.0, x(offset) - x(onset)), 1)
        yield f'<rect x="{x(onset)}" y="{top}" width="{width}" height="{BAR}" fill="{colours[label]}" opacity="0.75"/>'
        if width > 6 * len(label):
            yield f'<text x="{x(onset) + 3}" y="{top + 15}" font-size="10" fill="white">{escape(label)}</text>'


def read() -> str:
    """Return the figure of what is committed."""
    record = json.loads((RESULTS / "timeline_hour.json").read_text(encoding="utf-8"))
    return draw(record["shown"]["sample"])


if __name__ == "__main__":
    Path(PLACE).write_text(read(), encoding="utf-8")
