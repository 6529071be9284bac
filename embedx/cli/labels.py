"""``--labels CSV`` and the columns to read from it: what fit, tune, compare and inspect share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from embedx.errors import ParameterError

if TYPE_CHECKING:
    from embedx.manifest import Manifest

__all__ = ["read_labels"]


def read_labels(args: argparse.Namespace, *, split_column: str | None = None) -> Manifest | None:
    """Return the labels, groups and splits to use instead of the store's own, or None for those.

    Parameters
    ----------
    args : argparse.Namespace
        ``labels``, ``label_column`` and ``group_column``.
    split_column : str, optional
        Column of predefined parts.

    Raises
    ------
    ParameterError
        A column is named, but no CSV to read it from, and it is none that every store has.
    ManifestError
        The CSV cannot be used.
    """
    from embedx.manifest import read_manifest

    asked = {"label": args.label_column, "group": args.group_column, "split": split_column}
    if args.labels is not None:
        columns = {f"{role}_column": name for role, name in asked.items()}
        return read_manifest(args.labels, must_exist=False, **columns)
    foreign = [name for role, name in asked.items() if name not in (None, role)]
    if foreign:
        raise ParameterError(
            f"a store has the columns label, group and split, not {foreign[0]!r}: "
            "say which CSV has it with --labels clips.csv"
        )
    return None
