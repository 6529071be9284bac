"""Thresholds, lengths and smoothing that suit recordings whose truth is known: the development recordings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from embedx.checks import require_choice
from embedx.errors import ParameterError
from embedx.timeline.event_scores import score_events, score_segments
from embedx.timeline.segments import LOW_SHARE, Segment, SegmentOptions, find_segments
from embedx.timeline.time_line import TimeLine

__all__ = ["choose_options"]

_HIGH = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_WINDOWS = (0.0, 0.5, 1.0)
"""Smoothing, shortest segments and closed gaps that are tried, in windows."""


def choose_options(
    recordings: Sequence[tuple[TimeLine, Sequence[Segment]]],
    *,
    by: str = "events",
    resolution: float = 1.0,
    collar: float = 0.2,
    offset_share: float | None = 0.5,
) -> SegmentOptions:
    """Return the options with the largest F1 on recordings whose truth is known, class by class.

    One smoothing is chosen for all classes; thresholds (``low`` is 0.7 of ``high``), shortest segment and closed gap
    for each. What is equally good stays nearest to the options that the time lines were made with. A class without a
    true event keeps them. Scores on these same recordings flatter: judge on others.

    Parameters
    ----------
    recordings : sequence of (TimeLine, sequence of Segment)
        What was heard, all with the same options, and what is true.
    by : {'events', 'segments'}
        Whether the F1 is that of `score_events` or that of `score_segments`.
    resolution, collar, offset_share
        As in these.

    Raises
    ------
    ParameterError
        No such measure, or no true event of any class that a time line knows.

    Examples
    --------
    >>> import numpy as np
    >>> starts = np.arange(6.0)
    >>> proba = np.array([[0.1], [0.3], [0.3], [0.1], [0.0], [0.0]])
    >>> line = TimeLine(path="a.wav", classes=("dog",), start_seconds=starts, end_seconds=starts + 1, proba=proba)
    >>> chosen = choose_options([(line, [Segment(1.0, 3.0, "dog")])])
    >>> [(one.onset_seconds, one.offset_seconds) for one in line.with_options(chosen).segments]
    [(1.0, 3.0)]
    """
    require_choice("by", by, ("events", "segments"))
    judge: Any = {"events": score_events, "segments": score_segments}[by]
    sizes: Any = {"collar": collar, "offset_share": offset_share} if by == "events" else {"resolution": resolution}
    true = {segment.label for _, truth in recordings for segment in truth}
    start = recordings[0][0].options if recordings else SegmentOptions()
    classes = [n for line, _ in recordings[:1] for n in line.classes if n in true and n not in start.leave_out]
    if not classes:
        raise ParameterError("no true event is of a class that the model knows: there is nothing to choose by")

    def worth(name: str, options: SegmentOptions) -> float:
        pairs = [(_only(truth, name), _of_class(line, name, options)) for line, truth in recordings]
        return float(judge(pairs, **sizes)["overall"]["f1"] or 0.0)

    window = float((recordings[0][0].end_seconds - recordings[0][0].start_seconds).max())
    found = [_best_with(start, smooth, classes, window, worth) for smooth in _near(start.smooth_seconds, window)]
    return max(found, key=lambda pair: round(pair[0], 9))[1]


def _best_with(
    start: SegmentOptions, smooth: float, classes: Sequence[str], window: float, worth: Any
) -> tuple[float, SegmentOptions]:
    """Return mean F1 and options of the best choice of each class with one smoothing."""
    by_class = {name: dict(values) for name, values in start.by_class.items()}
    total = 0.0
    for name in classes:
        tries = [replace(start, smooth_seconds=smooth, by_class={name: one}) for one in _tries(start, name, window)]
        scores = [round(worth(name, options), 9) for options in tries]
        best = scores.index(max(scores))
        by_class[name] = dict(tries[best].by_class[name])
        total += scores[best]
    return total / len(classes), replace(start, smooth_seconds=smooth, by_class=by_class)


def _tries(start: SegmentOptions, name: str, window: float) -> Iterator[dict[str, float]]:
    """Yield options of a class, those that it has first."""
    own = {option: start.of(name, option) for option in ("high", "low", "merge_seconds", "min_seconds")}
    yield own
    limits = sorted(_HIGH, key=lambda high: abs(high - own["high"]))
    lengths = (_near(own["merge_seconds"], window), _near(own["min_seconds"], window))
    for high, merge, least in itertools.product(limits, *lengths):
        yield {"high": high, "low": round(LOW_SHARE * high, 6), "merge_seconds": merge, "min_seconds": least}


def _near(own: float, window: float) -> list[float]:
    """Return what is there, then what is tried beside it, in seconds."""
    return [own, *(round(n * window, 6) for n in _WINDOWS if round(n * window, 6) != own)]


def _only(segments: Sequence[Segment], name: str) -> list[Segment]:
    return [segment for segment in segments if segment.label == name]


def _of_class(line: TimeLine, name: str, options: SegmentOptions) -> tuple[Segment, ...]:
    column = line.classes.index(name)
    options = replace(options, leave_out=())
    return find_segments(line.proba[:, [column]], line.start_seconds, line.end_seconds, (name,), options)
