"""What looks as if a table was meant otherwise than it was read: warnings of columns and of empty cells."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

from embedx.errors import EmbedxWarning
from embedx.manifest.paths import shorten
from embedx.manifest.split_folders import is_part
from embedx.manifest.table import Table
from embedx.manifest.time_columns import is_amount, is_seconds, is_small, is_vague, looks_like, unit_of

__all__ = ["warn", "warn_of_gaps", "warn_of_no_start", "warn_of_unread"]


def warn_of_unread(
    table: Table, chosen: Mapping[str, str], unread: Sequence[str], wanted: Mapping[str, str | None]
) -> None:
    """Say which columns may hold times, parts or labels and were not read."""
    for name in unread:
        role = _unread_role(name, chosen)
        is_doubtful = is_small if is_vague(name) else is_amount
        if role is not None and wanted.get(role) != "" and any(map(is_doubtful, table.column(name))):
            what = "whole files are used" if not {"start", "stop"} & chosen.keys() else "segments may be too long"
            way = f"Read it with --{role}-column {name!r}" if unit_of(name) else "Write it in seconds"
            warn(
                f"{table.place}: column {name!r} looks like time and was not read: {what}. {way}, or say that it is "
                f"something else with --{role}-column ''"
            )
    parts = [name for name in unread if _names_parts(table.column(name))]
    if parts and "split" not in chosen and wanted.get("split") is None:
        warn(
            f"{table.place}: column {parts[0]!r} names parts of the data (train, test) and was not read: a head may "
            "learn from test clips. Read it with --split-column, or say that there is no split with ''"
        )
    others = [name for name in unread if looks_like(name) is None]
    if "label" not in chosen and wanted.get("label") is None and others:
        warn(
            f"{table.place}: no column was read as the label, so no clip has one (read as nothing: "
            f"{shorten(', '.join(map(repr, others)))}): name it with --label-column, or say that there is none with ''"
        )


def _names_parts(cells: Iterable[str]) -> bool:
    values = set(filter(None, cells))
    return len(values) > 1 and all(map(is_part, values))


def warn_of_no_start(
    table: Table, chosen: Mapping[str, str], unread: Sequence[str], wanted: Mapping[str, str | None]
) -> None:
    """Say where rows of one file may be its segments, whatever the columns that cut them are called."""
    if "start" in chosen or wanted.get("start") == "":
        return
    if "stop" in chosen:
        warn(
            f"{table.place}: column {chosen['stop']!r} was read as the stop and none as the start: every clip begins "
            "at 0 s: name one with --start-column, or say that there is none with ''"
        )
        return
    paths = list(table.column(chosen["path"]))
    n_again = len(paths) - len(set(paths))
    numbers = [name for name in unread if looks_like(name) is None and _differ(paths, list(table.column(name)))]
    if n_again and numbers:
        warn(
            f"{table.place}: {n_again:,} of {len(paths):,} rows name the file of an earlier row. If one of the columns "
            f"{shorten(', '.join(map(repr, numbers)))} says where a segment starts, name it with --start-column"
        )


def _differ(paths: Sequence[str], cells: Sequence[str]) -> bool:
    """Say whether cells are numbers that differ between the rows of one file."""
    return all(map(is_seconds, cells)) and len(set(zip(paths, cells, strict=True))) > len(set(paths))


def _unread_role(name: str, chosen: Mapping[str, str]) -> str | None:
    """Return the role that a column which was not read may have, if nothing else has it."""
    kind = looks_like(name)
    if kind == "offset":
        kind = "start" if "start" not in chosen else "stop"
    ends = "stop" in chosen or "duration" in chosen
    return None if kind is None or kind in chosen or (kind != "start" and ends) else kind


def warn_of_gaps(table: Table, chosen: Mapping[str, str]) -> None:
    """Say where clips have no group, or no part, though there is a column for it."""
    for role, then in (("group", "each of them counts as a group by its file"), ("split", "they are in no part")):
        if role not in chosen:
            continue
        empty = [line for line, cell in zip(table.lines, table.column(chosen[role]), strict=True) if not cell]
        if empty and len(empty) == len(table.rows):
            warn(f"{table.place}: no row has a {role}: the column {chosen[role]!r} is empty")
        elif empty:
            warn(
                f"{table.place}: {len(empty):,} of {len(table.rows):,} rows have no {role} (column {chosen[role]!r}, "
                f"the first is row {empty[0]}): {then}"
            )


def warn(text: str) -> None:
    """Warn of something in a table that is read."""
    warnings.warn(text, EmbedxWarning, stacklevel=6)
