"""Embeddings on a plane: PCA always, t-SNE for a few thousand clips, UMAP where it is installed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset

__all__ = ["project"]

MOST_FOR_TSNE = 3000


def project(dataset: Dataset, *, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Return two coordinates a clip by every method that can be had.

    The layers are averaged and standardised first, and reduced to at most 50 principal components.

    Parameters
    ----------
    dataset : Dataset
        At least two clips.
    seed : int
        Seed of the methods.

    Returns
    -------
    dict of str to ndarray of shape (n, 2)
        ``t-SNE`` (van der Maaten and Hinton 2008), ``UMAP`` (McInnes et al. 2018), ``PCA``; the first is shown first.
    """
    from sklearn.decomposition import PCA

    layers = dataset.average_layers()
    spread = layers.std(0)
    clean = ((layers - layers.mean(0)) / np.where(spread > 1e-9, spread, 1.0)).astype(np.float64)
    parts = min(50, len(clean), clean.shape[1])
    reduced = PCA(parts, random_state=seed).fit_transform(clean)
    flat = np.zeros((len(reduced), 2))
    flat[:, : min(2, parts)] = reduced[:, :2]
    return {**dict(_neighbour_maps(reduced, seed)), "PCA": flat}


def _neighbour_maps(reduced: NDArray[np.float64], seed: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    n = len(reduced)
    if len(np.unique(reduced.round(6), axis=0)) < 8:  # scikit-learn's t-SNE crashes the process on points all alike
        return
    if n <= MOST_FOR_TSNE:
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (n - 1) / 3)
        # half of scikit-learn's steps and a coarser tree: the map cost more than most heads did
        tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, max_iter=500, angle=0.7)
        yield "t-SNE", tsne.fit_transform(reduced)
    umap = _umap() if n >= 20 else None
    if umap is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield "UMAP", umap.UMAP(n_neighbors=min(15, n - 1), random_state=seed).fit_transform(reduced)


def _umap() -> Any:
    try:
        import umap
    except ImportError:
        return None
    return umap
