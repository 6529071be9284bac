"""Which column of a table is what, and the clips that its rows name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from embedx.errors import ManifestError, unknown_name
from embedx.manifest.column_warnings import warn_of_gaps, warn_of_no_start, warn_of_unread
from embedx.manifest.paths import FileFinder, relative_uri, shorten
from embedx.manifest.source import KNOWN, require_short, short_number
from embedx.manifest.table import Table, is_data
from embedx.manifest.time_columns import is_amount, is_seconds, meaning, parse_seconds, unit_of

__all__ = ["ROLES", "ClipRow", "Columns", "choose_columns", "choose_roles", "choose_times", "clip_rows", "usual_names"]

TIMES: tuple[str, ...] = ("start", "stop", "duration")
ROLES = ("path", *KNOWN, *TIMES)

_USUAL: Mapping[str, tuple[str, ...]] = {
    "path": (
        *("path", "filepath", "file_path", "audio_path", "filename", "file_name", "file", "audio", "clip", "wav"),
        *("audio_file", "audio_filepath", "audio_filename", "wav_file", "wav_path", "sound_file", "sound_path"),
        *("slice_file_name", "fname", "begin_path", "begin_file"),
    ),
    "label": (
        *("label", "class", "category", "target", "class_name", "y"),
        *("event_label", "class_label", "primary_label", "common_name", "species", "annotation"),
    ),
    "group": ("group", "source_id", "speaker", "speaker_id", "video_id", "video", "session", "recording", "channel"),
    "split": ("split", "fold", "subset", "set", "partition"),
    "start": ("start_seconds", "start", "begin", "onset"),
    "stop": ("stop_seconds", "stop", "end_seconds", "end", "offset_end"),
    "duration": (),
}
"""Names that are guessed, the likeliest first; case, spaces and underscores do not count."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a table was read as what.

    Parameters
    ----------
    names : dict of str to str
        Column by role.
    unread : tuple of str
        The other columns.
    """

    names: dict[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


class ClipRow(NamedTuple):
    """What one row says: its line, the clip, and what is known of it."""

    line: int
    uri: str
    start_seconds: float
    stop_seconds: float | None
    label: str | None
    group: str | None
    split: str | None


def choose_columns(
    place: str, header: Sequence[str], usual: Mapping[str, Sequence[str]], wanted: Mapping[str, str | None]
) -> dict[str, str]:
    """Return the column of each role: the one that was named, else the first of the usual names that there is.

    Parameters
    ----------
    place : str
        What has the header, for messages.
    header : sequence of str
        Names of the columns.
    usual : mapping of str to sequence of str
        Usual names by role.
    wanted : mapping of str to str or None
        Names that were given, by role; an empty one leaves the role out, None guesses it.

    Raises
    ------
    ManifestError
        A named column is not there, or there are several of the name.
    """
    exact = {name.strip().lower(): name for name in reversed(header)}
    loose = {_squash(name): name for name in reversed(header)}
    chosen = {role: _named(place, header, name) for role, name in wanted.items() if name}
    taken = set(chosen.values())
    for role, names in usual.items():
        if wanted.get(role) is None:
            found = [*map(exact.get, names), *(loose.get(_squash(name)) for name in names)]
            free = (name for name in found if name is not None and (role in ("path", "label") or name not in taken))
            guess = next(free, None)
            if guess is not None:
                chosen[role] = guess
    _require_single(place, header, chosen)
    return chosen


def usual_names(role: str, header: Sequence[str]) -> list[str]:
    """Return the names that are usual for a role, the most usual first.

    Examples
    --------
    >>> usual_names("label", ["id", "Class Name", "label"])
    ['label', 'Class Name']
    """
    order = {_squash(name): i for i, name in reversed(list(enumerate(_USUAL[role])))}
    return sorted((name for name in header if _squash(name) in order), key=lambda name: order[_squash(name)])


def _require_single(place: str, header: Sequence[str], chosen: Mapping[str, str]) -> None:
    for role, name in chosen.items():
        if header.count(name) > 1:
            raise ManifestError(f"{place} has {header.count(name)} columns {name!r} (read as {role}): rename one")


def _named(place: str, header: Sequence[str], name: str) -> str:
    if name in header:
        return name
    alike = [one for one in header if _squash(one) == _squash(name)]
    if len(alike) != 1:
        raise ManifestError(f"{place}: {unknown_name('column', name, header)}")
    return alike[0]


def _squash(name: str) -> str:
    """Return what counts of a name: letters and digits, small and composed."""
    letters = unicodedata.normalize("NFC", name).casefold()
    return "".join(letter for letter in letters if letter.isalnum()) or letters


def choose_roles(table: Table, wanted: Mapping[str, str | None]) -> Columns:
    """Find the columns of a manifest, and warn of those that look as if they should have been read.

    Raises
    ------
    ManifestError
        No path column, a named column that is not there, or two that end a segment.
    """
    place, header = table.place, table.header
    chosen = choose_columns(place, header, _USUAL, wanted)
    if "path" not in chosen:
        raise ManifestError(_no_path(place, header))
    for role in ("start", "stop"):  # UrbanSound8K's: times in the recording that the file was cut from
        if _squash(chosen["path"]) == "slicefilename" and wanted.get(role) is None:
            chosen.pop(role, None)
            wanted = {**wanted, role: ""}
    choose_times(table, chosen, wanted)
    chosen = {role: chosen[role] for role in ROLES if role in chosen}
    unread = tuple(name for name in header if name.strip() and name not in chosen.values())
    warn_of_unread(table, chosen, unread, wanted)
    warn_of_no_start(table, chosen, unread, wanted)
    warn_of_gaps(table, chosen)
    return Columns(chosen, unread)


def _no_path(place: str, header: Sequence[str]) -> str:
    told = f"{place} has no path column (its columns: {shorten(', '.join(header))}): name it with --path-column"
    if is_data(header):
        return f"{told}. If its first row is a clip already, write a header above it, such as path,label"
    return told


def choose_times(table: Table, chosen: dict[str, str], wanted: Mapping[str, str | None]) -> None:
    """Add the columns that begin and end a segment where their names say it in other words.

    Parameters
    ----------
    table : Table
        The table.
    chosen : dict of str to str
        Column by role; changed.
    wanted : mapping of str to str or None
        Names that were given, by role.
    """
    every = _find_times(table, chosen)
    found = {kind: names[0] for kind, names in every.items()}
    free = {role for role in TIMES if wanted.get(role) is None and role not in chosen}
    if "start" in free and "start" in found:
        chosen["start"] = found["start"]
    if "stop" in free and "duration" not in chosen and "stop" in found:
        chosen["stop"] = found["stop"]
    ends = "stop" in chosen or "duration" in chosen
    if "offset" in found and "start" not in chosen and "start" in free and (ends or "duration" in found):
        chosen["start"] = found["offset"]  # where a segment lies in the file, as in NeMo's and lhotse's lists
    elif "offset" in found and "onset" in _squash(chosen.get("start", "")) and "stop" in free and not ends:
        chosen["stop"] = found["offset"]
    if "duration" in free and "duration" in found and "start" in chosen and "stop" not in chosen:
        chosen["duration"] = found["duration"]
    _require_one_end(table.place, chosen, wanted)
    _require_agreement(table, every, chosen, wanted)
    _require_single(table.place, table.header, chosen)
    for role in TIMES:
        if role in chosen and unit_of(chosen[role]) is None:
            raise ManifestError(
                f"{table.place}: column {chosen[role]!r} counts samples, frames, hours or the like: give a column of "
                f"seconds, milliseconds or minutes, or leave it out with --{role}-column ''"
            )


def _find_times(table: Table, chosen: Mapping[str, str]) -> dict[str, list[str]]:
    """Return columns whose names mean times, by what they mean; clocks may be those of the day."""
    found: dict[str, list[str]] = {}
    for name in sorted(table.header, key=lambda name: "length" in _squash(name)):  # which may be that of the file
        kind = meaning(name)
        if kind is not None and name not in chosen.values() and any(map(_is_meant, table.column(name))):
            found.setdefault(kind, []).append(name)
    return found


def _require_agreement(
    table: Table, found: Mapping[str, Sequence[str]], chosen: Mapping[str, str], wanted: Mapping[str, str | None]
) -> None:
    """Refuse two columns of one meaning and other times where the first was taken and none was named."""
    for role in TIMES:
        for first, *others in found.values():
            if chosen.get(role) == first and wanted.get(role) is None:
                for other in others:
                    if "length" not in _squash(other):
                        _require_same_times(table, first, other, role)


def _is_meant(cell: str) -> bool:
    return is_seconds(cell) or (":" not in cell and is_amount(cell))


def _require_same_times(table: Table, one: str, other: str, role: str) -> None:
    """Refuse two columns of one meaning and other times, such as minutes and seconds that are to be added."""
    units = unit_of(one) or 1.0, unit_of(other) or 1.0
    for line, *cells in zip(table.lines, table.column(one), table.column(other), strict=True):
        if not all(map(is_seconds, cells)):
            continue
        a, b = (parse_seconds(table.place, line, role, cell, unit=u) for cell, u in zip(cells, units, strict=True))
        if a is not None and b is not None and abs(a - b) > 0.01:
            raise ManifestError(
                f"{table.place} row {line}: the columns {one!r} and {other!r} both mean the {role} and say "
                f"{short_number(a)} s and {short_number(b)} s: name the right one with --{role}-column (minutes and "
                "seconds are written as 1:02.5)"
            )


def _require_one_end(place: str, chosen: dict[str, str], wanted: Mapping[str, str | None]) -> None:
    if "stop" not in chosen or "duration" not in chosen:
        return
    if wanted.get("stop"):
        raise ManifestError(f"{place}: a stop column and a duration column both end a segment: name one of them")
    del chosen["stop"]


def clip_rows(table: Table, columns: Columns, root: Path) -> Iterator[ClipRow]:
    """Yield what each row of a table says.

    Raises
    ------
    ManifestError
        A row without a path, with a time that is none, with a segment that ends before it begins, or with a text
        that is too long.
    """
    at = {role: table.header.index(name) for role, name in columns.names.items()}
    units = {role: unit_of(columns.names[role]) or 1.0 for role in TIMES if role in at}
    finder = FileFinder(root)
    for line, row in zip(table.lines, table.rows, strict=True):
        path = row[at["path"]]
        if not path.strip() or "\0" in path:
            name = columns.names["path"]
            raise ManifestError(f"{table.place} row {line}, column {name!r}: no path. Fill it in or delete the row")
        texts = [row[at[role]].strip() or None if role in at else None for role in KNOWN]
        for role, text in zip(KNOWN, texts, strict=True):
            require_short(text, f"{table.place} row {line}: the {role}")
        times = {
            role: parse_seconds(table.place, line, columns.names[role], row[at[role]].strip(), unit=unit)
            for role, unit in units.items()
        }
        start, stop = _segment(f"{table.place} row {line}", times)
        yield ClipRow(line, relative_uri(finder.find(path), root), start, stop, *texts)


def _segment(where: str, times: Mapping[str, float | None]) -> tuple[float, float | None]:
    start, stop, duration = times.get("start") or 0.0, times.get("stop"), times.get("duration")
    if duration is not None:
        stop = round(start + duration, 9)
    if stop is not None and stop <= start:
        raise ManifestError(
            f"{where}: the segment stops at {short_number(stop)} s, not after its start at {short_number(start)} s"
        )
    return start, stop
