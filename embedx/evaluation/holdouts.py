"""Parts set aside from the training clips, groups whole: by a share drawn, or with every class on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from embedx.errors import DatasetError, ParameterError

__all__ = ["holdout", "stratified_holdout"]


def holdout(
    y: ArrayLike, groups: ArrayLike | None = None, fraction: float = 0.2, seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Set a part of the training clips aside, for early stopping, calibration or selection.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels.
    groups : array-like of shape (n,), optional
        What must not be cut apart.
    fraction : float
        About how much is set aside, between 0 and 1.
    seed : int
        Seed of the draw.

    Returns
    -------
    train, valid : ndarray of int
        Indices, ascending. Every class stays in ``train`` as long as its clips are in at least two groups.

    Raises
    ------
    DatasetError
        Fewer than two clips or groups.
    ParameterError
        ``fraction`` is not between 0 and 1.

    Examples
    --------
    >>> train, valid = holdout(["a", "b"] * 10, fraction=0.2)
    >>> len(train), len(valid)
    (16, 4)
    """
    if not 0 < fraction < 1:
        raise ParameterError(f"fraction is {fraction}: it must lie between 0 and 1")
    labels = np.asarray(y)
    names = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(np.unique(names)) < 2:
        raise DatasetError("a part cannot be set aside: there is a single clip or group. Add clips of other groups")
    valid = _draw_groups(labels, names, fraction, np.random.default_rng(seed))
    return np.flatnonzero(~valid), np.flatnonzero(valid)


def _draw_groups(
    labels: NDArray[Any], names: NDArray[np.intp], fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Move whole groups aside, class by class, never the last group of a class."""
    classes = np.unique(labels, return_inverse=True)[1]
    counts = np.zeros((names.max() + 1, classes.max() + 1), dtype=np.intp)
    np.add.at(counts, (names, classes), 1)
    wanted = fraction * counts.sum(0)
    left, aside = counts.sum(0), np.zeros(counts.shape[1])
    taken = np.zeros(len(counts), dtype=bool)
    for group in rng.permutation(len(counts)):
        has = counts[group] > 0
        helps = (aside + counts[group] / 2 <= wanted)[has].all()
        if helps and (left - counts[group] > 0)[has].all():
            taken[group], left, aside = True, left - counts[group], aside + counts[group]
    if not taken.any():
        taken[_smallest_spare(counts, rng)] = True
    return taken[names]


def _smallest_spare(counts: NDArray[np.intp], rng: np.random.Generator) -> int:
    """Return the group that costs the training part the least: no class lost if possible, then the smallest."""
    lost = ((counts.sum(0) - counts) == 0).sum(1)
    return int(np.lexsort((rng.random(len(counts)), counts.sum(1), lost))[0])


def stratified_holdout(
    y: ArrayLike, groups: ArrayLike | None = None, fraction: float = 0.2, seed: int = 0, *, fewest_folds: int = 2
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Set a part aside that holds every class, as early stopping needs; nothing when there is no such part.

    Parameters
    ----------
    y, groups, fraction, seed
        As in `holdout`; a fraction of 0 sets nothing aside.
    fewest_folds : int
        At most one part in so many is set aside, however few groups there are.

    Returns
    -------
    train, held_out : ndarray of int
        Indices, ascending. ``held_out`` is empty when no part leaves every class on both sides.

    Examples
    --------
    >>> train, held_out = stratified_holdout(["a", "b"] * 10, fraction=0.2)
    >>> len(train), len(held_out)
    (16, 4)
    """
    codes = np.unique(np.asarray(y), return_inverse=True)[1]
    everything = np.arange(len(codes))
    counts = np.bincount(codes)
    most = min(int(counts.min()), len(codes) if groups is None else len(np.unique(np.asarray(groups))))
    n_folds = min(round(1 / fraction) if fraction else 0, most)
    if n_folds >= fewest_folds:
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        for train, held_out in kind(n_folds, shuffle=True, random_state=seed).split(codes, codes, groups):
            if len(np.unique(codes[train])) == len(np.unique(codes[held_out])) == len(counts):
                return train, held_out
    return everything, everything[:0]
