"""What a head learns from the labels so far: of every clip, and of every clip without having heard its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from embedx.heads.catalog import fit_head, make_head

__all__ = ["UNKNOWN", "Learned", "group_folds", "learn", "predict_all"]

UNKNOWN = -1
"""Code of a clip without a label, and of an answer that could not be given."""

_MOST_FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What heads say after a number of labels; classes are columns and codes in the order of the labelling.

    Parameters
    ----------
    n_labels : int
        Labels that were learned from.
    proba : ndarray of shape (n, k), float64, or None
        Of the head that learned from all of them; None where they name fewer than two classes.
    held_out : ndarray of shape (n, k), float64
        Of the head that learned from the labels of the other folds; NaN where those name no class.
    majority : ndarray of shape (n,), int
        Code of the most frequent class of the other folds, `UNKNOWN` where those have no label.
    """

    n_labels: int
    proba: NDArray[np.float64] | None
    held_out: NDArray[np.float64]
    majority: NDArray[np.intp]

    @property
    def said(self) -> NDArray[np.intp]:
        """Code of the class that is said of each clip by the head that has not heard its fold (n,)."""
        if not self.held_out.shape[1]:
            return np.full(len(self.held_out), UNKNOWN)
        return np.where(np.isnan(self.held_out[:, 0]), UNKNOWN, np.nan_to_num(self.held_out, nan=-1.0).argmax(1))


def group_folds(groups: Sequence[str] | NDArray[np.str_] | None, order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the fold of each clip (n,), groups whole: at most five, of about as many clips, all 0 for one group.

    Labels are not asked: there are none when the folds are cut.

    Parameters
    ----------
    groups : sequence of str, optional
        What must not be cut apart; by default each clip is alone.
    order : ndarray of shape (n,), int
        The place of each clip in a random order.

    Examples
    --------
    >>> group_folds(["a", "a", "b", "b"], np.arange(4)).tolist()
    [0, 0, 1, 1]
    """
    names = np.arange(len(order)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    counts, firsts = np.bincount(names), np.full(names.max() + 1, len(order))
    np.minimum.at(firsts, names, order)
    n_folds = min(_MOST_FOLDS, len(counts))
    sizes, fold = np.zeros(n_folds, dtype=np.intp), np.zeros(len(counts), dtype=np.intp)
    for group in np.lexsort((firsts, -counts)):
        fold[group] = sizes.argmin()
        sizes[fold[group]] += counts[group]
    return fold[names]


def learn(values: NDArray[np.floating], codes: NDArray[np.intp], folds: NDArray[np.intp], n_classes: int) -> Learned:
    """Fit the project's logistic regression on the labels so far, and once more without each fold.

    Parameters
    ----------
    values : ndarray of shape (n, D), float32
        The mean of each clip's layers.
    codes : ndarray of shape (n,), int
        The class of each clip, `UNKNOWN` without a label.
    folds : ndarray of shape (n,), int
        From `group_folds`.
    n_classes : int
        Number k of classes.
    """
    held_out, majority = np.full((len(values), n_classes), np.nan), np.full(len(values), UNKNOWN)
    for fold in np.unique(folds):
        here, others = folds == fold, np.where(folds == fold, UNKNOWN, codes)
        if (others != UNKNOWN).any():
            held_out[here] = predict_all(values, others, n_classes, where=here)
            majority[here] = np.bincount(others[others != UNKNOWN]).argmax()
    is_known = codes != UNKNOWN
    proba = predict_all(values, codes, n_classes) if len(np.unique(codes[is_known])) > 1 else None
    return Learned(int(is_known.sum()), proba, held_out, majority)


def predict_all(
    values: NDArray[np.floating], codes: NDArray[np.intp], n_classes: int, *, where: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return probabilities (m, k) of a head that learned from the clips with a code, of all clips or of some.

    A single class is said of every clip.
    """
    rows = values if where is None else values[where]
    known = np.flatnonzero(codes != UNKNOWN)
    proba = np.zeros((len(rows), n_classes))
    classes = np.unique(codes[known])
    if len(classes) == 1:
        proba[:, classes] = 1.0
        return proba
    with threadpool_limits(1):  # so few clips are shared by no threads, which on a busy machine wait for each other
        head = fit_head(make_head("logreg", n_layers=1), values[known], codes[known])
        proba[:, head.classes_] = head.predict_proba(rows)
    return proba
