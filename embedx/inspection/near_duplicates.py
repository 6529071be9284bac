"""Every pair of clips that lie close together, in bounded memory: exact, by matrix products of blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["close_pairs", "distances_of", "usual_distance"]

_BLOCK = 2048
_SAMPLE = 2000
_MOST_NEAR = 5
"""Close clips that are kept of each one; a thousand equal clips would make half a million pairs."""


def usual_distance(values: NDArray[np.float32], *, seed: int = 0) -> float:
    """Return the median distance to the third neighbour, of all clips or, of many, of 2,000 of them.

    Parameters
    ----------
    values : ndarray of shape (n, D)
        One row a clip, at least four.
    seed : int
        Seed of the draw.
    """
    from sklearn.neighbors import NearestNeighbors

    asked = values
    if len(values) > 2 * _SAMPLE:
        asked = values[np.sort(np.random.default_rng(seed).choice(len(values), _SAMPLE, replace=False))]
    distances = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(values).kneighbors(asked)[0]
    return float(np.median(distances[:, 3]))


def close_pairs(
    values: NDArray[np.float32], radius: float, *, progress: Callable[..., None] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find the pairs of rows that are nearer to each other than a radius.

    Rows are first compared by a few principal components, in which no two of them are farther apart than they are:
    what is close is close there too. They are in order of the first one, so far blocks are never compared.

    Parameters
    ----------
    values : ndarray of shape (n, D), float32
        One row a clip.
    radius : float
        Distance.
    progress : callable, optional
        Called as ``progress(done, total)`` in rows.

    Returns
    -------
    pairs : ndarray of shape (m, 2), int
        The smaller index first, in order. Of a crowd of close rows not all: each has its five nearest among those
        that come after it.
    distances : ndarray of shape (m,), float64
    """
    reduced = _reduced(values, radius)
    order = np.argsort(reduced[:, 0], kind="stable")
    reduced = reduced[order]
    squares = np.einsum("ij,ij->i", reduced, reduced)
    limit = np.float32(radius**2 * 1.001 + 1e-5 * squares.max(initial=0))  # float32 may be off by so much
    ones = np.ones((len(reduced), 1), np.float32)
    left = np.concatenate([reduced, squares[:, None], ones], axis=1)
    right = np.concatenate([-2 * reduced, ones, squares[:, None]], axis=1)  # their product is the squared distance
    found: list[NDArray[np.intp]] = []
    far: list[NDArray[np.float64]] = []
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        end = np.searchsorted(reduced[:, 0], reduced[stop - 1, 0] + radius * 1.001 + 1e-5, side="right")
        rows: list[NDArray[np.intp]] = []
        for other in range(start, int(end), _BLOCK):
            i, j = np.nonzero(left[start:stop] @ right[other : other + _BLOCK].T < limit)
            later = other + j > start + i
            rows.append(np.stack([start + i[later], other + j[later]], axis=1))
        pairs, distances = _nearest(values, order[np.concatenate(rows)], radius)
        found.append(pairs)
        far.append(distances)
        if progress is not None:
            progress(stop, len(order))
    pairs, distances = np.sort(np.concatenate(found), axis=1), np.concatenate(far)
    by_index = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[by_index], distances[by_index]


def _reduced(values: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Turn rows to their principal axes and keep as many as tell almost all pairs of some rows apart."""
    some = values[:: max(1, len(values) // (2 * _SAMPLE))].astype(np.float64)
    axes = np.linalg.eigh(np.cov(some[::2], rowvar=False))[1][:, ::-1]
    turned = (some[1::2] - values.mean(0)) @ axes  # of others: along the axes of few rows their own gaps look large
    for n_axes in (32, 64, 128, 256):
        if n_axes < values.shape[1] and _share_within(turned[:, :n_axes], radius) < 1e-4:
            break
    else:
        n_axes = values.shape[1]
    return np.asarray((values - values.mean(0)) @ axes[:, :n_axes].astype(np.float32), dtype=np.float32)


def _share_within(rows: NDArray[np.float64], radius: float) -> float:
    squares = (rows**2).sum(1)
    within = squares[:, None] + squares - 2 * rows @ rows.T < radius**2
    n = len(rows)
    return float((within.sum() - n) / max(1, n * (n - 1)))


def _nearest(
    values: NDArray[np.float32], pairs: NDArray[np.intp], radius: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Keep the pairs that are really so close, and of each first row the nearest few."""
    distances = distances_of(values, pairs)
    order = np.lexsort((distances, pairs[:, 0]))
    order = order[distances[order] < radius]
    firsts = pairs[order, 0]
    rank = np.arange(len(order)) - np.searchsorted(firsts, firsts)
    kept = order[rank < _MOST_NEAR]
    return pairs[kept], distances[kept]


def distances_of(values: NDArray[np.float32], pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the distance of each pair of rows, shape (m,)."""
    found = np.zeros(len(pairs))
    for start in range(0, len(pairs), _BLOCK):
        i, j = pairs[start : start + _BLOCK].T
        found[start : start + _BLOCK] = np.sqrt(((values[i].astype(np.float64) - values[j]) ** 2).sum(1))
    return found
