"""How a recording is cut into windows and these become segments: options of the commands that make time lines."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from typing import Any

from embedx.cli.argument_types import number
from embedx.errors import EmbedxWarning, ParameterError

__all__ = ["add_timeline_arguments", "named_options", "reader_options"]

_BY_CLASS = {
    "high": "what a segment's probability must reach (default 0.5; where a clip may have several labels, the class's "
    "threshold); several times, and as CLASS=NUMBER for one class",
    "low": "what it must not fall below from onset to offset (default 0.35, or 0.7 of that threshold); as --high",
    "merge_seconds": "close gaps of one class that are no longer than this (default 0); as --high",
    "min_seconds": "drop segments that are shorter than this (default 0); as --high",
}


def add_timeline_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group("time lines")
    above_zero = number(0, open_low=True)
    group.add_argument(
        "--window",
        type=above_zero,
        metavar="SECONDS",
        help="length of the windows (default: that of the clips that were learned from, from 0.5 to 2)",
    )
    group.add_argument(
        "--hop", type=above_zero, metavar="SECONDS", help="distance of the windows (default: a quarter of --window)"
    )
    group.add_argument(
        "--one-pass",
        action="store_true",
        help="let the encoder hear each second once, in long chunks, and pool each window out of them: faster, other "
        "numbers",
    )
    for name, text in _BY_CLASS.items():
        unit = "SECONDS" if name.endswith("seconds") else "P"
        group.add_argument(f"--{name.replace('_', '-')}", action="append", metavar=f"[CLASS=]{unit}", help=text)
    group.add_argument(
        "--smooth-seconds",
        type=number(0),
        metavar="SECONDS",
        help="moving average over the probabilities of each class (default 0)",
    )
    group.add_argument(
        "--leave-out", action="append", metavar="CLASS", help="a class that is no event, such as background"
    )
    group.add_argument(
        "--timeline-options",
        metavar="FILE",
        help="take all of this group from a file that embedx evaluate --choose wrote",
    )


def named_options(args: argparse.Namespace) -> Iterator[str]:
    """Yield the options of time lines that were given."""
    for name in ("window", "hop", "one_pass", *_BY_CLASS, "smooth_seconds", "leave_out", "timeline_options"):
        if getattr(args, name) not in (None, False):
            yield f"--{name.replace('_', '-')}"


def reader_options(args: argparse.Namespace, model: Any) -> dict[str, Any]:
    """Return what `RecordingReader` takes.

    Raises
    ------
    ParameterError
        An option is no number, or is outside its bounds; a file that is none, or options beside it.

    Warns
    -----
    EmbedxWarning
        The file's options were chosen for another model.
    """
    if args.timeline_options is not None:
        return _from_file(args, model)
    from embedx.model.recording_reader import default_options

    given: dict[str, Any] = {}
    by_class: dict[str, dict[str, float]] = {}
    for option in _BY_CLASS:
        for text in getattr(args, option) or ():
            name, _, value = text.rpartition("=")
            where = by_class.setdefault(name, {}) if name else given
            where[option] = _number(option, text, value)
    if args.smooth_seconds is not None:
        given["smooth_seconds"] = args.smooth_seconds
    given["leave_out"] = tuple(args.leave_out or ())
    options = default_options(model, **given, by_class=by_class)
    return {
        "window_seconds": args.window,
        "hop_seconds": args.hop,
        "one_pass": args.one_pass,
        "options": options,
    }


def _from_file(args: argparse.Namespace, model: Any) -> dict[str, Any]:
    from embedx.timeline import OptionsFile

    lost = next((name for name in named_options(args) if name != "--timeline-options"), None)
    if lost is not None:
        raise ParameterError(f"{lost} does not go with --timeline-options {args.timeline_options}, which says it")
    found = OptionsFile.read(args.timeline_options)
    if found.trained_on != model.training.get("hash", ""):
        warnings.warn(
            f"{args.timeline_options} was chosen for a model that learned from other clips: choose options anew",
            EmbedxWarning,
            stacklevel=2,
        )
    names = ("window_seconds", "hop_seconds", "one_pass", "options")
    return {name: getattr(found, name) for name in names}


def _number(option: str, text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        shown = f"--{option.replace('_', '-')}"
        raise ParameterError(f"{shown} {text}: give a number, or CLASS=NUMBER") from None
