"""Label files of Audacity and selection tables of Raven, read as tables of segments."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from embedx.errors import ManifestError
from embedx.manifest.column_warnings import warn
from embedx.manifest.folder import find_beside
from embedx.manifest.table import Table, parse_table

__all__ = ["is_audacity", "is_raven", "read_audacity", "read_raven"]

_TIME = r"\s*\d+(?:[.,]\d+)?"
_AUDACITY = re.compile(rf"{_TIME}\t{_TIME}(\t[^\t]*)?\s*")
_SPAN = "End Time - Begin Time (s)"


def is_audacity(text: str) -> bool:
    """Say whether a text is a label file of Audacity: times and a label between tabs, no header."""
    first = text.lstrip("\r\n").split("\n", 1)[0].rstrip("\r")
    return _AUDACITY.fullmatch(first) is not None


def is_raven(text: str) -> bool:
    """Say whether a text is a selection table of Raven, whatever was added to its columns."""
    header = text.split("\n", 1)[0].rstrip("\r").split("\t")
    return {"Selection", "Begin Time (s)"} <= set(header)


def read_audacity(place: Path, text: str, *, recording: str | None = None) -> Table:
    """Return the labels of a label file as segments of the audio beside it, or of a recording of another name.

    Lines that begin with a backslash hold the frequencies of the label above and say nothing here.

    Raises
    ------
    ManifestError
        No audio of its name lies beside it, or several do.
    """
    why = "a label file of Audacity does not say which recording its times belong to"
    audio = _audio_beside(place, why).name if recording is None else recording
    numbered = [(n, line.rstrip("\r")) for n, line in enumerate(text.split("\n"), start=1)]
    kept = [(n, line) for n, line in numbered if line.strip() and not line.startswith("\\")]
    cells = [(line.split("\t") + ["", ""])[:3] for _, line in kept]
    rows = [[audio, *(time.strip().replace(",", ".") for time in row[:2]), row[2]] for row in cells]
    return Table(str(place), ("path", "start", "stop", "label"), rows, [n for n, _ in kept])


def read_raven(
    place: Path, text: str, wanted: Mapping[str, str | None], *, recording: str | None = None
) -> tuple[Table, dict[str, str | None]]:
    """Return a selection table as segments, and which columns to read; a recording may be named that it does not name.

    Each view of a selection is a row of its own there: they are repeats. ``Begin Time`` counts from the beginning of
    all files that were open in the window, ``File Offset`` from that of the file itself, so it wins.

    Raises
    ------
    ManifestError
        The table does not name its recordings, and no audio of its name lies beside it.
    """
    table = parse_table(str(place), text, quoting=csv.QUOTE_NONE)
    names = {name.strip().lower(): name for name in table.header}
    asked = dict(wanted)
    if asked.get("group") is None:
        asked["group"] = ""  # "Channel" is a channel of the file
    if not asked.get("path"):
        table, asked["path"] = _with_paths(place, table, names, recording)
    if asked.get("start") is None and asked.get("stop") is None and asked.get("duration") is None:
        table = _within_files(table, names, asked)
    return table, asked


def _with_paths(place: Path, table: Table, names: Mapping[str, str], recording: str | None) -> tuple[Table, str]:
    column = names.get("begin path") or names.get("begin file")
    if column is None:
        why = "it has no column 'Begin Path' or 'Begin File', so its recordings are not known"
        audio = _audio_beside(place, why).name if recording is None else recording
        return table.with_column("path", [audio] * len(table.rows)), "path"
    position = table.header.index(column)
    cells = {row[position] for row in table.rows}
    here = {cell: _or_beside(place.parent, cell) for cell in cells}
    rows = [[here[cell] if i == position else cell for i, cell in enumerate(row)] for row in table.rows]
    return Table(table.place, table.header, rows, table.lines), column


def _or_beside(folder: Path, cell: str) -> str:
    """Return a path, or the name beside the table where the path is one of another machine."""
    path = cell.strip()
    name = re.split(r"[\\/]", path)[-1]
    return name if not (folder / path).exists() and (folder / name).exists() else path


def _within_files(table: Table, names: Mapping[str, str], asked: dict[str, str | None]) -> Table:
    begin, end, offset = (names.get(name) for name in ("begin time (s)", "end time (s)", "file offset (s)"))
    path = asked["path"] or ""
    if offset is None:
        if len(set(table.column(path))) > 1:
            warn(
                f"{table.place}: Raven counts 'Begin Time (s)' over all files that were open together, and there is no "
                "column 'File Offset (s)': the times are taken as those within each file. If that is wrong, add the "
                "column in Raven and export again"
            )
        return table
    if begin is None or end is None:
        return table
    asked["start"], asked["duration"] = offset, _SPAN
    return table.with_column(
        _SPAN, [_span(*times) for times in zip(table.column(begin), table.column(end), strict=True)]
    )


def _span(begin: str, end: str) -> str:
    try:
        return repr(round(float(end) - float(begin), 6))
    except ValueError:
        return f"{end} - {begin}"


def _audio_beside(place: Path, why: str) -> Path:
    found = find_beside(place)
    if len(found) == 1:
        return found[0]
    what = f"several lie beside it ({', '.join(path.name for path in found)})" if found else "none lies beside it"
    raise ManifestError(
        f"{place}: {why}; audio of the same name is taken, but {what}. Put the recording there, named "
        f"{place.name.split('.')[0]}.wav or the like, or give a CSV with the columns path, start, stop and label"
    )
