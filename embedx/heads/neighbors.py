"""k nearest neighbours that also learn from fewer clips than k."""

from __future__ import annotations

import warnings
from copy import copy
from typing import Any

from sklearn.neighbors import KNeighborsClassifier

from embedx.errors import EmbedxWarning

__all__ = ["METRICS", "NeighborsClassifier"]

METRICS: tuple[str, ...] = (
    *("cosine", "euclidean", "l2", "minkowski", "manhattan", "l1", "cityblock", "chebyshev", "correlation"),
    *("canberra", "braycurtis", "sqeuclidean"),
)
"""Distances that need nothing but two embeddings."""


class NeighborsClassifier(KNeighborsClassifier):
    """`sklearn.neighbors.KNeighborsClassifier` in which all clips vote where there are fewer than ``n_neighbors``.

    Attributes
    ----------
    n_neighbors_ : int
        Clips that vote: ``n_neighbors``, or all training clips where they are fewer.
    """

    def fit(self, X: Any, y: Any) -> NeighborsClassifier:
        """Keep the clips of X (n, n_features) and their labels y (n,)."""
        super().fit(X, y)
        self.n_neighbors_ = min(self.n_neighbors, self.n_samples_fit_)
        if self.n_neighbors_ < self.n_neighbors:
            warnings.warn(  # the same text whatever the numbers, so that a search or a cross-validation says it once
                "k nearest neighbours: fewer training clips than n_neighbors, so all of them vote",
                EmbedxWarning,
                stacklevel=2,
            )
        return self

    def predict(self, X: Any) -> Any:
        """Return the label of each row, shape (n,)."""
        return super(NeighborsClassifier, self._limited()).predict(X)

    def predict_proba(self, X: Any) -> Any:
        """Return the shares of the votes, shape (n, n_classes)."""
        return super(NeighborsClassifier, self._limited()).predict_proba(X)

    def kneighbors(self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True) -> Any:
        """Return distances and indices of the nearest training clips."""
        limit = getattr(self, "n_neighbors_", None)
        return super().kneighbors(X, limit if n_neighbors is None else n_neighbors, return_distance)

    def _limited(self) -> NeighborsClassifier:
        """Return a shallow copy with as many neighbours as there are: scikit-learn reads the parameter itself."""
        limited = copy(self)
        limited.n_neighbors = getattr(self, "n_neighbors_", self.n_neighbors)
        return limited

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = tags.target_tags.multi_output = False
        return tags
