"""What runners give and the store keeps: a clip's rows, or the reason why it has none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedx.containers.clip_files import stamp_clip
from embedx.errors import ManifestError
from embedx.manifest import Source

__all__ = [
    "CONTROL_DIM",
    "MAX_ERROR_BYTES",
    "MAX_PATH_BYTES",
    "MAX_TEXT_BYTES",
    "NO_STAMP",
    "ClipResult",
    "Embedded",
    "Failure",
    "FileStamp",
    "require_short_texts",
    "shorten_error",
]

MAX_TEXT_BYTES, MAX_PATH_BYTES, MAX_ERROR_BYTES = 1_000, 4_096, 200
"""What a label, a group or a split, a path, and an error may take in UTF-8: a file's columns are as wide as their
longest cell, so one long cell would cost its length for every clip."""

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

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> FileStamp:
        """Read the whole of a file, or of a member of a container."""
        return cls(*stamp_clip(path))


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


def require_short_texts(sources: Iterable[Source]) -> None:
    """Refuse texts that a store does not keep: longer than it allows, no Unicode text, or with a NUL in them.

    Raises
    ------
    ManifestError
        Names the clip, what is wrong with which of its texts, and what is allowed.

    Examples
    --------
    >>> require_short_texts([Source("a.wav", label="dog"), Source("b.wav", label="x" * 2000)])
    Traceback (most recent call last):
    embedx.errors.ManifestError: the label of b.wav has 2,000 bytes, a store keeps at most 1,000: shorten 'xxxxxxxx...'
    """
    sound: set[str | None] = {None}
    for source in sources:
        _require_short("path", source.uri, MAX_PATH_BYTES, source)
        for role in ("label", "group", "split"):
            text = getattr(source, role)
            if text not in sound:
                _require_short(role, text, MAX_TEXT_BYTES, source)
                sound.add(text)


def _require_short(role: str, text: str, most: int, source: Source) -> None:
    whose = "a path" if role == "path" else f"the {role} of {_begin(source.id, 200)}"
    try:
        n_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise ManifestError(f"{whose} is no Unicode text: correct {_begin(text)!r}") from None
    if n_bytes > most:
        raise ManifestError(f"{whose} has {n_bytes:,} bytes, a store keeps at most {most:,}: shorten {_begin(text)!r}")
    if "\0" in text:
        raise ManifestError(f"{whose} has a NUL character in it: correct {_begin(text)!r}")


def _begin(text: str, most: int = 8) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def shorten_error(text: str) -> str:
    """Return the one line of an error that a store keeps."""
    line = " ".join(text[: 16 * MAX_ERROR_BYTES].split())
    return line.encode(errors="replace")[:MAX_ERROR_BYTES].decode(errors="ignore")
