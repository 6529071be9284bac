"""``embedx inspect``: what is wrong with the data before any model."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from embedx.cli.argument_types import MOST_BYTES, SEED, names
from embedx.cli.manifest_options import add_label_arguments, add_labels_arguments, asked_separator, read_labels
from embedx.cli.terminal import show
from embedx.files import replace_file

__all__ = ["add_arguments", "run"]

SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("store", metavar="EMB.h5", help="store that `embedx extract` wrote")
    add_labels_arguments(parser)
    add_label_arguments(parser, of="--labels")
    parser.add_argument("--no-audio", action="store_true", help="do not listen to the files (silence, clipping)")
    parser.add_argument(
        "--only",
        type=names,
        metavar="PARTS",
        help="only these parts, such as copies,labels (an unknown one lists them)",
    )
    parser.add_argument("--seed", type=SEED, default=0, help="seed of folds and heads (default: %(default)s)")
    parser.add_argument("-o", "--output", metavar="JSON", help="write everything to this file too")


_BARS = {"near_copies": ("near copies", "clips"), "labels": ("labels", "folds"), "audio": ("listening", "clips")}


def _one_bar_a_part(stack: contextlib.ExitStack) -> Callable[..., None]:
    """Return what `inspect_data` reports to: each part has a bar of its own, which ends where the next one begins."""
    from embedx.cli.progress import ProgressBar

    bars: dict[str, ProgressBar] = {}

    def report(done: int, total: int, *, part: str) -> None:
        if part not in bars:
            stack.close()
            title, unit = _BARS.get(part, (part, "steps"))
            bars[part] = stack.enter_context(ProgressBar(title, unit=unit))
        bars[part](done, total)

    return report


def run(args: argparse.Namespace) -> int:
    """Inspect and print; every clip is named in the JSON, the first few on the screen."""
    from embedx.dataset import load_embeddings
    from embedx.inspection import inspect_data

    labels = read_labels(args)
    separator = asked_separator(args)
    dataset = load_embeddings(args.store, labels=labels, label_separator=separator, most_bytes=MOST_BYTES)
    with contextlib.ExitStack() as bars:
        inspection = inspect_data(
            dataset, audio=not args.no_audio, only=args.only, seed=args.seed, progress=_one_bar_a_part(bars)
        )
    marks = {"good": "ok ", "note": " . ", "bad": " ! "}
    for finding in inspection.findings:
        show(f"{marks[finding.level]} {finding.title}: {finding.text}")
        for item in finding.items[:SHOWN]:
            show(f"      {item}")
        if len(finding.items) > SHOWN:
            show(
                f"      and {len(finding.items) - SHOWN} more{'' if args.output else ' (all with -o inspection.json)'}"
            )
    if args.output:
        place = Path(args.output)
        place.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(place) as file:
            file.write(json.dumps(inspection.to_dict(), indent=1, ensure_ascii=False) + "\n")
        show(f"wrote {place}")
    return 0
