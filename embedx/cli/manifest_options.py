"""The columns of a CSV, and ``--labels CSV``: what the commands that read manifests share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from embedx.errors import ParameterError

if TYPE_CHECKING:
    from embedx.manifest import Manifest

__all__ = [
    "add_label_arguments",
    "add_labels_arguments",
    "add_segment_arguments",
    "asked_separator",
    "named_columns",
    "named_labels",
    "read_labels",
]

_SEGMENTS = {"start": "where a segment begins", "stop": "where it ends", "duration": "how long it is"}


def add_segment_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, of: str = "the CSV") -> None:
    """Declare which columns cut files into segments."""
    for role, says in _SEGMENTS.items():
        parser.add_argument(f"--{role}-column", metavar="NAME", help=f"column of {of} that says {says}; '' reads none")


def add_label_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, of: str = "the CSV") -> None:
    """Declare how several labels a clip are written."""
    parser.add_argument(
        "--label-separator", metavar="SIGN", help="a label is several classes with this between them, as in 'dog|rain'"
    )
    parser.add_argument(
        "--label-columns", metavar="A,B|GLOB", help=f"{of} has a column of 0 and 1 for each class: these ('has_*')"
    )
    parser.add_argument(
        "--multi-label",
        action="store_true",
        help="a clip may have several labels (joined by '|' unless told): the rows of one clip add theirs",
    )


def named_labels(args: argparse.Namespace) -> dict[str, Any]:
    """Return what `add_label_arguments` declares, as `read_manifest` takes it."""
    return {name: getattr(args, name, None) for name in ("label_separator", "label_columns")} | {
        "multi_label": bool(getattr(args, "multi_label", False))
    }


def asked_separator(args: argparse.Namespace) -> str | None:
    """Return what stands between the classes of a clip, None where a clip has one label.

    Raises
    ------
    ParameterError
        It cannot stand there.
    """
    from embedx.manifest.label_sets import choose_separator

    return choose_separator(**named_labels(args))


def add_labels_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--labels`` and its columns, for `read_labels`."""
    parser.add_argument("--labels", metavar="CSV", help="labels and groups from this CSV, not from the store")
    parser.add_argument("--label-column", help="column of --labels with the class")
    parser.add_argument("--group-column", help="column of --labels with what must not be cut apart")
    add_segment_arguments(parser, of="--labels")


def named_columns(args: argparse.Namespace, *roles: str) -> dict[str, Any]:
    """Return the columns that were named, as `read_manifest` takes them: of these roles, and of segments."""
    return {f"{role}_column": getattr(args, f"{role}_column", None) for role in (*roles, *_SEGMENTS)}


def read_labels(args: argparse.Namespace, *, split_column: str | None = None) -> Manifest | None:
    """Return the labels, groups and splits to use instead of the store's own, or None for those.

    Parameters
    ----------
    args : argparse.Namespace
        ``labels``, ``label_column``, ``group_column`` and the columns of segments.
    split_column : str, optional
        Column of predefined parts.

    Raises
    ------
    ParameterError
        A column is named, but no CSV to read it from, and it is none that every store has.
    ManifestError
        The CSV cannot be used, or has no label in it.
    """
    from embedx.manifest import read_manifest

    asked = {"label": args.label_column, "group": args.group_column, "split": split_column}
    if args.labels is not None:
        columns = {**named_columns(args, "label", "group"), **named_labels(args), "split_column": split_column}
        manifest = read_manifest(args.labels, must_exist=False, **columns)
        manifest.require_labels(args.labels)
        return manifest
    if getattr(args, "label_columns", None):
        raise ParameterError(
            "a store has one label column: say which CSV has one for each class with --labels clips.csv"
        )
    foreign = [name for role, name in asked.items() if name not in (None, role)]
    if foreign:
        raise ParameterError(
            f"a store has the columns label, group and split, not {foreign[0]!r}: "
            "say which CSV has it with --labels clips.csv"
        )
    return None
