"""Which clip would teach most: rules that choose among the clips without a label, on arrays alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from embedx.manifest import Source

__all__ = ["STRATEGIES", "View", "draw_order", "margins"]

_FEWEST_TOP, _SHARE_TOP = 10, 20


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is known when a clip is chosen.

    Parameters
    ----------
    proba : ndarray of shape (n, k), float64, or None
        What a head says of every clip; None as long as two classes are not known.
    distance : ndarray of shape (n,), float
        How far each clip is from the nearest one that has a label (1 less the cosine; 2 where none has one).
    order : ndarray of shape (n,), int
        The place of each clip in a random order.
    """

    proba: NDArray[np.float64] | None
    distance: NDArray[np.floating]
    order: NDArray[np.intp]


Strategy = Callable[[NDArray[np.intp], View], int]
"""``strategy(pool, view)`` gives one row of the pool (m,), which holds one at least."""


def margins(proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how unsure each row of probabilities (n, k) is: 1 less the lead of the best class over the second, (n,).

    Examples
    --------
    >>> margins(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    if proba.shape[1] < 2:
        return np.ones(len(proba))
    best = np.partition(proba, -2, axis=1)[:, -2:]
    return np.asarray(1.0 - (best[:, 1] - best[:, 0]))


def draw_order(sources: Sequence[Source], seed: int = 0) -> NDArray[np.intp]:
    """Return the place of each clip in a random order that hangs on its name alone, shape (n,).

    A clip keeps its place among the others when a store grows, so a draw that began in one run goes on in the next.
    """
    digests = [hashlib.blake2b(f"{seed} {source.id}".encode(), digest_size=8).digest() for source in sources]
    places = np.empty(len(digests), dtype=np.intp)
    places[sorted(range(len(digests)), key=lambda i: (digests[i], sources[i].sort_key))] = np.arange(len(digests))
    return places


def _drawn(pool: NDArray[np.intp], view: View) -> int:
    return int(pool[np.argmin(view.order[pool])])


def _farthest(pool: NDArray[np.intp], view: View) -> int:
    farthest = pool[view.distance[pool] >= view.distance[pool].max() - 1e-6]
    return _drawn(farthest, view)


def _uncertain(pool: NDArray[np.intp], view: View) -> int:
    return _drawn(pool, view) if view.proba is None else int(pool[np.argmax(margins(view.proba[pool]))])


def _uncertain_and_diverse(pool: NDArray[np.intp], view: View) -> int:
    """Return the clip farthest from all labelled ones, of the twentieth of which the head is least sure.

    Without a head the farthest of all. A new label then seldom repeats what the last one taught.
    """
    if view.proba is None:
        return _farthest(pool, view)
    n_top = max(_FEWEST_TOP, len(pool) // _SHARE_TOP)
    return _farthest(pool[np.argsort(-margins(view.proba[pool]), kind="stable")[:n_top]], view)


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {"uncertain+diverse": _uncertain_and_diverse, "uncertain": _uncertain, "random": _drawn}
)
"""By name; ``random`` is what the others are compared with."""
