"""The clips of a store that sound most like a recording, and their sound."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.loader import clip_blocks
from embedx.audio.opus import encode_opus
from embedx.containers.clip_files import is_clip
from embedx.dataset import Dataset, load_embeddings
from embedx.recipe import Recipe
from embedx.report.players import sound_request
from embedx.search.similarity import Similarity

__all__ = ["Neighbors"]

_LONGEST_SECONDS = 30.0


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

    def sound(self, i: int) -> bytes | None:
        """Return a clip as Ogg Opus, at most half a minute of it; None where there is no such clip, or no audio of it.

        Raises
        ------
        DecodeError
            The audio cannot be read.
        """
        if not 0 <= i < len(self.dataset):
            return None
        source = self.dataset.sources[i]
        path = Path(self.dataset.root) / source.uri
        if not is_clip(path):
            return None
        longest = source.start_seconds + _LONGEST_SECONDS
        stop = longest if source.stop_seconds is None else min(longest, source.stop_seconds)
        request = sound_request(path, replace(source, stop_seconds=stop), self.dataset.recipe)
        return encode_opus(np.concatenate(list(clip_blocks(request))))
