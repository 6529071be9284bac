"""Folds of the clips that are learned from: for what has to be known on clips that a head did not hear."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedx.evaluation.splits import Fold, most_folds, plan_folds

__all__ = ["plan_inner_folds"]

MOST_FOLDS = 5


def plan_inner_folds(labels: NDArray[Any], groups: ArrayLike | None, seed: int) -> tuple[Fold, ...]:
    """Return up to five folds, groups whole, with two classes or more in training and learned classes to predict.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Of the clips.
    groups : array-like of shape (n,), optional
        What must not be cut apart.
    seed : int
        Seed of the cut.

    Returns
    -------
    tuple of Fold
        Empty where the clips cannot be cut; a single fold where only one can be used.

    Examples
    --------
    >>> labels = np.array(["a", "b"] * 4)
    >>> len(plan_inner_folds(labels, None, 0)), len(plan_inner_folds(labels, ["one"] * 8, 0))
    (4, 0)
    """
    most = most_folds(labels, groups)
    if most < 2:
        return ()
    return tuple(
        fold
        for fold in plan_folds(labels, groups=groups, n_folds=min(MOST_FOLDS, most), seed=seed)
        if len(np.unique(labels[fold.train])) > 1 and np.isin(labels[fold.test], labels[fold.train]).any()
    )
