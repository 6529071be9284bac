"""Cells that hold times, and names of columns that promise them."""

from __future__ import annotations

import math
import os
import re

from embedx.errors import ManifestError

__all__ = [
    "is_amount",
    "is_seconds",
    "is_small",
    "is_time",
    "is_vague",
    "looks_like",
    "meaning",
    "parse_seconds",
    "unit_of",
]

_UNITS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0}
_UNITS |= dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3)
_UNITS |= {"min": 60.0, "mins": 60.0, "minute": 60.0, "minutes": 60.0}
_UNITS |= dict.fromkeys(("us", "usec", "microseconds"), 1e-6) | dict.fromkeys(("ns", "nsec", "nanoseconds"), 1e-9)
_COUNTS = frozenset(
    ("sample", "samples", "frame", "frames", "hour", "hours", "day", "days")  # an hour may be one of the day
    + ("tick", "ticks", "beat", "beats", "bar", "bars", "byte", "bytes", "bin", "bins", "block", "blocks")
    + ("step", "steps", "index", "idx", "cs", "ds", "percent", "pct", "pixel", "pixels")
)
_FILLERS = frozenset({"time", "times", "segment", "seg", "event", "in", "of", "the", "at", "t", "ts"})
_KINDS = {"start": "start", "begin": "start", "beginning": "start", "onset": "start", "tmin": "start"}
_KINDS |= {"beg": "start", "from": "start", "to": "stop"}
_KINDS |= {"stop": "stop", "end": "stop", "ending": "stop", "tmax": "stop", "finish": "stop"}
_KINDS |= {"duration": "duration", "dur": "duration", "length": "duration", "delta": "duration", "offset": "offset"}
_NOT_OF_THE_FILE = frozenset({"source", "clock", "date"})
_MAYBE = dict.fromkeys(("in", "st", "t", "ts", "xmin", "anfang", "beginn", "debut", "inicio", "inizio"), "start")
_MAYBE |= dict.fromkeys(("time", "timestamp", "timestamps", "center", "centre", "center time", "peak time"), "start")
_MAYBE |= dict.fromkeys(("out", "et", "xmax", "ende", "fin"), "stop")
"""Whole names that may mean a time in the file and often mean something else, so that they are never guessed."""
_FORMAT = re.compile(r"(?<![a-z])(?:(?:h{1,2}:)?m{1,2}:)?s{1,2}(?:[.,](?:ms|msec|f+|z+|s+))?(?![a-z])")
"""How a header writes the form of its cells, as ELAN does: ``hh:mm:ss.ms``, ``ss.msec``."""
_GLUED = re.compile(
    r"t?(start|begin|onset|offset|stop|end|duration|dur)(s|secs?|seconds?|ms|msecs?|min|samples?|frames?|idx)?"
)
_ODD_UNIT = re.compile(r"%|[(\[/]\s*\d")
_AMOUNT = re.compile(r"[+-]?\d[\d.,:\s]*[^\W\d_]{0,12}")
_DAY = 86_400.0
_CLOCK = re.compile(r"(?:(\d+) days? ?)?(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d+)?)")


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("\u00b5", "u").replace("\u03bc", "u")
    joined = re.sub(r"(?<![a-z])t[\s_](min|max)(?![a-z])", r"t\1", _FORMAT.sub("s", spaced))
    words = [word.removesuffix("time") or word for word in re.findall(r"[a-z]+", joined)]
    return [part for word in words for part in _unglued(word)]


def _unglued(word: str) -> list[str]:
    """Part a name such as ``startsec`` or ``tend``."""
    found = _GLUED.fullmatch(word)
    return [part for part in found.groups() if part] if found else [word]


def unit_of(name: str) -> float | None:
    """Return how many seconds the numbers below a header count; None where they count anything else.

    Examples
    --------
    >>> unit_of("Begin Time (s)"), unit_of("start_ms"), unit_of("start (min)"), unit_of("end_sample")
    (1.0, 0.001, 60.0, None)
    >>> unit_of("Begin Time - ss.msec"), unit_of("start (%)"), unit_of("start (100ns)")
    (1.0, None, None)
    """
    words = _words(name)
    if _COUNTS.intersection(words) or _ODD_UNIT.search(name):
        return None
    return next((_UNITS[word] for word in words if word in _UNITS), 1.0)


def meaning(name: str) -> str | None:
    """Return ``start``, ``stop``, ``duration`` or ``offset`` where a header says just that, in seconds or their like.

    Examples
    --------
    >>> [meaning(name) for name in ("Begin Time (s)", "endsec", "duration_ms", "start_sample", "started")]
    ['start', 'stop', 'duration', None, None]
    """
    if unit_of(name) is None:
        return None
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
    if is_vague(name):
        return _MAYBE[" ".join(words)]
    return next((_KINDS[word] for word in words if word in _KINDS), None)


def is_vague(name: str) -> bool:
    """Say whether a header may mean a time in the file and as well that of the day."""
    return " ".join(_words(name)) in _MAYBE


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
        Seconds that a plain number counts.

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
    value = _number(text)
    if not (math.isfinite(value) and value >= 0):
        plain = text.replace(",", ".")
        point = f". Write it with a decimal point: {plain}" if plain != text and is_time(plain) else ""
        raise ManifestError(
            f"{place} row {number}, column {column!r}: {text!r} is no number of seconds (0 or more){point}"
        )
    return value if unit == 1.0 or ":" in text else round(value * unit, 9)


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


def is_amount(text: str) -> bool:
    """Say whether a cell is meant as a time or a number, readable or not: ``0,5`` and ``1.5 s``, but no date."""
    return is_time(text) or _AMOUNT.fullmatch(text) is not None


def is_small(text: str) -> bool:
    """Say whether a cell is a plain number of seconds that a recording may have."""
    return ":" not in text and 0 <= _number(text.replace(",", ".")) < _DAY


def is_seconds(text: str) -> bool:
    """Say whether a cell is a time within a file: a number, or days and a time; ``10:05:03`` may be one of the day."""
    return is_time(text) and (":" not in text or "day" in text)
