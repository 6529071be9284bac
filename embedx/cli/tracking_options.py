"""``--log-to``: the run in MLflow, Weights & Biases or TensorBoard."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedx.tracking import Trackers

__all__ = ["add_tracking_argument", "logging_steps", "tracked"]

_NOT_OPTIONS = {"quiet", "verbose", "log_file", "debug", "log_to"}


def add_tracking_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--log-to",
        action="append",
        default=[],
        metavar="NAME[:PLACE]",
        help="log the run to mlflow[:URI], wandb[:PROJECT] or tensorboard[:FOLDER], too (extra of that name)",
    )


@contextmanager
def tracked(args: argparse.Namespace, command: str) -> Iterator[Trackers]:
    """Open what ``--log-to`` names, before any work, and log the options.

    Raises
    ------
    ParameterError, MissingExtraError
        As `embedx.tracking.open_trackers`.
    """
    from embedx.cli.finetune_options import is_first_process
    from embedx.tracking import open_trackers

    with open_trackers(args.log_to if is_first_process() else (), name=f"embedx {command}") as trackers:
        given = {name: value for name, value in vars(args).items() if _says(name, value)}
        trackers.log_facts({f"option/{name}": _shown(value) for name, value in given.items()})
        yield trackers


def _says(name: str, value: Any) -> bool:
    return name not in _NOT_OPTIONS and value not in (None, [], False)


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def logging_steps(trackers: Trackers, bar: Callable[..., None] | None, prefix: str) -> Callable[..., None]:
    """Return a progress that shows what it is told on a bar, and logs the numbers in it by step.

    Parameters
    ----------
    trackers : Trackers
        Where to.
    bar : callable, optional
        What shows it.
    prefix : str
        What stands before the names.
    """

    if trackers.is_empty and bar is not None:
        return bar

    def progress(done: int, total: int, **facts: Any) -> None:
        trackers.log_metrics({f"{prefix}/{name}": _number(value) for name, value in facts.items()}, step=done)
        if bar is not None:
            bar(done, total, **facts)

    return progress


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
