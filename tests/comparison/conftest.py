"""Data sets with a known signal: layer 1 tells the class, the other layers are noise."""

import numpy as np
import pytest

from embedx.dataset import Dataset
from embedx.manifest import Source
from embedx.recipe import Recipe


def make(n=96, n_layers=3, dim=8, k=4, n_groups=24, seed=0, signal=2.0, split=None):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    groups = rng.integers(0, n_groups, n) if n_groups else None
    X = rng.normal(size=(n, n_layers, dim))
    X[:, min(1, n_layers - 1)] += signal * rng.normal(size=(k, dim))[y]
    sources = tuple(
        Source(
            f"c{y[i]}/{i:04d}.wav",
            label=f"c{y[i]}",
            group=None if groups is None else f"g{groups[i]}",
            split=None if split is None else split(i),
        )
        for i in range(n)
    )
    recipe = Recipe(encoder="tiny", revision="bundled", weights_sha256="ab", layers=tuple(range(n_layers)))
    return Dataset(
        X=X.reshape(n, -1).astype(np.float16),
        control=rng.normal(size=(n, 128)).astype(np.float32),
        sources=sources,
        recipe=recipe,
        root="/nowhere",
        seconds=np.full(n, 5.0),
        hashes=rng.integers(0, 256, (n, 32)).astype(np.uint8),
    )


@pytest.fixture(scope="session")
def make_dataset():
    return make
