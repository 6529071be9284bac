"""Which clip is asked next: in turns one at random, one whose label is in doubt, and those that teach most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_choice
from embedx.dataset import Dataset
from embedx.labelling.strategies import STRATEGIES, View, draw_order
from embedx.search.similarity import Similarity

__all__ = ["RANDOM_EVERY", "Asker", "Why"]

Why = Literal["random", "uncertain", "different", "suspect"]

RANDOM_EVERY = 5
"""One turn in so many asks for a clip at random: the head is judged on those."""

_DOUBT_EVERY = 10
_MOST_NEAR = 500


class Asker:
    """Chooses clips of a dataset.

    Parameters
    ----------
    dataset : Dataset
        The clips.
    strategy : str
        One of `STRATEGIES`.
    random_every : int
        One turn in so many is random; 0 for none.
    seed : int
        Seed of the random order.

    Attributes
    ----------
    values : ndarray of shape (n, D), float32
        The mean of each clip's layers.
    order : ndarray of shape (n,), int
        The place of each clip in the random order.
    """

    def __init__(
        self, dataset: Dataset, *, strategy: str = "uncertain+diverse", random_every: int = RANDOM_EVERY, seed: int = 0
    ) -> None:
        require_choice("strategy", strategy, tuple(STRATEGIES))
        self.strategy, self.random_every = strategy, random_every
        self.values = dataset.average_layers()
        self._directions = Similarity.of(self.values, standardized=True).directions(self.values).astype(np.float32)
        self.order = draw_order(dataset.sources, seed)
        self._in_order = np.argsort(self.order)
        self._distance = np.full(len(dataset), 2.0, dtype=np.float32)

    def note(self, rows: Sequence[int]) -> None:
        """Remember that clips are labelled: what is like them teaches less."""
        near = self._directions[np.asarray(rows[:_MOST_NEAR], dtype=np.intp)]
        for direction in near:
            np.minimum(self._distance, 1.0 - self._directions @ direction, out=self._distance)

    def drawn(self, has_label: NDArray[np.bool_], passed: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the clips of the random order up to the first without a label, those that are passed over left out.

        They are a random sample of all clips, whatever else was labelled and for whatever reason.
        """
        ordered = self._in_order[~passed[self._in_order]]
        missing = np.flatnonzero(~has_label[ordered])
        return ordered[: missing[0]] if len(missing) else ordered

    def next(
        self,
        turn: int,
        may_be_asked: NDArray[np.bool_],
        proba: NDArray[np.float64] | None,
        suspects: Sequence[int] = (),
    ) -> tuple[int, Why] | None:
        """Return a clip to ask and why, or None where there is none.

        Parameters
        ----------
        turn : int
            Labels that were given so far.
        may_be_asked : ndarray of shape (n,), bool
            Clips without a label, except those that are passed over or asked on another page.
        proba : ndarray of shape (n, k), or None
            What a head says of every clip.
        suspects : sequence of int
            Clips with a label that is in doubt, the surest first.
        """
        if suspects and turn % _DOUBT_EVERY == _DOUBT_EVERY - 3:
            return suspects[0], "suspect"
        pool = np.flatnonzero(may_be_asked)
        if not len(pool):
            return (suspects[0], "suspect") if suspects else None
        view = View(proba, self._distance, self.order)
        if self.strategy == "random" or (self.random_every and turn % self.random_every == 0):
            return STRATEGIES["random"](pool, view), "random"
        return STRATEGIES[self.strategy](pool, view), "different" if proba is None else "uncertain"
