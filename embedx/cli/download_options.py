"""The options of ``embedx download`` and what they allow."""

from __future__ import annotations

import argparse
from typing import Any

from embedx.cli.parser import add_renamed

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "csv", help="CSV with a column of links (URLs, bare YouTube ids, local files) and one of labels"
    )
    parser.add_argument("output", nargs="?", help="folder for the clips; an earlier run in it is resumed")
    look = parser.add_argument_group("look first")
    look.add_argument(
        "--check", action="store_true", help="report rows, classes and damage; nothing is requested or written"
    )
    look.add_argument(
        "--dry-run", action="store_true", help="list what would be fetched; nothing is requested or written"
    )
    look.add_argument(
        "--repair-ids", choices=("search",), help="look up YouTube ids that were cut off, by the titles in their rows"
    )
    _add_choice(parser.add_argument_group("what"))
    _add_limits(parser.add_argument_group("how"))


def _add_choice(group: Any) -> None:
    group.add_argument("--url-column", help="column of links (guessed from the usual names)")
    group.add_argument("--label-column", help="column of labels (guessed from the usual names)")
    group.add_argument("--seconds", type=_length, default=30.0, metavar="S", help="length of a clip or 'all' (30)")
    group.add_argument("--start", type=_start, default="middle", help="seconds, 'middle' or 'random' (middle)")
    group.add_argument(
        "--per-class", type=_count, metavar="N", help="N clips of each class, drawn at random until N succeed"
    )
    group.add_argument("--clips-per-video", type=_count, default=1, metavar="K", help="K clips from each video (1)")
    group.add_argument("--conflicts", choices=("drop", "first"), default="drop", help="links with two labels (drop)")
    group.add_argument(
        "--group", choices=("video", "channel"), default="video", help="what splits must keep together (video)"
    )
    group.add_argument(
        "--valid-fraction", type=_fraction, default=0.0, metavar="F", help="share of the clips for validation (0)"
    )
    group.add_argument(
        "--test-fraction", type=_fraction, default=0.0, metavar="F", help="share of the clips for testing (0)"
    )
    group.add_argument("--seed", type=int, default=0, help="seed of the draw and the splits (0)")
    group.add_argument("--retry-status", type=_statuses, default=(), metavar="A,B", help="try these failures again")


def _add_limits(group: Any) -> None:
    group.add_argument("--jobs", type=_count, default=4, help="clips fetched at a time, one per host (4)")
    group.add_argument(
        "--pause-seconds", type=_pause, metavar="S[-S]", help="pause between clips of one host (YouTube 5-10, else 0)"
    )
    group.add_argument(
        "--timeout-seconds", type=_positive, default=20.0, metavar="S", help="how long to wait for a server (20)"
    )
    group.add_argument(
        "--deadline-seconds", type=_positive, default=300.0, metavar="S", help="limit for one attempt at a clip (300)"
    )
    group.add_argument(
        "--max-bytes", type=_bytes, default=400 * 2**20, metavar="B", help="most bytes to fetch for one clip (400M)"
    )
    group.add_argument("--max-duration-seconds", type=_positive, metavar="S", help="refuse longer sources")
    for old, kind in (("--pause", _pause), ("--timeout", _positive), ("--deadline", _positive)):
        add_renamed(group, old, f"{old}-seconds", type=kind)
    add_renamed(group, "--max-duration", "--max-duration-seconds", type=_positive)
    group.add_argument("--cookies", metavar="FILE", help="Netscape cookie file; it is only read")
    group.add_argument("--proxy", metavar="URL", help="proxy (default: the environment's)")
    group.add_argument("--allow-private", action="store_true", help="also reach this machine and private networks")


def _length(text: str) -> float | None:
    return None if text == "all" else _positive(text)


def _start(text: str) -> float | str:
    return text if text in ("middle", "random") else _number(text, 0.0, 1e7)


def _positive(text: str) -> float:
    return _number(text, 1e-3, 1e7)


def _number(text: str, least: float, most: float) -> float:
    value = float(text)
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text} is outside {least:g} to {most:g}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share (0 to below 1)")
    return value


def _pause(text: str) -> tuple[float, float]:
    low, _, high = text.partition("-")
    pause = (_number(low, 0.0, 1e5), _number(high or low, 0.0, 1e5))
    if pause[0] > pause[1]:
        raise argparse.ArgumentTypeError(f"{text}: the first number is the smaller one")
    return pause


def _bytes(text: str) -> int:
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    unit = units.get(text[-1:].upper(), 1)
    return round(_number(text[:-1] if unit > 1 else text, 1e-9, 1e15) * unit)


def _statuses(text: str) -> tuple[str, ...]:
    from embedx.download.status import STATUSES
    from embedx.errors import unknown_name

    words = tuple(word.strip() for word in text.split(","))
    for word in words:
        if word not in STATUSES:
            raise argparse.ArgumentTypeError(unknown_name("status", word, STATUSES))
    return words
