"""``embedx encoders``: which encoders there are, what they are good at, and which are here."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from embedx.cli.terminal import show
from embedx.text import as_size

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--cached", action="store_true", help="only those that are in the cache of the hub")


def run(args: argparse.Namespace) -> int:
    """Print what there is; nothing is downloaded."""
    from embedx.encoders.hub import cached_encoders

    cached = list(cached_encoders())
    if not args.cached:
        for line in (*_known({one.repo for one in cached}), "", *_scores(), "", *_families(), ""):
            show(line)
    show("in the cache of the hub:" if cached else "in the cache of the hub: none")
    for one in cached:
        show(f"  {one.repo:<42}{one.revision[:12]:<14}{as_size(one.n_bytes):<10}{one.says}")
    return 0


def _known(here: set[str]) -> Iterator[str]:
    from embedx.encoders.short_names import KNOWN

    yield f"{'name':<15}{'hub id':<42}{'layers x dim':<14}{'kHz':<5}{'window':<9}{'parameters':<12}{'licence':<14}here"
    yield f"{'tiny':<15}{'(in the package, for trying out)':<42}"
    for name, known in KNOWN.items():
        window = "any" if known.native_seconds is None else f"{known.native_seconds:g} s"
        yield (
            f"{name:<15}{known.repo:<42}{f'{known.n_layers} x {known.dim}':<14}{known.sample_rate // 1000:<5}"
            f"{window:<9}{f'{known.n_parameters / 1e6:.0f} M':<12}{known.licence:<14}"
            f"{'yes' if known.repo in here else 'no'}"
        )


def _scores() -> Iterator[str]:
    from embedx.encoders.short_names import ADVICE, KNOWN, SOURCE, TASKS

    yield f"{SOURCE}:"
    yield f"{'':<15}{''.join(f'{task:<17}' for task in TASKS)}trained on"
    for name, known in KNOWN.items():
        cells = "".join(f"{known.scores.get(task, '-'):<17}" for task in TASKS)
        yield f"{name:<15}{cells}{known.sounds}"
    yield f"So, for {ADVICE}."


def _families() -> Iterator[str]:
    from embedx.encoders.description import SUPPORTED
    from embedx.encoders.families import UNSUPPORTED

    yield f"any checkpoint of model_type {', '.join(SUPPORTED)}: a folder or a hub id OWNER/NAME"
    yield "not supported:"
    for name, why in UNSUPPORTED.items():
        yield f"  {name:<16}{why}"
