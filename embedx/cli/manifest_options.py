"""The columns of a CSV, and ``--labels CSV``: what the commands that read manifests share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from embedx.errors import ParameterError

if TYPE_CHECKING:
    from embedx.manifest import Manifest

__all__ = ["add_labels_arguments", "add_segment_arguments", "named_columns", "read_labels"]

_SEGMENTS = {"start": "where a segment begins", "stop": "where it ends", "duration": "how long it is"}


def add_segment_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, of: str = "the CSV") -> None:
    """Declare which columns cut files into segments."""
    for role, says in _SEGMENTS.items():
        parser.add_argument(f"--{role}-column", metavar="NAME", help=f"column of {of} that says {says}; '' reads none")


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
        columns = {**named_columns(args, "label", "group"), "split_column": split_column}
        manifest = read_manifest(args.labels, must_exist=False, **columns)
        manifest.require_labels(args.labels)
        return manifest
    foreign = [name for role, name in asked.items() if name not in (None, role)]
    if foreign:
        raise ParameterError(
            f"a store has the columns label, group and split, not {foreign[0]!r}: "
            "say which CSV has it with --labels clips.csv"
        )
    return None
