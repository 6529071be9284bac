"""A CSV of links becomes the clips to ask for, and a report of what is damaged, before the first request."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedx.download.link_rows import LinkRow, read_rows

__all__ = ["PROCEDURE", "ClipRequest", "Conflict", "LinkPlan", "plan_links"]

PROCEDURE = "1"
"""Version of fetching and decoding: part of every key, so that a clip made differently has another name."""


@dataclass(frozen=True, slots=True)
class ClipRequest:
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
    requests : tuple of ClipRequest
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
    requests: tuple[ClipRequest, ...]
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
    repairs: Mapping[str, str] | None = None,
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
    repairs : mapping of str to str, optional
        ``LinkRow.repair_key`` of damaged rows and the ids that were found for them.

    Raises
    ------
    ManifestError
        Nothing there, not readable, no such column, a section that is none.
    """
    columns, rows = read_rows(
        location, url_column=url_column, label_column=label_column, allow_private=allow_private, repairs=repairs
    )
    whole = [row for row in rows if row.link.damage is None]
    first: dict[tuple[str, float | str, float | None], list[LinkRow]] = {}
    for row in whole:
        first.setdefault(_request(row, start, seconds).section, []).append(row)
    found = tuple(conflict for same in first.values() if (conflict := _conflict(same)))
    left_out = {id(conflict.rows[0]) for conflict in found} if conflicts == "drop" else set()
    kept = [same[0] for same in first.values() if id(same[0]) not in left_out]
    requests = tuple(request for row in kept for request in _parts(_request(row, start, seconds), clips_per_video))
    damaged = tuple(row for row in rows if row.link.damage is not None)
    return LinkPlan(Path(location), columns, rows, requests, damaged, len(whole) - len(first), found)


def _request(row: LinkRow, start: float | str, seconds: float | None) -> ClipRequest:
    if row.start is None and row.stop is None:
        return ClipRequest(row, start, seconds)
    begin = row.start or 0.0
    return ClipRequest(row, begin, seconds if row.stop is None else row.stop - begin)


def _parts(request: ClipRequest, n_parts: int) -> list[ClipRequest]:
    if n_parts == 1 or not isinstance(request.start, str):
        return [request]
    return [ClipRequest(request.row, request.start, request.seconds, part, n_parts) for part in range(n_parts)]


def _conflict(same: Sequence[LinkRow]) -> Conflict | None:
    labels = tuple(dict.fromkeys(row.label or "" for row in same))
    return Conflict(same[0].link.url or "", labels, tuple(same)) if len(labels) > 1 else None
