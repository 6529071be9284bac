"""TimeLine: the windows, the probabilities and the segments of one recording."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from embedx.text import as_html, count
from embedx.timeline.segments import Segment, SegmentOptions, find_segments

__all__ = ["TimeLine"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TimeLine:
    """What a model heard in one recording, and when.

    Parameters
    ----------
    path : str
        The recording.
    classes : tuple of str
        Columns of ``proba``.
    start_seconds, end_seconds : ndarray of shape (n,), float64
        Bounds of the windows in the recording, ordered, in seconds.
    proba : ndarray of shape (n, n_classes), float64
        Probabilities of the windows; rows sum to one, unless a clip of the model may have several labels.
    options : SegmentOptions
        How the segments were found.

    Attributes
    ----------
    segments : tuple of Segment
        By onset; found when the time line is made. Those of different classes may overlap.

    Examples
    --------
    >>> starts = np.arange(3.0)
    >>> line = TimeLine(
    ...     path="a.wav",
    ...     classes=("cat", "dog"),
    ...     start_seconds=starts,
    ...     end_seconds=starts + 1,
    ...     proba=np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]),
    ... )
    >>> [(s.onset_seconds, s.offset_seconds, s.label) for s in line.segments]
    [(0.0, 2.0, 'cat'), (2.0, 3.0, 'dog')]
    >>> [s.label for s in line.with_options(SegmentOptions(high=0.85)).segments]
    ['cat']
    """

    path: str
    classes: tuple[str, ...]
    start_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    proba: NDArray[np.float64]
    options: SegmentOptions = field(default_factory=SegmentOptions)
    segments: tuple[Segment, ...] = field(init=False)

    def __post_init__(self) -> None:
        found = find_segments(self.proba, self.start_seconds, self.end_seconds, self.classes, self.options)
        object.__setattr__(self, "segments", found)

    def __len__(self) -> int:
        return len(self.start_seconds)

    def __repr__(self) -> str:
        return f"TimeLine({self.path!r}, {count(len(self), 'window')}, {count(len(self.segments), 'segment')})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the segments."""
        header = ("onset", "offset", "label", "mean", "peak")
        rows = [(f"{s.onset_seconds:.2f}", f"{s.offset_seconds:.2f}", s.label, *_shares(s)) for s in self.segments[:50]]
        return as_html(repr(self), rows, header=header)

    @property
    def seconds(self) -> float:
        """Where the last window ends."""
        return float(self.end_seconds[-1]) if len(self) else 0.0

    @property
    def labels(self) -> NDArray[np.object_]:
        """Most probable class of each window, shape (n,)."""
        return np.array(self.classes, dtype=object)[self.proba.argmax(axis=1)]

    def with_options(self, options: SegmentOptions) -> TimeLine:
        """Return the same windows with segments found another way; nothing is computed anew."""
        return replace(self, options=options)


def _shares(segment: Segment) -> tuple[str, str]:
    return f"{segment.mean_probability:.2f}", f"{segment.peak_probability:.2f}"
