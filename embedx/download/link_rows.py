"""The rows of a CSV of links, read and understood one by one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from embedx.download.links import Link, read_link
from embedx.errors import ManifestError
from embedx.manifest.columns import choose_columns, choose_times
from embedx.manifest.paths import shorten
from embedx.manifest.table import read_table
from embedx.manifest.time_columns import parse_seconds, unit_of

__all__ = ["LinkRow", "read_rows"]

_USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "url": (
        "url",
        "link",
        "href",
        "uri",
        "video_url",
        "webpage_url",
        "youtube_id",
        "ytid",
        "video_id",
        "id",
        "video",
        "path",
        "file",
    ),
    "label": ("label", "category", "class", "target", "class_name", "y"),
    "start": ("start_seconds", "start", "begin", "onset"),
    "stop": ("stop_seconds", "stop", "end_seconds", "end"),
    "title": ("title", "name"),
}


@dataclass(frozen=True, slots=True)
class LinkRow:
    """One row of the CSV: the line on which it begins, link, label, section and title."""

    number: int
    link: Link
    label: str | None = None
    start: float | None = None
    stop: float | None = None
    title: str = ""

    @property
    def repair_key(self) -> str:
        """What a search for the whole id is remembered by: the damaged cell and the title."""
        return f"{self.link.text}\n{self.title}"


def read_rows(
    location: str | os.PathLike[str],
    *,
    url_column: str | None = None,
    label_column: str | None = None,
    allow_private: bool = False,
    repairs: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], tuple[LinkRow, ...]]:
    """Read a CSV with a header (comma, semicolon or tab; UTF-8, with or without BOM).

    Parameters
    ----------
    location : path-like
        The CSV; paths in it are relative to its folder.
    url_column, label_column : str, optional
        Column names; guessed from the usual ones.
    allow_private : bool
        Whether addresses of this machine and of private networks may be fetched.
    repairs : mapping of str to str, optional
        ``LinkRow.repair_key`` of damaged rows and the ids that were found for them.

    Returns
    -------
    columns : dict of str to str
        Which column was read as what.
    rows : tuple of LinkRow
        All of them, damaged ones too.

    Raises
    ------
    ManifestError
        Nothing there, not readable, no such column, a section that is none.
    """
    place = Path(location)
    table = read_table(place, needs="a column of links")
    columns = choose_columns(table.place, table.header, _USUAL_NAMES, {"url": url_column, "label": label_column})
    choose_times(table, columns, {"duration": ""})  # a length is often that of the whole video
    if "url" not in columns:
        raise ManifestError(
            f"{place} has no column of links (its columns: {shorten(', '.join(table.header))}): "
            "name it with --url-column"
        )
    cells = zip(table.lines, zip(*map(table.column, columns.values()), strict=True), strict=True)
    rows = (_row(place, line, dict(zip(columns, cell, strict=True)), columns, allow_private) for line, cell in cells)
    return columns, tuple(_repaired(row, repairs or {}) for row in rows)


def _repaired(row: LinkRow, repairs: Mapping[str, str]) -> LinkRow:
    if row.link.damage is None or row.repair_key not in repairs:
        return row
    return replace(row, link=replace(read_link(repairs[row.repair_key]), text=row.link.text))


def _row(place: Path, number: int, text: Mapping[str, str], columns: Mapping[str, str], allow_private: bool) -> LinkRow:
    link = read_link(text["url"], root=place.parent, allow_private=allow_private)
    times = {
        role: parse_seconds(place, number, columns[role], text[role], unit=unit_of(columns[role]) or 1.0)
        for role in ("start", "stop")
        if role in columns
    }
    row = LinkRow(number, link, text.get("label") or None, title=text.get("title", ""), **times)
    if row.stop is not None and row.stop <= (row.start or 0.0):
        raise ManifestError(f"{place} row {number}: the section stops at {row.stop:g} s, not after its start")
    return row
