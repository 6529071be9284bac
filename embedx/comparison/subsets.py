"""Nested subsets of a training part: every smaller one lies inside every larger one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset

__all__ = ["nested_subset"]


def nested_subset(part: Dataset, fraction: float, *, seed: int) -> NDArray[np.intp]:
    """Return indices of about a fraction of the clips: whole groups, classes in proportion.

    Parameters
    ----------
    part : Dataset
        The whole training part.
    fraction : float
        Share of the clips. Every class keeps at least two clips (or all that it has).
    seed : int
        One seed gives one order, so that subsets are nested.
    """
    labels = np.unique(np.asarray(part.y), return_inverse=True)[1]
    groups = np.arange(len(part)) if part.groups is None else np.unique(part.groups, return_inverse=True)[1]
    rank = _order_of_groups(labels, groups, seed)[groups]
    order = np.lexsort((np.arange(len(part)), rank))
    n_kept = max(round(fraction * len(part)), _least(labels[order]))
    last = rank[order[min(n_kept, len(part)) - 1]]
    return np.flatnonzero(rank <= last)


def _order_of_groups(labels: NDArray[np.intp], groups: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return a random place for each group in which the classes take turns."""
    counts = np.zeros((groups.max() + 1, labels.max() + 1), dtype=np.intp)
    np.add.at(counts, (groups, labels), 1)
    main = counts.argmax(1)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    turn = np.empty(len(counts))
    for name in np.unique(main):
        members = shuffled[main[shuffled] == name]
        turn[members] = (np.arange(len(members)) + 0.5) / len(members)
    places = np.empty(len(counts), dtype=np.intp)
    places[shuffled[np.argsort(turn[shuffled], kind="stable")]] = np.arange(len(counts))
    return places


def _least(labels: NDArray[np.intp]) -> int:
    """Return how many clips of this order give every class two (or all that it has)."""
    ends = [np.flatnonzero(labels == name)[:2][-1] for name in np.unique(labels)]
    return int(max(ends)) + 1
