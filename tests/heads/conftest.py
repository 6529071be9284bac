"""Synthetic datasets: three classes whose signal lies in the middle layer."""

from __future__ import annotations

import numpy as np
import pytest

from embedx.dataset import Dataset
from embedx.manifest import Source
from embedx.recipe import Recipe


def build_dataset(n=60, n_classes=3, n_layers=3, dim=8, seed=0, groups=True, split=None, gap=1.5):
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % n_classes
    X = rng.normal(size=(n, n_layers, dim))
    centres = rng.normal(size=(n_classes, dim)) * gap
    X[:, n_layers // 2] += centres[codes]
    sources = tuple(
        Source(
            f"clip_{i:04d}.wav",
            label=f"class {codes[i]}",
            group=f"g{i // (2 * n_classes)}" if groups else None,
            split=None if split is None else split[i % len(split)],
        )
        for i in range(n)
    )
    return Dataset(
        X=X.reshape(n, -1).astype(np.float16),
        control=rng.normal(size=(n, 128)).astype(np.float32),
        sources=sources,
        recipe=Recipe(encoder="tiny", revision="bundled", weights_sha256="ab", layers=tuple(range(n_layers))),
        root="/data",
        seconds=np.ones(n),
        hashes=rng.integers(0, 255, (n, 32)).astype(np.uint8),
    )


@pytest.fixture
def make_dataset():
    return build_dataset
