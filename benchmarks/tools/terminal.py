"""Record commands in a real terminal and draw what it showed as a moving picture (SVG, no script in it).

    uv run --with pyte python -m benchmarks.tools.terminal docs/tutorials/first-classifier.svg \\
        "embedx extract sample/clips.csv -o emb.h5 --encoder tiny" "embedx info emb.h5"

The commands run one after the other in a new folder with the bundled sample in `sample/`, each in a pseudo-terminal.
Every screen is one that was really shown; pauses of more than a second are shortened to one.
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import embedx

COLUMNS, ROWS = 104, 30
CELL, LINE = 7.8, 17.0
COLOURS = {"red": "#e06c75", "green": "#98c379", "brown": "#e5c07b", "blue": "#61afef", "cyan": "#56b6c2"}
STYLE = "font: 13px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #dcdfe4; white-space: pre"
LAST_SECONDS = 4.0
FRAME_SECONDS = 0.25

Frame = tuple[float, tuple[str, ...]]
"""How many seconds a screen stands, and its rows as SVG."""


def main() -> None:
    """Run, record, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="SVG to write")
    parser.add_argument("commands", nargs="+", help="what is typed, one after the other")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Path(embedx.__file__).parent / "assets" / "sample", Path(folder) / "sample")
        frames = record(args.commands, Path(folder))
    args.picture.write_text(draw(frames), encoding="utf-8")
    print(f"wrote {args.picture}: {len(frames)} screens, {args.picture.stat().st_size / 1e3:.0f} kB")


def record(commands: list[str], folder: Path) -> list[Frame]:
    """Return the screens of a terminal in which commands are run, each with the seconds that it stood."""
    import pyte

    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    frames: list[Frame] = []
    for command in commands:
        stream.feed(f"\x1b[32m$\x1b[0m {command}\r\n".encode())
        frames.append((1.0, rows_of(screen)))
        for seconds, data in shown(command, folder):
            stream.feed(data)
            frames.append((min(seconds, 1.0), rows_of(screen)))
    return merged(frames)


def shown(command: str, folder: Path) -> Iterator[tuple[float, bytes]]:
    """Run a command in a pseudo-terminal; yield what it printed, a frame at a time, with the seconds of the frame."""
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TERM": "xterm-256color",
        "COLUMNS": str(COLUMNS),
        "LINES": str(ROWS),
    }
    process = subprocess.Popen(
        ["bash", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment
    )
    os.close(theirs)
    began, data, open_ = time.monotonic(), b"", True
    while open_:
        if select.select([ours], [], [], 0.05)[0]:
            try:
                data += os.read(ours, 1 << 16)
            except OSError:  # the last writer has closed it
                open_ = False
        now = time.monotonic()
        if data and (now - began >= FRAME_SECONDS or not open_):
            yield now - began, data
            began, data = now, b""
    os.close(ours)
    if process.wait() != 0:
        raise SystemExit(f"{command!r} ended with {process.returncode}")


def rows_of(screen: Any) -> tuple[str, ...]:
    """Return a screen's rows as SVG text: runs of one colour and weight."""
    return tuple(_row(screen.buffer[y]) for y in range(ROWS))


def _row(cells: Any) -> str:
    runs: list[list[Any]] = []
    for x in range(COLUMNS):
        look = (cells[x].fg, cells[x].bold)
        if runs and runs[-1][0] == look:
            runs[-1][1] += cells[x].data
        else:
            runs.append([look, cells[x].data])
    text = "".join(_run(look, words) for look, words in runs)
    return text if text.strip() else ""


def _run(look: tuple[str, bool], words: str) -> str:
    fill = f' fill="{COLOURS[look[0]]}"' if look[0] in COLOURS else ""
    weight = ' font-weight="bold"' if look[1] else ""
    return f"<tspan{fill}{weight}>{escape(words)}</tspan>" if fill or weight else escape(words)


def merged(frames: list[Frame]) -> list[Frame]:
    """Join screens that are equal; the last one stands a while."""
    joined: list[Frame] = []
    for seconds, rows in frames:
        if joined and joined[-1][1] == rows:
            joined[-1] = (joined[-1][0] + seconds, rows)
        else:
            joined.append((seconds, rows))
    return [*joined[:-1], (LAST_SECONDS, joined[-1][1])]


def draw(frames: list[Frame]) -> str:
    """Return an SVG that shows the screens one after the other, again and again: all in one tall strip that jumps."""
    width, height = COLUMNS * CELL + 24, ROWS * LINE + 24
    total = sum(seconds for seconds, _ in frames)
    steps, at = [], 0.0
    for number, (seconds, _) in enumerate(frames):
        steps.append(f"{at / total:.3%} {{ transform: translateY({-number * height:g}px) }}")
        at += seconds
    steps.append(f"100% {{ transform: translateY({-(len(frames) - 1) * height:g}px) }}")
    screens = "".join(
        f'<text x="12" y="{number * height + 12 + (y + 1) * LINE - 4:g}">{row.rstrip()}</text>'
        for number, (_, rows) in enumerate(frames)
        for y, row in enumerate(rows)
        if row
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">\n'
        f"<style>text {{ {STYLE} }}\n@keyframes strip {{ {' '.join(steps)} }}\n"
        f"#strip {{ animation: strip {total:.1f}s steps(1, end) infinite }}\n"
        f"@media (prefers-reduced-motion) {{ #strip {{ animation: none; "
        f"transform: translateY({-(len(frames) - 1) * height:g}px) }} }}</style>\n"
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#282c34"/>\n<g id="strip">{screens}</g>\n</svg>\n'
    )


if __name__ == "__main__":
    main()
