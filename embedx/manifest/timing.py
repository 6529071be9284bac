"""Cells that hold times, and names of columns that promise them."""

from __future__ import annotations

import math
import os
import re

from embedx.errors import ManifestError

__all__ = ["is_seconds", "is_time", "looks_like", "meaning", "parse_seconds", "unit_of"]

_UNITS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0}
_UNITS |= dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3)
_UNITS |= {"min": 60.0, "mins": 60.0, "minute": 60.0, "minutes": 60.0}
_UNITS |= dict.fromkeys(("us", "usec", "microseconds"), 1e-6) | dict.fromkeys(("ns", "nsec", "nanoseconds"), 1e-9)
_COUNTS = frozenset({"sample", "samples", "frame", "frames", "hour", "hours"})  # an hour may be one of the day
_FILLERS = frozenset({"time", "times", "segment", "seg", "event", "in", "of", "the", "at"})
_KINDS = {"start": "start", "begin": "start", "beginning": "start", "onset": "start", "tmin": "start"}
_KINDS |= {"beg": "start", "from": "start", "to": "stop"}
_KINDS |= {"stop": "stop", "end": "stop", "ending": "stop", "tmax": "stop", "finish": "stop"}
_KINDS |= {"duration": "duration", "dur": "duration", "length": "duration", "delta": "duration", "offset": "offset"}
_NOT_OF_THE_FILE = frozenset({"source", "clock", "date"})
_CLOCK = re.compile(r"(?:(\d+) days? ?)?(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d+)?)")


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    joined = re.sub(r"(?<![a-z])t[\s_](min|max)(?![a-z])", r"t\1", spaced.lower())
    words = re.findall(r"[a-z]+", joined)
    return [word.removesuffix("time") or word for word in words]


def unit_of(name: str) -> float | None:
    """Return how many seconds the numbers below a header count; None where they count samples, frames or hours.

    Examples
    --------
    >>> unit_of("Begin Time (s)"), unit_of("start_ms"), unit_of("start (min)"), unit_of("end_sample")
    (1.0, 0.001, 60.0, None)
    """
    words = _words(name)
    if _COUNTS.intersection(words):
        return None
    return next((_UNITS[word] for word in words if word in _UNITS), 1.0)


def meaning(name: str) -> str | None:
    """Return ``start``, ``stop``, ``duration`` or ``offset`` where a header says just that, in seconds or their like.

    Examples
    --------
    >>> [meaning(name) for name in ("Begin Time (s)", "endTime", "duration_ms", "start_sample", "started")]
    ['start', 'stop', 'duration', None, None]
    """
    left = [word for word in _words(name) if word not in _UNITS and word not in _FILLERS]
    return _KINDS.get(left[0]) if len(left) == 1 else None


def looks_like(name: str) -> str | None:
    """Return what a header may mean that nothing was read from; None where it says nothing of time in the file.

    Examples
    --------
    >>> looks_like("clip_start"), looks_like("end_sample"), looks_like("Begin Clock Time"), looks_like("length")
    ('start', 'stop', None, None)
    """
    words = _words(name)
    if _NOT_OF_THE_FILE.intersection(words) or words == ["length"]:
        return None
    return next((_KINDS[word] for word in words if word in _KINDS), None)


def parse_seconds(
    place: str | os.PathLike[str], number: int, column: str, text: str, *, unit: float = 1.0
) -> float | None:
    """Return the seconds that a cell of a table holds, None for an empty one.

    Parameters
    ----------
    place, number, column : path-like, int, str
        Where the cell is, for messages.
    text : str
        A number, or a time such as ``1:02:03.5`` or ``0 days 00:00:01.5``.
    unit : float
        Seconds that the number counts.

    Raises
    ------
    ManifestError
        The text is no number of seconds; the message names file, row and column.

    Examples
    --------
    >>> parse_seconds("clips.csv", 2, "start", "1.5"), parse_seconds("clips.csv", 2, "start", "1:02.5")
    (1.5, 62.5)
    """
    if not text or text == "NaT":
        return None
    value = _number(text) * unit
    if not (math.isfinite(value) and value >= 0):
        raise ManifestError(f"{place} row {number}, column {column!r}: {text!r} is no number of seconds (0 or more)")
    return value if unit == 1.0 else round(value, 9)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        clock = _CLOCK.fullmatch(text)
    if clock is None:
        return math.nan
    days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
    return days * 86_400 + hours * 3_600 + minutes * 60 + seconds


def is_time(text: str) -> bool:
    """Say whether a cell could be a time."""
    return math.isfinite(_number(text))


def is_seconds(text: str) -> bool:
    """Say whether a cell is a time within a file: a number, or days and a time; ``10:05:03`` may be one of the day."""
    return is_time(text) and (":" not in text or "day" in text)
