"""Segments as files that others read: CSV, JSON, Audacity, Raven, Praat, RTTM."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from embedx.checks import require_choice
from embedx.files import replace_file
from embedx.timeline.segments import Segment
from embedx.timeline.textgrid import write_textgrid
from embedx.timeline.time_line import TimeLine

__all__ = ["COLUMNS", "FORMATS", "csv_rows", "csv_text", "file_ending", "format_segments", "write_segments"]

FORMATS = ("csv", "json", "audacity", "raven", "textgrid", "rttm")

COLUMNS = ("filename", "onset", "offset", "event_label", "mean_probability", "peak_probability")
"""Of the CSV: the names of DCASE, sed_eval and psds_eval, which are those of a manifest too."""

_ENDINGS = {"audacity": ".txt", "raven": ".selections.txt", "textgrid": ".TextGrid"}

_RAVEN = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")
_RAVEN_MORE = ("Begin Path", "File Offset (s)", "Annotation", "Mean Probability", "Peak Probability")

_HIGHEST_HZ = 8_000.0
"""What encoders hear of a recording at 16 kHz: selections of Raven need a box, not only a time."""


def file_ending(format: str) -> str:
    """Return how a file of a format is named behind the recording's name.

    Examples
    --------
    >>> file_ending("csv"), file_ending("audacity"), file_ending("textgrid")
    ('.csv', '.txt', '.TextGrid')
    """
    require_choice("format", format, FORMATS)
    return _ENDINGS.get(format, f".{format}")


def write_segments(
    line: TimeLine, place: str | os.PathLike[str], *, format: str = "csv", with_windows: bool = False
) -> None:
    """Write the segments of a recording; the file takes its place whole or not at all.

    Parameters
    ----------
    line : TimeLine
        The recording.
    place : path-like
        The file.
    format : {'csv', 'json', 'audacity', 'raven', 'textgrid', 'rttm'}
        What reads it.
    with_windows : bool
        Whether JSON holds the windows and their probabilities, too.

    Raises
    ------
    ParameterError
        No such format.
    OSError
        It cannot be written; what was there is kept.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from embedx import read_segments
    >>> line = TimeLine(
    ...     path="a.wav",
    ...     classes=("dog",),
    ...     start_seconds=np.array([0.0, 1.0]),
    ...     end_seconds=np.array([1.0, 2.0]),
    ...     proba=np.array([[0.9], [0.1]]),
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_segments(line, f"{folder}/a.TextGrid", format="textgrid")
    ...     [(one.segment.label, one.segment.seconds) for one in read_segments(f"{folder}/a.TextGrid")]
    [('dog', 1.0)]
    """
    folder = os.path.dirname(os.path.abspath(place))
    text = format_segments(line, format=format, with_windows=with_windows, below=folder)
    with replace_file(place, newline="") as file:
        file.write(text)


def format_segments(
    line: TimeLine, *, format: str = "csv", with_windows: bool = False, below: str | None = None
) -> str:
    """Return the text of a file of segments.

    Parameters
    ----------
    line, format, with_windows
        As in `write_segments`.
    below : str, optional
        Folder that the recording's path is written relative to, if it is not on another drive; as it is by default.
    """
    require_choice("format", format, FORMATS)
    path = line.path if below is None else os.path.relpath(line.path, below)
    if format == "json":
        return json.dumps(_record(line, path, with_windows), ensure_ascii=False, indent=1) + "\n"
    if format == "audacity":
        return "".join(
            f"{_time(s.onset_seconds)}\t{_time(s.offset_seconds)}\t{_cell(s.label)}\n" for s in line.segments
        )
    if format == "raven":
        return _raven(line.segments, path)
    if format == "textgrid":
        return write_textgrid(line.segments, line.classes, line.seconds)
    if format == "rttm":
        return "".join(_rttm(segment, path) for segment in line.segments)
    return csv_text([COLUMNS, *csv_rows(line.segments, path)])


def csv_rows(segments: Iterable[Segment], path: str) -> list[tuple[Any, ...]]:
    """Return the rows of the CSV, by `COLUMNS`."""
    return [
        (path, _time(s.onset_seconds), _time(s.offset_seconds), s.label, *map(_share, _probabilities(s)))
        for s in segments
    ]


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _probabilities(segment: Segment) -> tuple[float | None, float | None]:
    return segment.mean_probability, segment.peak_probability


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _time(seconds: float) -> str:
    """Return seconds to the microsecond, without zeros at the end; ``2.0``, since readers expect a point."""
    text = f"{seconds:.6f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def _cell(text: str) -> str:
    """Return a text that ends no cell and no line."""
    return re.sub(r"\s", " ", text)


def _raven(segments: Sequence[Segment], path: str) -> str:
    """Return a selection table; File Offset says the time in the file itself, Begin Time that of all open files."""
    lines = ["\t".join((*_RAVEN, *_RAVEN_MORE))]
    for number, segment in enumerate(segments, start=1):
        begin, end = _time(segment.onset_seconds), _time(segment.offset_seconds)
        shares = map(_share, _probabilities(segment))
        box = (number, "Spectrogram 1", 1, begin, end, "0.0", _HIGHEST_HZ)
        lines.append("\t".join(map(str, (*box, _cell(path), begin, _cell(segment.label), *shares))))
    return "\n".join(lines) + "\n"


def _rttm(segment: Segment, path: str) -> str:
    """Return a line of NIST's Rich Transcription Time Marked format; blanks in names, which end a field, become _."""
    name, label = (re.sub(r"\s", "_", text) for text in (os.path.splitext(os.path.basename(path))[0], segment.label))
    confidence = "<NA>" if segment.mean_probability is None else f"{segment.mean_probability:.6f}"
    times = f"{segment.onset_seconds:.6f} {segment.seconds:.6f}"
    return f"SPEAKER {name} 1 {times} <NA> <NA> {label} {confidence} <NA>\n"


def _record(line: TimeLine, path: str, with_windows: bool) -> dict[str, Any]:
    """Return what JSON holds."""
    record: dict[str, Any] = {
        "format": "embedx.timeline",
        "version": 1,
        "recording": path,
        "seconds": line.seconds,
        "classes": list(line.classes),
        "options": asdict(line.options),
        "segments": [asdict(segment) for segment in line.segments],
    }
    if with_windows:
        columns = {"start_seconds": line.start_seconds, "end_seconds": line.end_seconds, "probabilities": line.proba}
        record["windows"] = {name: values.round(6).tolist() for name, values in columns.items()}
    return record
