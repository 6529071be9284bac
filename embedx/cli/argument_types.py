"""Numbers on the command line, checked while they are read: one line for what is none."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from typing import Any

from embedx.errors import ParameterError
from embedx.files import special_kind

__all__ = [
    "MOST_BYTES",
    "SEED",
    "add_compute_arguments",
    "add_jobs_arguments",
    "add_trust_argument",
    "is_store",
    "names",
    "number",
    "read_layers",
]

MOST_BYTES = 2**30
"""Embeddings that take more are not held: heads read the layers that they learn from."""

_HDF5 = b"\x89HDF\r\n\x1a\n"


def number(low: float, high: float = math.inf, *, whole: bool = False, **bounds: bool) -> Callable[[str], Any]:
    """Return what argparse calls to read a number between two bounds.

    Parameters
    ----------
    low, high, whole, **bounds
        As in `embedx.checks.require_number`.

    Examples
    --------
    >>> number(1, whole=True)("3")
    3
    >>> number(0, 1, open_low=True)("nan")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: 'nan': a number from above 0 to 1 is needed
    """

    def read(text: str) -> Any:
        from embedx.checks import require_number

        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        try:
            require_number("", value, low, high, whole=whole, **bounds)
        except ParameterError as error:
            raise argparse.ArgumentTypeError(f"{text!r}:{str(error).partition(':')[2]}") from None
        return value

    return read


SEED = number(0, 2**32 - 1, whole=True)
"""What numpy takes as a seed."""


def add_jobs_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, least: int) -> None:
    """Declare how many processes share the fits, and where they run.

    Parameters
    ----------
    parser : ArgumentParser or group
        Of the command.
    least : int
        -1 where it stands for all cores, else 1.
    """
    every = "processes, -1 for all cores" if least < 0 else "processes"
    parser.add_argument("--jobs", type=number(least, whole=True), default=1, metavar="N", help=f"{every} (default: 1)")
    parser.add_argument(
        "--jobs-backend", default="loky", help="where they run: loky, this machine (default), or ray, a Ray cluster"
    )
    parser.add_argument("--address", metavar="HOST:PORT", help="the cluster, or auto; none starts one of this machine")


def add_compute_arguments(parser: argparse.ArgumentParser, *, workers: str) -> None:
    """Declare on what a model computes; ``workers`` is the help of ``--workers``."""
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--batch-seconds",
        type=number(0, open_low=True),
        default=120.0,
        metavar="SECONDS",
        help="audio in a batch (default 120)",
    )
    parser.add_argument("--workers", type=number(0, whole=True), metavar="N", help=workers)


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Declare which types of a user's own classifier a model may be made of."""
    parser.add_argument(
        "--trust", action="append", default=[], metavar="TYPE", help="a type of your own classifier that may be loaded"
    )


def is_store(place: str | os.PathLike[str]) -> bool:
    """Say whether a file is a store of embeddings, by its first bytes; one that cannot be read is none."""
    try:
        if special_kind(place) is not None:  # a pipe would wait for ever
            return False
        with open(place, "rb") as file:
            return file.read(len(_HDF5)) == _HDF5
    except OSError:
        return False


def names(text: str) -> tuple[str, ...]:
    """Read names with commas between them."""
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def read_layers(text: str | None) -> list[int] | None:
    """Return the numbers that ``--layers`` names, None for all layers."""
    try:
        return None if text is None else [int(layer) for layer in text.split(",")]
    except ValueError:
        raise ParameterError(f"--layers {text!r}: give numbers with commas, such as 0,4,8") from None
