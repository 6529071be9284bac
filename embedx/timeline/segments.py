"""Probabilities of windows become segments: smoothed, thresholded with hysteresis, merged, and long enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_choice, require_number
from embedx.errors import ParameterError

__all__ = ["LOW_SHARE", "Segment", "SegmentOptions", "find_segments", "window_cells"]

_OF_A_CLASS = ("high", "low", "merge_seconds", "min_seconds")
LOW_SHARE = 0.7
"""Of ``high``, where ``low`` follows from a threshold; that of the defaults."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One event: when it begins and ends, what it is, and how sure the model was.

    Parameters
    ----------
    onset_seconds, offset_seconds : float
        Where it begins and ends in the recording, in seconds.
    label : str
        The class.
    mean_probability, peak_probability : float or None
        Of the class over the segment, weighted by time, and at most, after smoothing; None where it was not a model
        that found the segment.

    Examples
    --------
    >>> Segment(1.5, 4.0, "dog").seconds
    2.5
    """

    onset_seconds: float
    offset_seconds: float
    label: str
    mean_probability: float | None = None
    peak_probability: float | None = None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.offset_seconds - self.onset_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions:
    """How probabilities become segments.

    A segment begins and ends where the probability of its class crosses ``low``, and counts only if it reaches
    ``high`` somewhere in between.

    Parameters
    ----------
    high : float
        What a segment must reach, from 0 to 1.
    low : float
        What it must not fall below, at most ``high``.
    smooth_seconds : float
        Length of the moving average over the probabilities of a class, in seconds; 0 leaves them as they are.
    merge_seconds : float
        A gap between two segments of one class that is no longer than this is closed. Seconds.
    min_seconds : float
        A segment shorter than this is dropped, after merging. Seconds.
    leave_out : tuple of str
        Classes that are no events, such as ``"background"``.
    by_class : mapping of str to mapping of str to float
        ``high``, ``low``, ``merge_seconds`` and ``min_seconds`` of single classes.

    Raises
    ------
    ParameterError
        A value is outside its bounds, or ``low`` lies above ``high``.

    Examples
    --------
    >>> options = SegmentOptions(high=0.6, by_class={"dog": {"high": 0.8}})
    >>> options.of("dog", "high"), options.of("rain", "high")
    (0.8, 0.6)
    >>> SegmentOptions(low=0.9)
    Traceback (most recent call last):
    embedx.errors.ParameterError: low=0.9 lies above high=0.5: give a number from 0 to 0.5
    """

    high: float = 0.5
    low: float = 0.35
    smooth_seconds: float = 0.0
    merge_seconds: float = 0.0
    min_seconds: float = 0.0
    leave_out: tuple[str, ...] = ()
    by_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_number("smooth_seconds", self.smooth_seconds, 0)
        for name in ("", *self.by_class):
            for key in self.by_class.get(name, ()):
                require_choice("option of a class", key, _OF_A_CLASS)
            for key in _OF_A_CLASS:
                require_number(key, self.of(name, key), 0, 1 if key in ("high", "low") else np.inf)
            low, high = self.of(name, "low"), self.of(name, "high")
            if low > high:
                where = f" of {name!r}" if name else ""
                raise ParameterError(f"low={low:g}{where} lies above high={high:g}: give a number from 0 to {high:g}")

    @classmethod
    def from_thresholds(
        cls,
        thresholds: Mapping[str, float],
        *,
        by_class: Mapping[str, Mapping[str, float]] | None = None,
        **given: Any,
    ) -> SegmentOptions:
        """Return options whose ``high`` is, class by class, the threshold from which on a model gives the class.

        ``low`` is 0.7 of ``high``, as it is by default.

        Parameters
        ----------
        thresholds : mapping of str to float
            By class, from 0 to 1.
        by_class, **given
            Options that were asked for; they come before the thresholds.

        Raises
        ------
        ParameterError
            As `SegmentOptions`.

        Examples
        --------
        >>> options = SegmentOptions.from_thresholds({"dog": 0.3, "rain": 0.6}, by_class={"rain": {"high": 0.8}})
        >>> [round(options.of(name, end), 2) for name in ("dog", "rain") for end in ("high", "low")]
        [0.3, 0.21, 0.8, 0.56]
        """
        asked = by_class or {}
        merged = {name: dict(values) for name, values in asked.items()}
        for name, threshold in thresholds.items():
            own = merged.setdefault(name, {})
            high = own.setdefault("high", given.get("high", threshold))
            own.setdefault("low", given.get("low", LOW_SHARE * high))
        return cls(**given, by_class=merged)

    def of(self, name: str, option: str) -> float:
        """Return an option of one class."""
        found: float = self.by_class.get(name, {}).get(option, getattr(self, option))
        return found

    def require_classes(self, classes: Sequence[str]) -> None:
        """Refuse names that are none of a model's classes.

        Raises
        ------
        ParameterError
            Which, and which was probably meant.
        """
        for name in (*self.leave_out, *self.by_class):
            require_choice("class", name, tuple(classes))


def window_cells(
    start_seconds: NDArray[np.float64], end_seconds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Say which part of the time each window speaks for: up to halfway between its centre and the next window's.

    A window is on one side of a boundary more than on the other until its centre crosses it, so that is where its
    label changes. The first window speaks from its beginning, the last one to its end.

    Parameters
    ----------
    start_seconds, end_seconds : ndarray of shape (n,), float64
        Window bounds, ordered.

    Returns
    -------
    left, right : ndarray of shape (n,), float64
        Bounds of the cells; one ends where the next begins, unless there is a gap between the windows.

    Examples
    --------
    >>> left, right = window_cells(np.array([0.0, 1.0, 2.0]), np.array([2.0, 3.0, 4.0]))
    >>> left.tolist(), right.tolist()
    ([0.0, 1.5, 2.5], [1.5, 2.5, 4.0])
    """
    centres = (start_seconds + end_seconds) / 2
    between = (centres[:-1] + centres[1:]) / 2
    left = np.maximum(start_seconds, np.concatenate([start_seconds[:1], between]))
    right = np.minimum(end_seconds, np.concatenate([between, end_seconds[-1:]]))
    return left, right


def find_segments(
    proba: NDArray[np.floating],
    start_seconds: NDArray[np.float64],
    end_seconds: NDArray[np.float64],
    classes: Sequence[str],
    options: SegmentOptions = SegmentOptions(),
) -> tuple[Segment, ...]:
    """Turn the probabilities of windows into segments.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Finite, one row a window.
    start_seconds, end_seconds : ndarray of shape (n,), float64
        Window bounds, ordered.
    classes : sequence of str
        Columns of ``proba``.
    options : SegmentOptions
        Smoothing, thresholds and lengths.

    Returns
    -------
    tuple of Segment
        By onset, then by class; those of one class do not overlap, those of several may.

    Raises
    ------
    ParameterError
        The shapes do not fit, a probability is NaN, or an option names no class.

    Examples
    --------
    >>> starts = np.arange(4.0)
    >>> find_segments(np.array([[0.9], [0.4], [0.1], [0.2]]), starts, starts + 1, ["dog"])
    (Segment(onset_seconds=0.0, offset_seconds=2.0, label='dog', mean_probability=0.65, peak_probability=0.9),)
    """
    values: NDArray[np.float64] = np.asarray(proba, np.float64)
    if values.shape != (len(start_seconds), len(classes)) or not np.isfinite(values).all():
        raise ParameterError(
            f"probabilities of shape {values.shape} for {len(start_seconds)} windows and {len(classes)} classes: give "
            "a finite number for each window and class"
        )
    options.require_classes(classes)
    if not len(values):
        return ()
    values = _smoothed(values, start_seconds, options.smooth_seconds)
    cells = window_cells(start_seconds, end_seconds)
    found = [
        segment
        for column, name in enumerate(classes)
        if name not in options.leave_out
        for segment in _segments_of(name, np.ascontiguousarray(values[:, column]), *cells, options)
    ]
    return tuple(sorted(found, key=lambda segment: segment.onset_seconds))


def _smoothed(proba: NDArray[np.float64], start_seconds: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """Average over an odd number of windows around each; the first and the last row stand for those beyond them."""
    hop = float(np.median(np.diff(start_seconds))) if len(proba) > 1 else np.inf
    half = round((seconds / hop - 1) / 2) if seconds > hop else 0
    half = min(half, len(proba))
    if half < 1:
        return proba
    padded = np.pad(proba, ((half, half), (0, 0)), mode="edge")
    total = padded[: len(proba)].copy()
    for shift in range(1, 2 * half + 1):  # term by term: what a class gets does not depend on how many there are
        total += padded[shift : shift + len(proba)]
    return np.clip(total / (2 * half + 1), proba.min(axis=0), proba.max(axis=0))


def _segments_of(
    name: str,
    values: NDArray[np.float64],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    options: SegmentOptions,
) -> Iterator[Segment]:
    """Yield the segments of one class, in order."""
    runs = _runs(values >= options.of(name, "low"))
    runs = [(first, last) for first, last in runs if values[first : last + 1].max() >= options.of(name, "high")]
    weights = right - left
    for first, last in _merged(runs, left, right, options.of(name, "merge_seconds")):
        of_run = slice(first, last + 1)
        onset, offset = float(left[first]), float(right[last])
        if round(offset - onset, 9) >= options.of(name, "min_seconds"):
            mean = float(np.average(values[of_run], weights=weights[of_run]))
            peak = float(values[of_run].max())
            yield Segment(onset, offset, name, min(mean, peak), peak)


def _runs(active: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return first and last place of each run of True."""
    edges = np.diff(np.concatenate([[False], active, [False]]).astype(np.int8))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))


def _merged(
    runs: Sequence[tuple[int, int]], left: NDArray[np.float64], right: NDArray[np.float64], seconds: float
) -> list[tuple[int, int]]:
    """Close gaps that are no longer than so many seconds."""
    found: list[tuple[int, int]] = []
    for first, last in runs:
        if found and round(left[first] - right[found[-1][1]], 9) <= seconds and seconds > 0:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found
