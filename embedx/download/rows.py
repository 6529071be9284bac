"""The rows of a CSV of links, read and understood one by one."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from embedx.download.links import Link, read_link
from embedx.errors import ManifestError, unknown_name
from embedx.manifest import parse_seconds

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
    """One row of the CSV: its number (2 is the first below the header), link, label, section and title."""

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
    header, cells = _read_csv(place)
    columns = _choose_columns(place, header, {"url": url_column, "label": label_column})
    rows = (_row(place, number, cell, columns, allow_private) for number, cell in enumerate(cells, start=2))
    return columns, tuple(_repaired(row, repairs or {}) for row in rows)


def _repaired(row: LinkRow, repairs: Mapping[str, str]) -> LinkRow:
    if row.link.damage is None or row.repair_key not in repairs:
        return row
    return replace(row, link=replace(read_link(repairs[row.repair_key]), text=row.link.text))


def _read_csv(place: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        text = place.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{place} is not UTF-8 text (byte {error.start}): save it as UTF-8 CSV") from error
    except OSError as error:
        raise ManifestError(f"{place} cannot be read: {error.strerror}. Give a CSV with a column of links") from error
    csv.field_size_limit(10_000_000)
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", restval="")
        cells = list(reader)
    except csv.Error as error:
        raise ManifestError(f"{place} cannot be read as CSV: {error}") from error
    if not cells:
        raise ManifestError(f"{place} holds no rows: it needs a header with a column of links and one row a clip")
    return [name or "" for name in reader.fieldnames or []], cells


def _choose_columns(place: Path, header: Sequence[str], wanted: Mapping[str, str | None]) -> dict[str, str]:
    by_lower = {name.strip().lower(): name for name in reversed(header)}
    chosen: dict[str, str] = {}
    for role, usual in _USUAL_NAMES.items():
        name = wanted.get(role) or next((by_lower[usual_name] for usual_name in usual if usual_name in by_lower), None)
        if name is not None and name not in header:
            raise ManifestError(f"{place}: {unknown_name('column', name, header)}")
        if name is not None:
            chosen[role] = name
    if "url" not in chosen:
        raise ManifestError(
            f"{place} has no column of links (its columns: {', '.join(header)}): name it with --url-column"
        )
    return chosen


def _row(place: Path, number: int, cell: Mapping[str, str], columns: Mapping[str, str], allow_private: bool) -> LinkRow:
    text = {role: (cell[name] or "").strip() for role, name in columns.items()}
    link = read_link(text["url"], root=place.parent, allow_private=allow_private)
    times = {
        role: parse_seconds(place, number, columns[role], text[role]) for role in ("start", "stop") if role in columns
    }
    row = LinkRow(number, link, text.get("label") or None, title=text.get("title", ""), **times)
    if row.stop is not None and row.stop <= (row.start or 0.0):
        raise ManifestError(f"{place} row {number}: the section stops at {row.stop:g} s, not after its start")
    return row
