"""Copies that a cut sets apart: the same sound learned from and tested on, whatever groups and parts say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.manifest import Source

__all__ = ["describe_copies", "find_copied"]


def find_copied(
    cuts: Iterable[tuple[Any, Any]], sources: Sequence[Source], hashes: NDArray[np.uint8]
) -> NDArray[np.intp]:
    """Find clips that are tested on and whose sound is learned from: the same bytes, from times that overlap.

    Parameters
    ----------
    cuts : iterable of (indices, indices)
        What is learned from and what is tested on.
    sources : sequence of Source
        All clips: where each begins and ends.
    hashes : ndarray of uint8, shape (n, 32)
        Of their files; zeros where it is not known.

    Returns
    -------
    ndarray of int
        Ascending indices.
    """
    _, file = np.unique(hashes, axis=0, return_inverse=True)
    file, known = file.ravel(), hashes.any(axis=1)
    repeated = known & (np.bincount(file)[file] > 1)
    if not repeated.any():
        return np.array([], dtype=np.intp)
    start = np.array([source.start_seconds for source in sources], dtype=np.float64)
    stop = np.array([source.stop_seconds for source in sources], dtype=np.float64)  # None is NaN: to the end
    length = np.nanmax([start, stop]) + 1.0
    stop[np.isnan(stop)] = length
    shift = file * (length + 1.0)  # files one after the other on one line of time: only clips of one file overlap
    found: set[int] = set()
    for train, test in cuts:
        learned, tested = (np.asarray(part, dtype=np.intp)[repeated[part]] for part in (train, test))
        if len(learned) and len(tested):
            spans = (axis[part] + shift[part] for part in (tested, learned) for axis in (start, stop))
            found.update(tested[_overlaps(*spans)].tolist())
    return np.array(sorted(found), dtype=np.intp)


def _overlaps(start: Any, stop: Any, others_start: Any, others_stop: Any) -> NDArray[np.bool_]:
    """Say of each span whether one of the others overlaps it."""
    order = np.argsort(others_start)
    latest = np.maximum.accumulate(others_stop[order])
    n_before = np.searchsorted(others_start[order], stop)  # those that begin before it ends
    return (n_before > 0) & (latest[np.maximum(n_before, 1) - 1] > start)


def describe_copies(n_copied: int) -> str:
    """Say what copies on both sides of a cut mean; empty when there are none."""
    if not n_copied:
        return ""
    clips = "clip is a copy of one that is" if n_copied == 1 else "clips are copies of ones that are"
    return (
        f"{n_copied:,} tested {clips} learned from (the same bytes, under another group or part), so the scores "
        "are too good: give copies one group, or leave them out (embedx inspect names them)"
    )
