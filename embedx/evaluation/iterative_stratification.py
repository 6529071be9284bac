"""Folds for several labels a clip: groups whole, every class in every fold where its groups allow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedx.errors import DatasetError

__all__ = ["assign_folds", "holdout_of_sets"]

_TRIES = 10
"""Orders that are tried; the one whose folds lack the fewest classes, then the most even one, is taken."""


def assign_folds(Y: ArrayLike, groups: ArrayLike | None = None, *, n_folds: int, seed: int = 0) -> NDArray[np.intp]:
    """Say which fold tests each clip, by iterative stratification of whole groups.

    The rarest class is dealt out first, each of its groups to the fold that lacks most of it (Sechidis, Tsoumakas and
    Vlahavas 2011, On the Stratification of Multi-Label Data); a group counts with all its clips at once.

    Parameters
    ----------
    Y : array-like of shape (n, k), bool
        Which classes each clip has.
    groups : array-like of shape (n,), optional
        What must not be cut apart; without it each clip is its own group.
    n_folds : int
        At most the number of groups.
    seed : int
        Seed of the order of what is equal.

    Returns
    -------
    ndarray of shape (n,), int
        Fold from 0. None is empty.

    Examples
    --------
    >>> Y = [[1, 0], [1, 1], [0, 1], [0, 0]] * 3
    >>> fold = assign_folds(Y, n_folds=3)
    >>> [np.asarray(Y)[fold == i].sum(0).tolist() for i in range(3)]
    [[2, 2], [2, 2], [2, 2]]
    """
    matrix = np.asarray(Y).astype(np.float64)
    names = np.arange(len(matrix)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    counts = np.zeros((names.max() + 1, matrix.shape[1] + 1))  # of each class, and of clips
    np.add.at(counts, names, np.column_stack([matrix, np.ones(len(matrix))]))
    rng = np.random.default_rng(seed)
    tries = [_dealt(counts, n_folds, rng) for _ in range(_TRIES)]
    return min(tries, key=lambda fold: _faults(counts, fold, n_folds))[names]


def _faults(counts: NDArray[np.float64], fold: NDArray[np.intp], n_folds: int) -> tuple[float, float]:
    """Return how many classes folds lack, and how uneven classes and clips are."""
    sums = np.zeros((n_folds, counts.shape[1]))
    np.add.at(sums, fold, counts)
    ideal = np.maximum(counts.sum(0) / n_folds, 1e-12)
    return float((sums == 0).sum()), float(np.abs(sums / ideal - 1).sum())


def _dealt(counts: NDArray[np.float64], n_folds: int, rng: np.random.Generator) -> NDArray[np.intp]:
    fold = np.full(len(counts), -1, dtype=np.intp)
    wanted = np.tile(counts.sum(0) / n_folds, (n_folds, 1))
    order = rng.permutation(len(counts))
    while (left := order[fold[order] < 0]).size:
        column = _rarest(counts[left][:, :-1], rng)
        having = left if column is None else left[counts[left, column] > 0]
        by_size = having[np.argsort(-counts[having, -1 if column is None else column], kind="stable")]
        for group in by_size:
            fold[group] = _neediest(wanted, counts[group], column, rng)
            wanted[fold[group]] -= counts[group]
    return fold


def _rarest(counts: NDArray[np.float64], rng: np.random.Generator) -> int | None:
    """Return the class that the fewest groups still have, None when none has any."""
    n_groups = (counts > 0).sum(0)
    if not n_groups.any():
        return None
    fewest = np.flatnonzero(n_groups == n_groups[n_groups > 0].min())
    return int(rng.choice(fewest))


def _neediest(
    wanted: NDArray[np.float64], counts: NDArray[np.float64], column: int | None, rng: np.random.Generator
) -> int:
    """Return the fold that lacks most of a class, then most of the group's other classes, then most clips."""
    first = wanted[:, -1] if column is None else wanted[:, column]
    others = wanted[:, :-1][:, counts[:-1] > 0].sum(1)
    keys: list[Any] = [rng.random(len(wanted)), -wanted[:, -1], -others, -first]
    return int(np.lexsort([np.round(key, 9) for key in keys])[0])


def holdout_of_sets(
    Y: ArrayLike,
    groups: ArrayLike | None = None,
    fraction: float = 0.2,
    seed: int = 0,
    *,
    required: bool = False,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Set one fold of about a fraction aside; nothing when no class would be left on one of the sides.

    Parameters
    ----------
    Y, groups
        As in `assign_folds`.
    fraction : float
        About how much is set aside; 0 sets nothing aside.
    seed : int
        Seed of the cut.
    required : bool
        Whether there must be such a part.

    Raises
    ------
    DatasetError
        There is none, and it is required.

    Returns
    -------
    train, held_out : ndarray of int
        Indices, ascending. Every class that has a clip has one on both sides, or ``held_out`` is empty.

    Examples
    --------
    >>> train, held_out = holdout_of_sets([[1, 0], [0, 1]] * 10, fraction=0.2)
    >>> len(train), len(held_out)
    (16, 4)
    """
    matrix = np.asarray(Y, dtype=bool)
    n_groups = len(matrix) if groups is None else len(np.unique(np.asarray(groups)))
    n_folds = min(round(1 / fraction) if fraction else 0, n_groups)
    everything = np.arange(len(matrix))
    if n_folds >= 2:
        fold = assign_folds(matrix, groups, n_folds=n_folds, seed=seed)
        some = matrix.any(0)
        for number in range(n_folds):
            aside = fold == number
            if np.array_equal(matrix[aside].any(0), some) and np.array_equal(matrix[~aside].any(0), some):
                return np.flatnonzero(~aside), np.flatnonzero(aside)
    if required:
        raise DatasetError(
            f"no part of about {fraction:g} leaves every class on both sides with its groups whole: add clips of other "
            "groups, or judge on folds (embedx compare)"
        )
    return everything, everything[:0]
