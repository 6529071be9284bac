"""From windows to clips: every second of audio counts once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.windows import added_seconds

__all__ = ["pool_windows"]


def pool_windows(
    embeddings: NDArray[Any],  # (R, L, D)
    control: NDArray[np.float32],  # (R, 128)
    start_seconds: NDArray[np.float64],  # (R,)
    end_seconds: NDArray[np.float64],  # (R,)
    counts: NDArray[Any],  # (n,) windows of each clip, in the order of the rows
    *,
    pooling: str,
) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float64]]:
    """Turn rows, one a window, into rows, one a clip: the mean weighted by the seconds that each window adds.

    Where windows overlap, the overlap is counted once. ``mean+std`` rows and the control's means and
    standard deviations are pooled as moments, so they are those of the whole clip.

    Parameters
    ----------
    embeddings : ndarray of shape (R, L, D)
        Rows of all clips, a clip's rows side by side and in order of time.
    control : ndarray of shape (R, 128), float32
        Log-mel statistics: means, then standard deviations.
    start_seconds, end_seconds : ndarray of shape (R,), float64
        Window bounds in seconds.
    counts : ndarray of shape (n,), int
        Rows of each clip; they sum to R.
    pooling : {'mean', 'mean+std'}
        What the last axis of ``embeddings`` holds.

    Returns
    -------
    x : ndarray of shape (n, L * D), dtype of ``embeddings``
        Not copied when every clip has one window.
    control : ndarray of shape (n, 128), float32
    seconds : ndarray of shape (n,), float64
        Audio that was covered.

    Examples
    --------
    >>> rows = np.array([[[1.0]], [[4.0]]], dtype=np.float32)
    >>> x, _, seconds = pool_windows(
    ...     rows,
    ...     np.zeros((2, 2), np.float32),
    ...     np.array([0.0, 10.0]),
    ...     np.array([10.0, 15.0]),
    ...     np.array([2]),
    ...     pooling="mean",
    ... )
    >>> x.tolist(), seconds.tolist()
    ([[2.0]], [15.0])
    """
    n_rows, n_layers, width = embeddings.shape
    bounds = np.concatenate([[0], np.cumsum(counts)])
    if len(counts) == n_rows:
        return embeddings.reshape(n_rows, n_layers * width), control, end_seconds - start_seconds
    x = np.empty((len(counts), n_layers, width), dtype=embeddings.dtype)
    pooled_control = np.empty((len(counts), control.shape[1]), dtype=np.float32)
    seconds = np.empty(len(counts))
    pool = _pool_moments if pooling == "mean+std" else _pool_means
    for i, (first, last) in enumerate(pairwise(bounds)):
        added = added_seconds(start_seconds[first:last], end_seconds[first:last])
        seconds[i] = added.sum()
        weights = (added / added.sum()).astype(np.float32)
        x[i] = pool(embeddings[first:last].astype(np.float32), weights)
        pooled_control[i] = _pool_moments(control[first:last], weights)
    return x.reshape(len(counts), n_layers * width), pooled_control, seconds


def _pool_means(values: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average over the first axis: (W, ...) -> (...)."""
    return np.tensordot(weights, values, axes=1).astype(np.float32)


def _pool_moments(values: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pool means and standard deviations that lie side by side in the last axis: (W, ..., 2 k) -> (..., 2 k)."""
    half = values.shape[-1] // 2
    means, deviations = values[..., :half], values[..., half:]
    mean = np.tensordot(weights, means, axes=1)
    second = np.tensordot(weights, deviations**2 + (means - mean) ** 2, axes=1)
    return np.concatenate([mean, np.sqrt(second)], axis=-1).astype(np.float32)
