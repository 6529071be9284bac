"""A CSV of links becomes the clips to ask for, and a report of what is damaged, before the first request."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedx.download.links import Link, read_link
from embedx.errors import ManifestError, unknown_name

__all__ = ["PROCEDURE", "Ask", "Conflict", "LinkPlan", "LinkRow", "draw_order", "plan_links", "plan_splits"]

PROCEDURE = "1"
"""Version of fetching and decoding: part of every key, so that a clip made differently has another name."""

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


@dataclass(frozen=True, slots=True)
class Ask:
    """One clip that is wanted.

    Parameters
    ----------
    row : LinkRow
        Where it comes from; of repeated rows the first.
    start : float or str
        Seconds, or ``"middle"`` or ``"random"``.
    seconds : float or None
        Length; None is to the end.
    part, n_parts : int
        Which of several clips of one video.
    """

    row: LinkRow
    start: float | str
    seconds: float | None
    part: int = 0
    n_parts: int = 1

    @property
    def label(self) -> str | None:
        """The class."""
        return self.row.label

    @property
    def url(self) -> str:
        """The canonical address or local path."""
        return self.row.link.url or ""

    @property
    def section(self) -> tuple[str, float | str, float | None]:
        """What makes two rows the same clip."""
        return (self.url, self.start, self.seconds)

    @property
    def key(self) -> str:
        """16 hexadecimal digits: the name of the clip's file."""
        facts = [PROCEDURE, self.url, self.start, self.seconds, self.part, self.n_parts]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def start_seconds(self, duration: float | None) -> float:
        """Return where the clip begins in a source of this duration (seconds; None when it is not known)."""
        if not isinstance(self.start, str):
            return self.start
        room = max(0.0, (duration or 0.0) - (self.seconds or 0.0))
        if self.seconds is None:
            return 0.0
        if self.start == "random":
            return room * int(self.key, 16) / 16**16
        centre = (duration or 0.0) * (self.part + 0.5) / self.n_parts
        return min(max(0.0, centre - self.seconds / 2), room)


@dataclass(frozen=True, slots=True)
class Conflict:
    """One clip with several labels: its address, the labels and the rows."""

    url: str
    labels: tuple[str, ...]
    rows: tuple[LinkRow, ...]


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """What a CSV of links holds.

    Parameters
    ----------
    place : Path
        The CSV.
    columns : mapping of str to str
        Which column was read as what.
    rows : tuple of LinkRow
        All rows, damaged ones too.
    asks : tuple of Ask
        Unique clips to fetch, in the order of the file.
    damaged : tuple of LinkRow
        Rows that can never be fetched; ``row.link.damage`` is the cause.
    n_repeats : int
        Whole rows that repeat an earlier clip.
    conflicts : tuple of Conflict
        Clips with several labels.
    """

    place: Path
    columns: Mapping[str, str]
    rows: tuple[LinkRow, ...]
    asks: tuple[Ask, ...]
    damaged: tuple[LinkRow, ...]
    n_repeats: int
    conflicts: tuple[Conflict, ...]

    @property
    def n_unique(self) -> int:
        """Different clips among the whole rows, conflicting ones included."""
        return len(self.rows) - len(self.damaged) - self.n_repeats

    @property
    def causes(self) -> Counter[str]:
        """Damaged rows by cause."""
        return Counter(row.link.damage or "" for row in self.damaged)


def plan_links(
    location: str | os.PathLike[str],
    *,
    url_column: str | None = None,
    label_column: str | None = None,
    start: float | str = "middle",
    seconds: float | None = 30.0,
    clips_per_video: int = 1,
    conflicts: str = "drop",
    allow_private: bool = False,
) -> LinkPlan:
    """Know what a CSV of links holds before anything is requested.

    Parameters
    ----------
    location : path-like
        CSV with a header (comma, semicolon or tab; UTF-8, with or without BOM).
    url_column, label_column : str, optional
        Column names; guessed from the usual ones.
    start : float or str
        Where a clip begins: seconds, ``"middle"`` or ``"random"``; a start column decides per row.
    seconds : float or None
        Length of a clip; None is the whole; a stop column decides per row.
    clips_per_video : int
        Clips of every video whose row names no section, spread evenly.
    conflicts : {"drop", "first"}
        A clip with several labels is left out, or keeps the first one.
    allow_private : bool
        Whether addresses of this machine and of private networks may be fetched.

    Raises
    ------
    ManifestError
        Nothing there, not readable, no such column, a section that is none.
    """
    place = Path(location)
    header, cells = _read_csv(place)
    columns = _choose_columns(place, header, {"url": url_column, "label": label_column})
    rows = tuple(_row(place, number, cell, columns, allow_private) for number, cell in enumerate(cells, start=2))
    whole = [row for row in rows if row.link.damage is None]
    first: dict[tuple[str, float | str, float | None], list[LinkRow]] = {}
    for row in whole:
        first.setdefault(_ask(row, start, seconds).section, []).append(row)
    found = tuple(conflict for same in first.values() if (conflict := _conflict(same)))
    left_out = {id(conflict.rows[0]) for conflict in found} if conflicts == "drop" else set()
    kept = [same[0] for same in first.values() if id(same[0]) not in left_out]
    asks = tuple(ask for row in kept for ask in _parts(_ask(row, start, seconds), clips_per_video))
    damaged = tuple(row for row in rows if row.link.damage is not None)
    return LinkPlan(place, columns, rows, asks, damaged, len(whole) - len(first), found)


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
    times = {role: _seconds(place, number, columns[role], text[role]) for role in ("start", "stop") if role in columns}
    row = LinkRow(number, link, text.get("label") or None, title=text.get("title", ""), **times)
    if row.stop is not None and row.stop <= (row.start or 0.0):
        raise ManifestError(f"{place} row {number}: the section stops at {row.stop:g} s, not after its start")
    return row


def _seconds(place: Path, number: int, column: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ManifestError(f"{place} row {number}, column {column!r}: {text!r} is no number of seconds (0 or more)")
    return value


def _ask(row: LinkRow, start: float | str, seconds: float | None) -> Ask:
    if row.start is None and row.stop is None:
        return Ask(row, start, seconds)
    begin = row.start or 0.0
    return Ask(row, begin, seconds if row.stop is None else row.stop - begin)


def _parts(ask: Ask, n_parts: int) -> list[Ask]:
    if n_parts == 1 or not isinstance(ask.start, str):
        return [ask]
    return [Ask(ask.row, ask.start, ask.seconds, part, n_parts) for part in range(n_parts)]


def _conflict(same: Sequence[LinkRow]) -> Conflict | None:
    labels = tuple(dict.fromkeys(row.label or "" for row in same))
    return Conflict(same[0].link.url or "", labels, tuple(same)) if len(labels) > 1 else None


def draw_order(asks: Iterable[Ask], *, seed: int = 0) -> dict[str | None, list[Ask]]:
    """Return each class's clips in a seeded order that does not change when rows are added.

    Parameters
    ----------
    asks : iterable of Ask
        Clips of all classes.
    seed : int
        Another seed, another order.

    Returns
    -------
    dict of str to list of Ask
        By label; the clips of one video stand together.
    """
    order: dict[str | None, list[Ask]] = {}
    for ask in sorted(
        asks, key=lambda ask: (_rank(seed, "draw", ask.row.link.video), ask.url, str(ask.start), ask.part)
    ):
        order.setdefault(ask.label, []).append(ask)
    return order


def plan_splits(
    clips: Iterable[tuple[str, str | None, str]],
    *,
    valid_fraction: float = 0.0,
    test_fraction: float = 0.0,
    seed: int = 0,
) -> dict[str, str]:
    """Divide clips into train, valid and test so that no group is in two of them.

    Parameters
    ----------
    clips : iterable of (key, label, group)
        What was fetched; a group is a video or a channel.
    valid_fraction, test_fraction : float
        Share of every class's clips, rounded to whole clips.
    seed : int
        Another seed, another division.

    Returns
    -------
    dict of str to str
        Key to ``"train"``, ``"valid"`` or ``"test"``.

    Examples
    --------
    >>> clips = [(str(i), "dog", f"video{i}") for i in range(109)]
    >>> Counter(plan_splits(clips, valid_fraction=0.1).values())
    Counter({'train': 98, 'valid': 11})
    """
    members: dict[str, list[tuple[str, str | None]]] = {}
    for key, label, group in clips:
        members.setdefault(group, []).append((key, label))
    totals = Counter(label for rows in members.values() for _, label in rows)
    split: dict[str, str] = {}
    taken: set[str] = set()
    for name, fraction in (("test", test_fraction), ("valid", valid_fraction)):
        room = Counter({label: round(n * fraction) for label, n in totals.items()})
        for group in sorted(members, key=lambda group: _rank(seed, name, group)):
            needs = Counter(label for _, label in members[group])
            if group not in taken and all(room[label] >= n for label, n in needs.items()):
                taken.add(group)
                room -= needs
                split.update({key: name for key, _ in members[group]})
    return {key: split.get(key, "train") for rows in members.values() for key, _ in rows}


def _rank(seed: int, purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{purpose}:{name}".encode()).digest()
