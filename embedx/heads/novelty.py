"""How unlike all that was learned from a clip is: the Mahalanobis distance to the nearest class."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_number
from embedx.errors import EmbedxWarning
from embedx.heads.layers import LayerSelector
from embedx.pooling import average_layers

__all__ = ["MOST_QUANTILES", "ClassDistances", "Novelty", "layer_span", "novelty_inputs"]

MOST_QUANTILES = 1001
"""Of more held-out distances than these so many quantiles are kept: a rate is then exact to a thousandth."""

_BLOCK = 4096
_LEAST_VARIANCE = 1e-6
"""Of standardised columns; with it clips that are all alike still have a distance."""


def novelty_inputs(head: Any, X: Any, control: NDArray[np.float32], *, n_layers: int) -> NDArray[np.float32]:
    """Return what novelty is judged by: the layer that the head selects, beside the log-mel statistics.

    Parameters
    ----------
    head : estimator
        Fitted. Where it takes all layers side by side, or weighs them itself, their mean is used: columns stay few.
    X : ndarray or StoredLayers of shape (n, L * D)
        Embeddings; for a head on log-mel statistics those, (n, 128).
    control : ndarray of shape (n, 128), float32
        Log-mel statistics.
    n_layers : int
        L; 0 for a head on log-mel statistics.

    Returns
    -------
    ndarray of shape (n, D + 128), float32, or (n, 128) for a head on log-mel statistics
    """
    if not n_layers:
        return np.asarray(control, dtype=np.float32)
    first, last = layer_span(head, n_layers)
    return np.hstack([average_layers(X, n_layers, first, last), control]).astype(np.float32, copy=False)


def layer_span(head: Any, n_layers: int) -> tuple[int, int]:
    """Return the first and the last position of the layers whose mean novelty is judged by."""
    steps = (step for _, step in getattr(head, "steps", ()))
    selector = next((step for step in steps if isinstance(step, LayerSelector)), None)
    return (0, n_layers - 1) if selector is None else selector.span()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ClassDistances:
    """Class means and one covariance of all classes, shrunk (Ledoit and Wolf 2004; Lee et al. 2018, arXiv:1807.03888).

    Parameters
    ----------
    mean : ndarray of shape (d,), float32
        Of all clips.
    whitening : ndarray of shape (d, d), float32
        Turns deviations from ``mean`` into columns in which a Euclidean distance is the Mahalanobis distance.
    centres : ndarray of shape (n_classes, d), float32
        Class means in these columns.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = rng.normal(size=(40, 3)).astype(np.float32) + [[0, 0, 0], [9, 0, 0]] * 20
    >>> distances = ClassDistances.learn(values, np.array([0, 1] * 20))
    >>> distances.nearest(np.array([[0, 0, 0], [9, 0, 0], [4, 9, 0]])).round().tolist()
    [0.0, 1.0, 12.0]
    """

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32] = field(repr=False)
    centres: NDArray[np.float32] = field(repr=False)

    @classmethod
    def learn(cls, values: NDArray[np.floating], codes: NDArray[np.intp]) -> ClassDistances:
        """Learn from values of shape (n, d) and the class of each row, shape (n,)."""
        from scipy.linalg import solve_triangular
        from sklearn.covariance import ledoit_wolf

        exact = np.asarray(values, dtype=np.float64)
        mean, scale = exact.mean(axis=0), exact.std(axis=0)
        scale[scale < 1e-6 * np.maximum(1.0, np.abs(mean))] = 1.0
        exact = (exact - mean) / scale
        own = np.unique(codes, return_inverse=True)[1]
        centres = np.zeros((own.max() + 1, exact.shape[1]))
        np.add.at(centres, own, exact)
        centres /= np.bincount(own)[:, None]
        deviations = (exact - centres[own]).astype(np.float32)  # twice as fast, and the columns are standardised
        covariance = ledoit_wolf(deviations, assume_centered=True)[0].astype(np.float64)
        covariance[np.diag_indices_from(covariance)] += _LEAST_VARIANCE
        root = solve_triangular(np.linalg.cholesky(covariance), np.eye(len(covariance)), lower=True).T
        return cls(
            mean=mean.astype(np.float32),
            whitening=(root / scale[:, None]).astype(np.float32),
            centres=(centres @ root).astype(np.float32),
        )

    def nearest(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the distance of each row of values (n, d) to the nearest class, shape (n,)."""
        centres, whitening = self.centres.astype(np.float64), self.whitening.astype(np.float64)
        squares, found = (centres**2).sum(axis=1), np.empty(len(values))
        for start in range(0, len(values), _BLOCK):
            rows = (values[start : start + _BLOCK].astype(np.float64) - self.mean) @ whitening
            least = (squares - 2 * rows @ centres.T).min(axis=1) + (rows**2).sum(axis=1)
            found[start : start + _BLOCK] = np.sqrt(np.maximum(least, 0.0))
        return found


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Novelty:
    """What a model keeps to say that a clip is unlike all that it learned from.

    In bytes it takes ``4 * (d**2 + d * (n_classes + 1))`` and 8 for each quantile, whatever the number of clips.

    Parameters
    ----------
    distances : ClassDistances
        Learned from all clips.
    quantiles : ndarray of shape (m,), float64
        Of the distances of clips that were held out, evenly spaced from the least to the largest: all of them up to
        `MOST_QUANTILES`.
    n_held_out : int
        Clips behind them.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> known = ClassDistances.learn(rng.normal(size=(40, 3)), np.array([0, 1] * 20))
    >>> novelty = Novelty.from_held_out(known, known.nearest(rng.normal(size=(99, 3))))
    >>> bool(novelty.score(np.array([[9.0, 9.0, 9.0]]))[0] > novelty.limit(0.05))
    True
    """

    distances: ClassDistances
    quantiles: NDArray[np.float64] = field(repr=False)
    n_held_out: int

    @classmethod
    def from_held_out(cls, distances: ClassDistances, held_out: NDArray[np.float64]) -> Novelty:
        """Return the novelty by some distances, and those of clips that were not learned from, shape (n,)."""
        levels = np.linspace(0.0, 1.0, min(len(held_out), MOST_QUANTILES))
        return cls(distances=distances, quantiles=np.quantile(held_out, levels), n_held_out=len(held_out))

    @property
    def unit(self) -> float:
        """Distance of a usual clip that was not learned from: the median."""
        return max(float(np.median(self.quantiles)), 1e-12)

    def score(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the novelty of rows as `novelty_inputs` gives them, shape (n,): 1 is usual for a known sound."""
        return self.distances.nearest(values) / self.unit

    def limit(self, rate: float) -> float:
        """Return the novelty above which a clip is called unknown.

        Parameters
        ----------
        rate : float
            Share of known clips that may be called unknown, between 0 and 1.

        Raises
        ------
        ParameterError
            It is no such share.

        Warns
        -----
        EmbedxWarning
            Too few clips were held out for so small a share; the largest distance is the limit.
        """
        require_number("unknown_at", rate, 0, 1, open_low=True, open_high=True)
        place = math.ceil((self.n_held_out + 1) * (1 - rate) - 1e-9)  # as conformal prediction counts: it holds for few
        if place > self.n_held_out:
            warnings.warn(
                f"unknown_at={rate:g} cannot be held with {self.n_held_out} held-out clips: "
                f"about {1 / (self.n_held_out + 1):.2g} of known ones will be called unknown",
                EmbedxWarning,
                stacklevel=3,
            )
            place = self.n_held_out
        level = (place - 1) / max(1, self.n_held_out - 1)
        return float(np.interp(level, np.linspace(0.0, 1.0, len(self.quantiles)), self.quantiles)) / self.unit
