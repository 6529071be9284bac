"""``embedx merge``: one store from several of one recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from embedx.cli.terminal import show
from embedx.text import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("inputs", nargs="+", type=Path, metavar="STORE", help="stores made by one recipe")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new file, or one of the inputs")
    parser.add_argument(
        "--root",
        type=Path,
        help="folder that the relative paths of all inputs are relative to, for stores made on other machines "
        "(by default, every path keeps naming the same file)",
    )
    parser.add_argument(
        "--last-wins",
        action="store_true",
        help="where two stores hold different content or another label for one path, take the later",
    )


def run(args: argparse.Namespace) -> int:
    """Merge and say how many clips there are."""
    from embedx.store.maintenance import merge_stores

    n = merge_stores(args.inputs, args.output, root=args.root, last_wins=args.last_wins)
    show(f"{args.output}: {count(n, 'clip')} from {count(len(args.inputs), 'store')}")
    return 0
