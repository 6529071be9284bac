"""What a command reads has a name that a file can have, and is not what it writes: nothing is replaced by mistake."""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Iterator

from embedx.cli.output_paths import OUTPUTS
from embedx.encoders.short_names import BUNDLED
from embedx.errors import ParameterError
from embedx.files import special_kind
from embedx.manifest.paths import shorten_path

__all__ = ["require_apart"]

_INPUTS = (
    "clips",
    "cookies",
    "csv",
    "embeddings",
    "encoder",
    "found",
    "inputs",
    "labels",
    "model",
    "path",
    "sources",
    "store",
    "stores",
    "truth",
)
"""Attributes of the arguments that name what is read."""

_MORE_OUTPUTS = {"study": "--study", "log_file": "--log-file"}


def require_apart(command: str, args: argparse.Namespace) -> None:
    """Refuse an output that is an input, that lies in the model which is read, or that another output is, too.

    Raises
    ------
    ParameterError
        Both names, and what to do; or an input has a name that no file can have.
    """
    for _, place in _inputs(command, args):
        _require_name(place)
    outputs = dict(_outputs(command, args))
    for (one, place), (other, same) in itertools.combinations(outputs.items(), 2):
        if os.path.realpath(place) == os.path.realpath(same):
            raise ParameterError(f"{one} and {other} both name {place}: give each a name of its own")
    if command == "merge":
        _require_once(args.inputs)
        outputs.pop("-o", None)  # may be one of the inputs, which is replaced whole
    for (option, place), (attribute, read) in itertools.product(outputs.items(), _inputs(command, args)):
        place, read = os.path.realpath(place), os.path.realpath(read)
        if place == read:
            raise ParameterError(f"{option} {outputs[option]} is what is read, and would be lost: give another name")
        if attribute == "model" and place.startswith(read + os.sep):
            raise ParameterError(f"{option} {outputs[option]} lies in the model that is read: give another place")


def _require_name(place: str) -> None:
    """Refuse a name that the system refuses; whether there is a file of that name, who reads it will see."""
    try:
        os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "there is a NUL character in its name"
        raise ParameterError(f"{shorten_path(place)} cannot be read: {why}") from error


def _require_once(places: list[os.PathLike[str]]) -> None:
    names = [os.path.realpath(place) for place in places]
    twice = next((place for place, name in zip(places, names, strict=True) if names.count(name) > 1), None)
    if twice is not None:
        raise ParameterError(f"{os.fspath(twice)} is named twice: name each store once")


def _outputs(command: str, args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    attribute, option, _ = OUTPUTS.get(command, ("", "", ""))
    for name, shown in {attribute: option, **_MORE_OUTPUTS}.items():
        place = str(getattr(args, name, None) or "")
        place = place.removeprefix("sqlite:///") if name == "study" else place
        if place and "\0" not in place and special_kind(place) is None:
            yield shown, place


def _inputs(command: str, args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    written = OUTPUTS.get(command, ("",))[0]
    for name in _INPUTS:
        given = None if name == written else getattr(args, name, None)
        for place in given if isinstance(given, list) else [given]:
            text = "" if place is None else os.fspath(place)
            if text and not (name == "encoder" and text in BUNDLED):
                yield name, text
