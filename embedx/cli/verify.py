"""``embedx verify``: read all of a store and say what is wrong with it."""

from __future__ import annotations

import argparse
from pathlib import Path

from embedx.cli.terminal import show
from embedx.text import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("path", type=Path, help="a store (emb.h5)")
    parser.add_argument(
        "--repair", action="store_true", help="drop clips with damaged rows, so that embedx extract computes them again"
    )


def run(args: argparse.Namespace) -> int:
    """Print every problem; 2 when there is one that is left."""
    from embedx.store.maintenance import merge_stores, store_info, verify_store

    if args.repair:
        merge_stores([args.path], args.path)
    problems = verify_store(args.path)
    for problem in problems:
        show(problem)
    if problems:
        return 2
    info = store_info(args.path)
    show(f"{args.path} is whole: {count(info.n_clips, 'clip')}, {count(info.n_rows, 'row')}, every CRC matches")
    return 0
