"""Files of segments: what `segment_writers` writes, and every table that names times and labels.

Unlike a manifest, several segments may lie over each other, and the recording need not be there.
"""

from __future__ import annotations

import csv
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from embedx.errors import EmbedxWarning, ManifestError
from embedx.manifest.annotations import is_audacity, is_raven, read_audacity, read_raven
from embedx.manifest.columns import choose_roles, clip_rows
from embedx.manifest.source import require_short
from embedx.manifest.table import Table, parse_table, read_text
from embedx.text import count
from embedx.timeline.segments import Segment
from embedx.timeline.textgrid import is_textgrid, read_textgrid

__all__ = ["NamedSegment", "read_segments"]

_RTTM = re.compile(r"(SPEAKER|LEXEME|NON-LEX|NON-SPEECH|SEGMENT|NOSCORE|SPKR-INFO)\s+\S+\s+\S+\s+\S+\s+\S+\s")
_NO_NAME = "recording"
_PATHS = ("path", "filename", "file", "begin path", "begin file", "file_name", "fname", "audio")


class NamedSegment(NamedTuple):
    """A segment, and the recording that the file names for it, if it names any."""

    recording: str | None
    segment: Segment


def read_segments(place: str | os.PathLike[str]) -> tuple[NamedSegment, ...]:
    """Read the segments of a file, whatever wrote it.

    Known are label files of Audacity, selection tables of Raven, TextGrids of Praat, RTTM, what `write_segments`
    writes as JSON, and CSV or TSV with columns such as ``onset``, ``offset`` and ``event_label``, or ``start``,
    ``stop`` and ``label``, with or without a column that names the recording.

    Parameters
    ----------
    place : path-like
        The file.

    Returns
    -------
    tuple of NamedSegment
        In the order of the file; a row that is there twice is one.

    Raises
    ------
    ManifestError
        It cannot be read, or a row of it is no segment.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> place = pathlib.Path(tempfile.mkdtemp()) / "labels.txt"
    >>> _ = place.write_text("0.5\\t2.0\\tdog\\n1.0\\t3.0\\train\\n")
    >>> [(one.segment.onset_seconds, one.segment.label) for one in read_segments(place)]
    [(0.5, 'dog'), (1.0, 'rain')]
    """
    path = Path(place)
    if path.is_dir():
        raise ManifestError(f"{path} is a folder: give the file that holds the segments")
    text = read_text(path, needs="the columns onset, offset and event_label")
    if not text.strip():
        return ()
    if is_textgrid(text):
        found = [NamedSegment(None, segment) for segment in read_textgrid(text, place=str(path))]
    elif text.lstrip().startswith("{"):
        found = list(_from_json(path, text))
    elif _RTTM.match(_first_line(text)):
        found = list(_from_rttm(path, text))
    else:
        found = list(_from_table(path, text))
    return tuple(dict.fromkeys(found))


def _first_line(text: str) -> str:
    return next(line for line in text.splitlines() if line.strip() and not line.startswith(";;"))


def _from_json(place: Path, text: str) -> Iterator[NamedSegment]:
    try:
        record = json.loads(text)
        rows = [(record["recording"], Segment(**one)) for one in record["segments"]]
        for name, segment in rows:
            float(segment.onset_seconds), float(segment.offset_seconds)
            yield NamedSegment(str(name), segment)
    except (ValueError, TypeError, KeyError) as error:
        raise ManifestError(f"{place} is no time line that embedx wrote as JSON ({type(error).__name__})") from error


def _from_rttm(place: Path, text: str) -> Iterator[NamedSegment]:
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if not cells or line.startswith(";;") or cells[0] in ("SPKR-INFO", "NOSCORE"):
            continue
        try:
            if len(cells) not in (9, 10):
                raise ValueError
            onset, seconds = float(cells[3]), float(cells[4])
            if not (onset >= 0 and seconds > 0):
                raise ValueError
        except ValueError:
            raise ManifestError(f"{place} line {number} is no line of RTTM: {line[:80]!r}") from None
        confidence = None if cells[8] == "<NA>" else float(cells[8])
        yield NamedSegment(cells[1], Segment(onset, round(onset + seconds, 9), cells[7], confidence, None))


def _from_table(place: Path, text: str) -> Iterator[NamedSegment]:
    wanted: dict[str, Any] = dict.fromkeys(("path", "label", "start", "stop", "duration"))
    wanted |= {"group": "", "split": ""}
    if is_audacity(text):
        table, names = read_audacity(place, text, recording=_NO_NAME), False
    elif is_raven(text):
        if "\n" not in text.strip():
            return
        parsed = parse_table(str(place), text, quoting=csv.QUOTE_NONE)
        names = _names_files(parsed)
        table, wanted = read_raven(place, text, wanted, recording=None if names else _NO_NAME)
    elif "\n" not in text.strip():
        return  # a header: nothing was found
    else:
        table = parse_table(str(place), text, needs="the columns onset, offset and event_label")
        names = _names_files(table)
        table = table if names else table.with_column("path", [_NO_NAME] * len(table.rows))
    yield from _from_rows(place, table, wanted, names)


def _names_files(table: Table) -> bool:
    return any(name.strip().lower() in _PATHS for name in table.header)


def _from_rows(place: Path, table: Table, wanted: dict[str, Any], names: bool) -> Iterator[NamedSegment]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmbedxWarning)  # columns that a manifest would miss
        columns = choose_roles(table, wanted)
    if "start" not in columns.names or not {"stop", "duration"} & columns.names.keys():
        raise ManifestError(f"{place} has no columns that say when an event begins and ends, such as onset and offset")
    n_without = 0
    for row in clip_rows(table, columns, place.parent.absolute()):
        require_short(row.label, f"{place} row {row.line}: the label")
        if row.label is None or row.stop_seconds is None:
            n_without += 1
            continue
        segment = Segment(row.start_seconds, row.stop_seconds, row.label)
        yield NamedSegment(row.uri if names else None, segment)
    if n_without:
        warnings.warn(
            f"{place}: {count(n_without, 'row')} without a label or an end are left out", EmbedxWarning, stacklevel=2
        )
