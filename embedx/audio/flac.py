"""16 kHz mono FLAC with a comment: what fetched clips are kept as."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

__all__ = ["read_flac_comment", "write_flac"]


def write_flac(path: Path, samples: NDArray[np.float32], *, comment: str, sample_rate: int = 16_000) -> None:
    """Write samples as 16-bit FLAC that is on the disk when this returns.

    Parameters
    ----------
    path : Path
        Replaced if it is there.
    samples : ndarray of shape (n_samples,), float32
        Clipped to -1 to 1.
    comment : str
        Kept in the file's Vorbis comment, for `read_flac_comment`.
    sample_rate : int
        Hertz.

    Raises
    ------
    OSError
        The disk is full or cannot be written.
    """
    with open(path, "wb") as stream:
        try:
            with soundfile.SoundFile(stream, "w", sample_rate, 1, "PCM_16", format="FLAC") as out:
                out.comment = comment
                out.write(np.clip(samples, -1.0, 1.0))
        except soundfile.SoundFileError as error:
            raise OSError(f"cannot write {path.name}: {error}") from error
        stream.flush()
        os.fsync(stream.fileno())


def read_flac_comment(path: Path) -> str | None:
    """Return the comment of a FLAC file; None when it has none or cannot be read."""
    try:
        with soundfile.SoundFile(path) as clip:
            return clip.comment or None
    except (soundfile.SoundFileError, OSError):
        return None
