"""The clips of a store that sound most like a recording."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset, load_embeddings
from embedx.recipe import Recipe
from embedx.search.similarity import Similarity

__all__ = ["Neighbors"]


class Neighbors:
    """Clips to compare with.

    Parameters
    ----------
    store : path-like
        Embeddings of the model's own recipe.
    recipe : Recipe
        The model's.

    Raises
    ------
    RecipeMismatchError
        The store has another recipe.
    StoreError, DatasetError
        It cannot be read, or holds no embedding.
    """

    def __init__(self, store: str | os.PathLike[str], recipe: Recipe) -> None:
        self.dataset: Dataset = load_embeddings(store, layers=recipe.layers)
        recipe.require_same(self.dataset.recipe, where="the model", advice="Give the store that it was trained on")
        self._values = self.dataset.average_layers()
        self._similarity = Similarity.of(self._values, standardized=True)

    def nearest(self, row: NDArray[np.floating], k: int) -> list[dict[str, Any]]:
        """Return the k clips nearest to a clip's mean over its layers (D,), the most similar first."""
        found = self._similarity.to(self._similarity.direction(row[None]), self._values)
        order = np.argsort(-found, kind="stable")[:k]
        return [self._told(int(i), float(found[i])) for i in order]

    def _told(self, i: int, similarity: float) -> dict[str, Any]:
        """Return what is said of a clip: the last part of its name, no folder of this machine."""
        source = self.dataset.sources[i]
        facts = {"clip": i, "similarity": round(similarity, 4), "label": source.label, "name": Path(source.uri).name}
        return facts | {"start": source.start_seconds, "stop": source.stop_seconds}
