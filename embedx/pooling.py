"""From windows to clips: every second of audio counts once; and from layers to their mean."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.windows import added_seconds
from embedx.errors import StoreFormatError

if TYPE_CHECKING:
    from embedx.store.in_memory import StoreTable

__all__ = ["StoredLayers", "average_layers", "pool_windows"]


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
    standard deviations are pooled as moments, so they are those of the whole clip, as maxima are; class tokens are
    averaged.

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
    pooling : {'mean', 'mean+std', 'max', 'mean+max', 'cls'}
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
    weights, seconds = _weigh(start_seconds, end_seconds, bounds)
    x = np.empty((len(counts), n_layers, width), dtype=embeddings.dtype)
    for layer in range(n_layers):
        x[:, layer] = _pool(embeddings[:, layer], weights, bounds, pooling)
    return x.reshape(len(counts), n_layers * width), _pool(control, weights, bounds, "mean+std"), seconds


def _weigh(
    start_seconds: NDArray[np.float64], end_seconds: NDArray[np.float64], bounds: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return each window's share of its clip (R,), and the seconds of each clip (n,)."""
    added = [added_seconds(start_seconds[a:b], end_seconds[a:b]) for a, b in pairwise(bounds)]
    seconds = np.array([of_clip.sum() for of_clip in added])
    return np.concatenate([a / s for a, s in zip(added, seconds, strict=True)]).astype(np.float32), seconds


def _pool(
    values: NDArray[Any], weights: NDArray[np.float32], bounds: NDArray[np.intp], pooling: str
) -> NDArray[np.float32]:
    """Pool the windows of each clip: (R, D) -> (n, D); means and deviations that lie side by side as moments."""

    def mean(of_windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.add.reduceat(weights[:, None] * of_windows, bounds[:-1], axis=0)

    def most(of_windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.maximum.reduceat(of_windows, bounds[:-1], axis=0)

    values = values.astype(np.float32)
    if pooling in ("mean", "cls"):
        return mean(values)
    if pooling == "max":
        return most(values)
    means, deviations = np.split(values, 2, axis=1)
    if pooling == "mean+max":
        return np.concatenate([mean(means), most(deviations)], axis=1)
    pooled = mean(means)
    spread = mean(deviations**2 + (means - np.repeat(pooled, np.diff(bounds), axis=0)) ** 2)
    return np.concatenate([pooled, np.sqrt(spread)], axis=1)


def average_layers(X: Any, n_layers: int, first: int = 0, last: int | None = None) -> NDArray[np.floating]:
    """Return the mean of layers ``first`` to ``last``, added up in float32 so that a cast copy of all never exists.

    Parameters
    ----------
    X : ndarray of shape (n, L * D) or StoredLayers
        Layer after layer.
    n_layers : int
        L.
    first, last : int
        Positions, the last one included; all layers by default.

    Returns
    -------
    ndarray of shape (n, D), float32 (float64 when X is)

    Examples
    --------
    >>> average_layers(np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float16), n_layers=2)
    array([[2., 3.]], dtype=float32)
    """
    stop = n_layers if last is None else last + 1
    if isinstance(X, StoredLayers):
        return X.average(first, stop)
    width = X.shape[1] // n_layers
    return _average((X[:, i * width : (i + 1) * width] for i in range(first, stop)), stop - first)


def _average(layers: Any, n: int) -> NDArray[np.floating]:
    total: NDArray[np.floating] | None = None
    for layer in layers:
        if total is None:
            total = layer.astype(np.float64 if layer.dtype == np.float64 else np.float32)
        else:
            total += layer
    assert total is not None
    if n > 1:
        total /= n
    return total


@dataclass(frozen=True, slots=True, eq=False)
class StoredLayers:
    """X of a store that is too large to be held: read layer by layer, when a head says which ones it learns from.

    It is cut like an array of shape (n, L * D), and ``numpy.asarray`` reads all of it. Pickled, it is a path and
    numbers, so processes share nothing but the file.

    Parameters
    ----------
    path : Path
        The store.
    stamp : tuple of int
        Inode, size and time of the file that is meant.
    layers : tuple of int
        The L layers, as the store's recipe numbers them.
    dim : int
        D.
    dtype : dtype
        Of the store.
    pooling : str
        As in `pool_windows`.
    weights : ndarray of shape (R,), float32, or None
        Each window's share of its clip; None when each clip has one window.
    bounds : ndarray of shape (N + 1,)
        Where each clip of the store begins among its rows.
    clips : ndarray of shape (n,) or None
        Which of the store's clips, in which order; None for all.

    Examples
    --------
    >>> import tempfile
    >>> from embedx import load_embeddings
    >>> from embedx.testing import make_store
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dataset = load_embeddings(make_store(f"{folder}/emb.h5"), most_bytes=0)
    ...     dataset.X.shape, np.asarray(dataset.X[:2]).shape
    ((60, 24), (2, 24))
    """

    path: Path
    stamp: tuple[int, ...]
    layers: tuple[int, ...]
    dim: int
    dtype: np.dtype[Any]
    pooling: str
    weights: NDArray[np.float32] | None
    bounds: NDArray[np.intp]
    clips: NDArray[np.intp] | None = None

    @classmethod
    def of(cls, table: StoreTable, path: str | os.PathLike[str]) -> StoredLayers:
        """Stand for the rows of a store, of which ``table`` holds all else; clips without rows are not among them."""
        counts = table.n_rows[table.n_rows > 0]
        bounds = np.concatenate([[0], np.cumsum(counts)])
        alone = len(counts) == len(table.start_seconds)
        place = Path(os.path.realpath(path))
        return cls(
            path=place,
            stamp=_stamp(place),
            layers=table.recipe.layers,
            dim=table.embeddings.shape[2],
            dtype=table.embeddings.dtype,
            pooling=table.recipe.pooling,
            weights=None if alone else _weigh(table.start_seconds, table.end_seconds, bounds)[0],
            bounds=bounds,
        )

    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """n and L * D."""
        return len(self), len(self.layers) * self.dim

    def __len__(self) -> int:
        return len(self.bounds) - 1 if self.clips is None else len(self.clips)

    def __getitem__(self, index: Any) -> StoredLayers:
        clips = np.arange(len(self)) if self.clips is None else self.clips
        return replace(self, clips=clips[index])

    def average(self, first: int, stop: int) -> NDArray[np.floating]:
        """Return the mean of some layers (n, D), float32; what was read last for all clips is kept, up to 1 GB."""
        name = (self.path, self.stamp, self.layers, first, stop)
        whole = _KEPT.get(name)
        if whole is None:
            whole = _average((self._layer(i) for i in range(first, stop)), stop - first)
            whole.flags.writeable = False  # whoever scales it in place would change what others get
            _KEPT[name] = whole
            while _KEPT and sum(kept.nbytes for kept in _KEPT.values()) > _MOST_KEPT_BYTES:
                _KEPT.popitem(last=False)
        return whole if self.clips is None else whole[self.clips]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values = np.empty((len(self), len(self.layers), self.dim), dtype or self.dtype)
        for i in range(len(self.layers)):
            layer = self._layer(i)
            values[:, i] = layer if self.clips is None else layer[self.clips]
        return values.reshape(self.shape)

    def _layer(self, i: int) -> NDArray[Any]:
        """Read one layer of all clips of the store (N, D), in its dtype."""
        from embedx.store.hdf5_file import StoreFile

        if _stamp(self.path) != self.stamp:
            raise StoreFormatError(f"{self.path} has changed since it was opened: run the same command again")
        with StoreFile(self.path) as file:
            rows = file.layer(file.recipe.layers.index(self.layers[i]))
        if self.weights is None:
            return rows
        return _pool(rows, self.weights, self.bounds, self.pooling).astype(self.dtype)


_MOST_KEPT_BYTES = 2**30
_KEPT: OrderedDict[tuple[Any, ...], NDArray[np.floating]] = OrderedDict()


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise StoreFormatError(f"{path} cannot be read any more: {error.strerror}") from error
    return found.st_ino, found.st_size, found.st_mtime_ns
