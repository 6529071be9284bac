"""Praat's TextGrid: interval tiers, one a class, written and read as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from embedx.errors import ManifestError
from embedx.timeline.segments import Segment

__all__ = ["is_textgrid", "read_textgrid", "write_textgrid"]

_VALUE = re.compile(r'"(?:[^"]|"")*"|(?<![^\s])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![^\s])|<exists>')
"""Free-standing texts and numbers: what Praat itself reads, whatever is written around them."""


def is_textgrid(text: str) -> bool:
    """Say whether a text is a TextGrid, long or short."""
    head = text[:200]
    return "ooTextFile" in head and "TextGrid" in head


def write_textgrid(segments: Sequence[Segment], classes: Sequence[str], seconds: float) -> str:
    """Return a TextGrid with an interval tier for each class; between its segments lie intervals without a text.

    Parameters
    ----------
    segments : sequence of Segment
        Those of one class do not overlap.
    classes : sequence of str
        The tiers.
    seconds : float
        Where the recording ends.

    Examples
    --------
    >>> text = write_textgrid([Segment(1.0, 2.0, "dog")], ["dog"], 3.0)
    >>> text.count("intervals [")
    3
    """
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {seconds!r}"]
    lines += ["tiers? <exists>", f"size = {len(classes)}", "item []:"]
    for number, name in enumerate(classes, start=1):
        spans = list(_filled([segment for segment in segments if segment.label == name], seconds))
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        lines += ["        xmin = 0", f"        xmax = {seconds!r}", f"        intervals: size = {len(spans)}"]
        for i, (start, stop, text) in enumerate(spans, start=1):
            lines += [f"        intervals [{i}]:", f"            xmin = {start!r}", f"            xmax = {stop!r}"]
            lines += [f"            text = {_quoted(text)}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _filled(segments: Sequence[Segment], seconds: float) -> Iterator[tuple[float, float, str]]:
    """Yield intervals without gaps from 0 to the end."""
    now = 0.0
    for segment in segments:
        if segment.onset_seconds > now:
            yield now, segment.onset_seconds, ""
        yield segment.onset_seconds, segment.offset_seconds, segment.label
        now = segment.offset_seconds
    if now < seconds or not segments:
        yield now, seconds, ""


def read_textgrid(text: str, *, place: str) -> tuple[Segment, ...]:
    """Read every interval with a text, of every tier, by onset; tiers of points are no segments.

    Parameters
    ----------
    text : str
        Long or short text format.
    place : str
        What holds it, for messages.

    Raises
    ------
    ManifestError
        It ends early, or is none.

    Examples
    --------
    >>> read_textgrid(write_textgrid([Segment(1.0, 2.0, "dog")], ["dog"], 3.0), place="a.TextGrid")
    (Segment(onset_seconds=1.0, offset_seconds=2.0, label='dog', mean_probability=None, peak_probability=None),)
    """
    values = iter(_VALUE.findall(text))
    try:
        return tuple(sorted(_intervals(values), key=lambda segment: segment.onset_seconds))
    except (StopIteration, RuntimeError, ValueError):
        raise ManifestError(f"{place} is no whole TextGrid of Praat: save it anew as a text file") from None


def _intervals(values: Iterator[str]) -> Iterator[Segment]:
    for _ in range(4):  # type, class, xmin, xmax
        next(values)
    if next(values) != "<exists>":
        return
    for _ in range(int(next(values))):
        kind = _text(next(values))
        for _ in range(3):  # name, xmin, xmax
            next(values)
        for _ in range(int(next(values))):
            times = [float(next(values)) for _ in range(2 if kind == "IntervalTier" else 1)]
            label = _text(next(values)).strip()
            if label and len(times) == 2:
                yield Segment(times[0], times[1], label)


def _text(value: str) -> str:
    if not value.startswith('"'):
        raise ValueError(value)
    return value[1:-1].replace('""', '"')
