"""Cosine similarities of clips to a direction, exact, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Similarity"]

_BLOCK = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Similarity:
    """Cosine in columns that all clips of a store have made alike.

    Parameters
    ----------
    mean, scale : ndarray of shape (D,), float64
        What is taken from each column, and what it is divided by.

    Examples
    --------
    >>> values = np.array([[9.0, 1.0], [9.0, -1.0], [11.0, 1.0], [11.0, -1.0]], dtype=np.float32)
    >>> similarity = Similarity.of(values, standardized=True)
    >>> similarity.to(similarity.direction(values[:1]), values).round().astype(int).tolist()
    [1, 0, 0, -1]
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.floating], *, standardized: bool) -> Similarity:
        """Return the similarity among the rows of values (n, D): of standardized columns, or of these as they are."""
        if not standardized:
            return cls(np.zeros(values.shape[1]), np.ones(values.shape[1]))
        mean = values.mean(axis=0, dtype=np.float64)
        blocks = (values[start : start + _BLOCK] - mean for start in range(0, len(values), _BLOCK))
        scale = np.sqrt(np.sum([(block**2).sum(axis=0) for block in blocks], axis=0) / len(values))
        return cls(mean, np.where(scale > 1e-6 * np.maximum(1.0, np.abs(mean)), scale, 1.0))

    def direction(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the mean direction of some rows (m, D), shape (D,), of length 1: what is most like all of them."""
        return np.asarray(_to_length_one(self.directions(values).mean(axis=0)))

    def to(self, direction: NDArray[np.float64], values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the cosine of each row of values (n, D) and a direction, shape (n,)."""
        parts = [self.directions(values[start : start + _BLOCK]) @ direction for start in range(0, len(values), _BLOCK)]
        return np.clip(np.concatenate([np.zeros(0), *parts]), -1.0, 1.0)

    def directions(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return each row of values (n, D) in these columns, at length 1."""
        return _to_length_one((values - self.mean) / self.scale)


def _to_length_one(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0))
