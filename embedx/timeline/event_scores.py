"""Scores of segments against the truth, by the definitions of sed_eval (Mesaros et al., Applied Sciences 6(6), 2016).

Segment-based: the time is cut into pieces of one length, and in each piece a class is there or not. Event-based: an
event is found if one of its class begins within a collar of it, and ends within the collar or a share of its length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_number
from embedx.timeline.segments import Segment

__all__ = ["Pair", "score_events", "score_segments"]

Pair = tuple[Sequence[Segment], Sequence[Segment]]
"""Of one recording: what is true, and what was found."""


def score_segments(
    pairs: Iterable[Pair], *, resolution: float = 1.0, seconds: Sequence[float | None] | None = None
) -> dict[str, Any]:
    """Compare piece by piece which classes are there; several may be at once.

    Parameters
    ----------
    pairs : iterable of (sequence of Segment, sequence of Segment)
        Truth and what was found, recording by recording.
    resolution : float
        Length of a piece in seconds. A segment fills every piece that it touches.
    seconds : sequence of float or None, optional
        How much of each recording is judged; by default up to the last event of either.

    Returns
    -------
    dict
        ``overall`` (``f1``, ``precision``, ``recall``, ``error_rate`` and its parts ``substitutions``, ``deletions``
        and ``insertions``, ``n_true``, ``n_found``, ``n_right``), ``by_class`` (the same without substitutions) and
        ``class_mean``. None where nothing is there to be counted.

    Examples
    --------
    >>> truth, found = [Segment(0.0, 2.0, "dog")], [Segment(0.5, 3.0, "dog")]
    >>> score_segments([(truth, found)])["overall"]["f1"]
    0.8
    """
    require_number("resolution", resolution, 0, open_low=True)
    pairs = [(tuple(truth), tuple(found)) for truth, found in pairs]
    ends = [None] * len(pairs) if seconds is None else list(seconds)
    labels = _labels(pairs)
    total, by_class = _Counts(), {label: _Counts() for label in labels}
    for pair, end in zip(pairs, ends, strict=True):
        last = max((segment.offset_seconds for part in pair for segment in part), default=0.0)
        n_pieces = math.ceil((last if end is None else end) * 1 / resolution)
        truth, found = (_roll(part, labels, n_pieces, resolution) for part in pair)
        right = truth & found
        rows = np.stack([part.sum(axis=1) for part in (truth, found, right)])
        n_true, n_found, n_right = (int(row.sum()) for row in rows)
        substitutions = int((np.minimum(rows[0], rows[1]) - rows[2]).sum())
        deletions, insertions = (int(np.maximum(0, gap).sum()) for gap in (rows[0] - rows[1], rows[1] - rows[0]))
        total.add(n_true, n_found, n_right, substitutions, deletions, insertions)
        for column, label in enumerate(labels):
            by_class[label].add(*(int(part[:, column].sum()) for part in (truth, found, right)))
    return {"resolution": resolution, **_summary(total, by_class)}


def score_events(pairs: Iterable[Pair], *, collar: float = 0.2, offset_share: float | None = 0.5) -> dict[str, Any]:
    """Compare events; each is matched with at most one, so that as many as possible are.

    Parameters
    ----------
    pairs : iterable of (sequence of Segment, sequence of Segment)
        Truth and what was found, recording by recording.
    collar : float
        How far the onset may lie from the true one, in seconds.
    offset_share : float or None
        The offset may lie as far off as the collar, or as this share of the true event's length, whichever is more;
        None judges onsets only.

    Returns
    -------
    dict
        As `score_segments`. An event of another class in the right place is a substitution.

    Examples
    --------
    >>> truth = [Segment(0.0, 2.0, "dog"), Segment(4.0, 5.0, "cat")]
    >>> found = [Segment(0.1, 2.4, "dog"), Segment(4.9, 5.0, "cat")]
    >>> overall = score_events([(truth, found)])["overall"]
    >>> overall["f1"], overall["error_rate"]
    (0.5, 1.0)
    """
    require_number("collar", collar, 0)
    require_number("offset_share", offset_share, 0, optional=True)
    pairs = [(tuple(truth), tuple(found)) for truth, found in pairs]
    labels = _labels(pairs)
    total, by_class = _Counts(), {label: _Counts() for label in labels}
    for truth, found in pairs:
        near = _near(truth, found, collar, offset_share)
        right = _matched(truth, found, near)
        substitutions = _substitutions(near, right)
        n_right = len(right)
        missed, extra = len(truth) - n_right - substitutions, len(found) - n_right - substitutions
        total.add(len(truth), len(found), n_right, substitutions, missed, extra)
        for label, counts in by_class.items():
            n_true, n_found = (sum(segment.label == label for segment in part) for part in (truth, found))
            counts.add(n_true, n_found, sum(truth[i].label == label for i in right))
    return {"collar": collar, "offset_share": offset_share, **_summary(total, by_class)}


def _labels(pairs: Sequence[Pair]) -> list[str]:
    return sorted({segment.label for pair in pairs for part in pair for segment in part})


def _roll(segments: Sequence[Segment], labels: Sequence[str], n_pieces: int, resolution: float) -> NDArray[np.bool_]:
    """Say which class is there in which piece, (n_pieces, n_classes)."""
    roll = np.zeros((n_pieces, len(labels)), bool)
    for segment in segments:
        first = math.floor(segment.onset_seconds * 1 / resolution)
        last = math.ceil(segment.offset_seconds * 1 / resolution)
        roll[first:last, labels.index(segment.label)] = True
    return roll


def _near(
    truth: Sequence[Segment], found: Sequence[Segment], collar: float, offset_share: float | None
) -> list[list[int]]:
    """Return, for each true event, the found ones in the right place, whatever they are called."""
    onsets = np.array([segment.onset_seconds for segment in found])
    order = np.argsort(onsets, kind="stable")
    places = []
    for event in truth:
        slack = collar + 1e-6
        low, high = np.searchsorted(onsets[order], [event.onset_seconds - slack, event.onset_seconds + slack])
        candidates = sorted(order[low:high].tolist())
        places.append([i for i in candidates if _fits(event, found[i], collar, offset_share)])
    return places


def _fits(event: Segment, other: Segment, collar: float, offset_share: float | None) -> bool:
    if math.fabs(event.onset_seconds - other.onset_seconds) > collar:
        return False
    if offset_share is None:
        return True
    return math.fabs(event.offset_seconds - other.offset_seconds) <= max(collar, offset_share * event.seconds)


def _matched(truth: Sequence[Segment], found: Sequence[Segment], near: Sequence[Sequence[int]]) -> dict[int, int]:
    """Match as many events as possible with one of their class each: true event to found one."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    places = [(i, j) for i, some in enumerate(near) for j in some if truth[i].label == found[j].label]
    if not places:
        return {}
    rows, columns = zip(*places, strict=True)
    graph = csr_array((np.ones(len(places), np.int8), (rows, columns)), shape=(len(truth), len(found)))
    matches = maximum_bipartite_matching(graph, perm_type="column")
    return {i: int(j) for i, j in enumerate(matches) if j >= 0}


def _substitutions(near: Sequence[Sequence[int]], right: Mapping[int, int]) -> int:
    """Count true events that are left over and have a left-over one in their place, each taken once."""
    taken = set(right.values())
    n = 0
    for i, some in enumerate(near):
        if i not in right:
            other = next((j for j in some if j not in taken), None)
            if other is not None:
                taken.add(other)
                n += 1
    return n


class _Counts:
    """Sums over recordings."""

    def __init__(self) -> None:
        self.n_true = self.n_found = self.n_right = 0
        self.wrong: tuple[int, ...] | None = None

    def add(self, n_true: int, n_found: int, n_right: int, *wrong: int) -> None:
        self.n_true, self.n_found, self.n_right = self.n_true + n_true, self.n_found + n_found, self.n_right + n_right
        if wrong:
            self.wrong = tuple(a + b for a, b in zip(self.wrong or (0, 0, 0), wrong, strict=True))

    def scores(self) -> dict[str, Any]:
        """Return shares; None where nothing can be divided by."""
        precision = self.n_right / self.n_found if self.n_found else None
        recall = self.n_right / self.n_true if self.n_true else None
        f1 = None if precision is None or recall is None else 0.0
        if self.n_right:
            f1 = 2 * self.n_right / (self.n_true + self.n_found)
        if self.wrong is None:
            parts = {"deletions": self.n_true - self.n_right, "insertions": self.n_found - self.n_right}
        else:
            parts = dict(zip(("substitutions", "deletions", "insertions"), self.wrong, strict=True))
        rates = {name: n / self.n_true if self.n_true else None for name, n in parts.items()}
        rate = sum(parts.values()) / self.n_true if self.n_true else None
        numbers = {"n_true": self.n_true, "n_found": self.n_found, "n_right": self.n_right}
        return {"f1": f1, "precision": precision, "recall": recall, "error_rate": rate, **rates, **numbers}


def _summary(total: _Counts, by_class: Mapping[str, _Counts]) -> dict[str, Any]:
    each = {label: counts.scores() for label, counts in by_class.items()}
    means = {name: _mean(of[name] for of in each.values()) for name in ("f1", "precision", "recall", "error_rate")}
    return {"overall": total.scores(), "class_mean": means, "by_class": each}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
