"""How good the head is by the number of labels: judged on clips drawn at random, groups held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedx.evaluation.statistics import Interval, wilson
from embedx.labelling.learning import Learned

__all__ = ["CurvePoint", "LearningCurve"]

_FEWEST_JUDGED = 5
_MOST_POINTS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """How good a head was after a number of labels.

    Parameters
    ----------
    n_labels : int
        Labels that there were; each clip is judged by a head that learned from those of other folds.
    n_judged : int
        Clips that were drawn at random and have a label.
    accuracy, majority : float
        Share that is right, of the head, and of always saying the most frequent class of what it learned from.
    interval : tuple of float
        95 % interval of the accuracy, clips taken as independent of each other.
    """

    n_labels: int
    n_judged: int
    accuracy: float
    interval: Interval
    majority: float


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    n_labels: int
    said: NDArray[np.int16]
    majority: NDArray[np.int16]


class LearningCurve:
    """What heads said of every clip after each number of labels, judged anew whenever there are more clips to judge on.

    Examples
    --------
    >>> held_out = np.eye(2)[[0, 1, 1, 0, 1]]
    >>> curve = LearningCurve()
    >>> curve.add(Learned(9, None, held_out, np.zeros(5, dtype=int)))
    >>> [point] = curve.points(np.array([0, 1, 1, 0, 0]), np.arange(5))
    >>> point.n_labels, point.accuracy, point.majority
    (9, 0.8, 0.6)
    """

    def __init__(self) -> None:
        self._said: list[_Said] = []

    def add(self, learned: Learned) -> None:
        """Keep what was said after so many labels, instead of what was said before after as many."""
        kept = [one for one in self._said if one.n_labels != learned.n_labels]
        new = _Said(learned.n_labels, learned.said.astype(np.int16), learned.majority.astype(np.int16))
        self._said = sorted([*kept, new], key=lambda one: one.n_labels)
        if len(self._said) > _MOST_POINTS:
            self._said = self._said[:-1:2] + self._said[-1:]

    def drop_after(self, n_labels: int) -> None:
        """Forget what was said after more labels than there are."""
        self._said = [one for one in self._said if one.n_labels <= n_labels]

    def points(self, codes: NDArray[np.intp], judged: NDArray[np.intp]) -> tuple[CurvePoint, ...]:
        """Judge on some rows (m,) by their codes; too few of them give no point."""
        if len(judged) < _FEWEST_JUDGED:
            return ()
        return tuple(_point(one, codes[judged], judged) for one in self._said)


def _point(one: _Said, truth: NDArray[np.intp], judged: NDArray[np.intp]) -> CurvePoint:
    right = int((one.said[judged] == truth).sum())
    return CurvePoint(
        n_labels=one.n_labels,
        n_judged=len(judged),
        accuracy=right / len(judged),
        interval=wilson(right, len(judged)),
        majority=float((one.majority[judged] == truth).mean()),
    )
