"""Frozen convolutions are computed once a clip, not once an epoch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["FeatureCache", "Signal"]

Signal = NDArray[np.float32] | torch.Tensor
"""A waveform (n_samples,), or what the convolutions make of it (T, C)."""


class FeatureCache:
    """Features of windows that are the same in every epoch, kept while there is room.

    Parameters
    ----------
    compute : callable
        Turns samples (n,) float32 into features (T, C), without gradients.
    room_bytes : int
        What is beyond is computed again whenever it is needed.

    Examples
    --------
    >>> cache = FeatureCache(lambda samples: torch.from_numpy(samples)[:, None], room_bytes=100)
    >>> cache.find((0, 0.0), np.ones(3, np.float32)) is cache.find((0, 0.0), np.ones(3, np.float32))
    True
    >>> cache.find((1, 0.0), np.ones(99, np.float32)) is cache.find((1, 0.0), np.ones(99, np.float32))
    False
    """

    def __init__(self, compute: Callable[[NDArray[np.float32]], torch.Tensor], *, room_bytes: int) -> None:
        self._compute, self._room = compute, room_bytes
        self._kept: dict[tuple[int, float], torch.Tensor] = {}

    def find(self, key: tuple[int, float], samples: NDArray[np.float32]) -> torch.Tensor:
        """Return the features of one window, whose clip and start are its key."""
        if key in self._kept:
            return self._kept[key]
        features = self._compute(samples)
        n_bytes = features.numel() * features.element_size()
        if n_bytes <= self._room:
            self._room -= n_bytes
            self._kept[key] = features
        return features
