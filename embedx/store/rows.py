"""What runners give and the store keeps: a clip's rows, or the reason why it has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedx.manifest import Source

__all__ = ["CONTROL_DIM", "NO_STAMP", "ClipResult", "Embedded", "Failure", "FileStamp"]

CONTROL_DIM = 128
"""Mean and standard deviation of 64 log-mel bands."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Which bytes a clip was read from: ``(size, mtime_ns)`` is the fast check, ``sha256`` the truth.

    Parameters
    ----------
    sha256 : bytes
        32 bytes; all zero when the file could not be read.
    size : int
        Bytes.
    mtime_ns : int
        Modification time in nanoseconds.
    """

    sha256: bytes
    size: int
    mtime_ns: int


NO_STAMP = FileStamp(bytes(32), 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The rows of one clip, one a window.

    Parameters
    ----------
    source : Source
        The clip.
    stamp : FileStamp
        The bytes it was read from.
    embeddings : ndarray of shape (W, L, D), float32
        Pooled frames of every kept layer.
    control : ndarray of shape (W, 128), float32
        Mean and standard deviation of 64 log-mel bands.
    start_seconds, end_seconds : ndarray of shape (W,), float64
        Window bounds in the file, in seconds.
    seconds_per_row : float, optional
        What a row of its unit took to compute: reading, decoding and encoding.
    """

    source: Source
    stamp: FileStamp
    embeddings: NDArray[np.float32]
    control: NDArray[np.float32]
    start_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    seconds_per_row: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """One clip that has no rows, and why.

    Parameters
    ----------
    source : Source
        The clip.
    stamp : FileStamp
        The bytes that could not be used (`NO_STAMP` when there are none).
    reason : str
        A stable word: ``missing``, ``decode``, ``too_short``, ``non_finite``, ``worker_died``, ``error``.
    message : str
        One line for the reader.
    """

    source: Source
    stamp: FileStamp
    reason: str
    message: str


ClipResult = Embedded | Failure
