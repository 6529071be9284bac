"""``embedx doctor``: say what this machine has, what is wrong, and what to do about it."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from embedx.cli.output_paths import write_json
from embedx.cli.terminal import show
from embedx.text import count

__all__ = ["add_arguments", "run"]

_SIGNS = {"ok": " ", "note": "-", "problem": "!"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--network", action="store_true", help="ask the hub for a sign of life (5 s at most)")
    parser.add_argument("--json", metavar="FILE", help="write all that was found as JSON, too")


def run(args: argparse.Namespace) -> int:
    """Print what is found; 1 when something of it is a problem, else 0."""
    from embedx import __version__
    from embedx.doctor import examine

    show(f"embedx {__version__}")
    found, section = [], ""
    for one in examine(network=args.network):
        found.append(one)
        if one.section != section:
            section = one.section
            show(section)
        advice = f"  -> {one.advice}" if one.advice else ""
        show(f"{_SIGNS[one.level]} {one.name:<22} {one.value}{advice}", flush=True)
    problems = [one for one in found if one.level == "problem"]
    for one in problems:
        show(f"problem: {one.name}: {one.value}: {one.advice}")
    show(f"{count(len(problems), 'problem')}" if problems else "no problem: this machine can run embedx")
    if args.json:
        write_json(args.json, {"doctor": __version__, "findings": [asdict(one) for one in found]})
    return 1 if problems else 0
