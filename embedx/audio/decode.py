"""Any audio file becomes 16 kHz mono float32, block by block; the only room that knows PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from embedx.audio.mixing import Mixer
from embedx.audio.segments import CannotSeekError, can_seek, read_from_start, read_near
from embedx.audio.tracks import DecodeNotes, choose_track
from embedx.audio.wholeness import require_whole
from embedx.errors import DecodeError

__all__ = ["DECODER", "RESAMPLER", "DecodeNotes", "decode", "decode_blocks", "decoder_versions"]

DECODER = "pyav:1"
"""Name and version of the procedure in this module, as recipes record it."""

RESAMPLER = "swr:1"
"""FFmpeg's own resampler (libswresample) with its default filter."""

_BLOCK_SECONDS = 1.0
_MAX_BAD_SHARE = 0.05
_MAX_LOST_SECONDS = 0.5


def decode(
    path: str | os.PathLike[str],
    *,
    start_seconds: float = 0.0,
    stop_seconds: float | None = None,
    sample_rate: int = 16_000,
) -> NDArray[np.float32]:
    """Read a file, or a segment of one, as mono samples whatever its format.

    Parameters
    ----------
    path : path-like
        Anything that FFmpeg reads; of several audio streams the best one, as FFmpeg judges.
    start_seconds, stop_seconds : float
        Segment of the file in seconds; None reads to the end.
    sample_rate : int
        Hertz of the result.

    Returns
    -------
    ndarray of shape (n_samples,), float32
        The mean of the channels, nominally within -1 to 1.

    Raises
    ------
    DecodeError
        No such file, no audio in it, damaged or cut off, or the segment begins after its end.
    """
    blocks = decode_blocks(path, start_seconds=start_seconds, stop_seconds=stop_seconds, sample_rate=sample_rate)
    return np.concatenate([np.empty(0, np.float32), *blocks])


def decode_blocks(
    path: str | os.PathLike[str],
    *,
    start_seconds: float = 0.0,
    stop_seconds: float | None = None,
    sample_rate: int = 16_000,
    notes: DecodeNotes | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Read a file of any length in bounded memory: like `decode`, in blocks of about a second.

    Yields
    ------
    ndarray of shape (n_samples,), float32
        Consecutive samples; never empty.
    """
    seen = DecodeNotes() if notes is None else notes
    segment = (path, start_seconds, stop_seconds, sample_rate, seen)
    try:
        try:
            with av.open(os.fspath(path), mode="r", metadata_errors="ignore") as container:
                yield from _segment(container, *segment, may_seek=True)
        except CannotSeekError:
            seen.restart()
            with av.open(os.fspath(path), mode="r", metadata_errors="ignore") as container:
                yield from _segment(container, *segment, may_seek=False)
    except (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError) as error:
        raise DecodeError(_explain(path, error)) from error


def decoder_versions() -> dict[str, str]:
    """Return the versions of the libraries that decode, for a store's environment record."""
    libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return {"av": av.__version__, "libavcodec": libraries["libavcodec"], "libswresample": libraries["libswresample"]}


def _explain(path: str | os.PathLike[str], error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: no such file"
    if isinstance(error, PermissionError):
        return f"{path}: may not be read (permission denied)"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder, not a file"
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        return f"{path} is empty (0 bytes)"
    detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{path} cannot be decoded as audio: {detail}"


def _segment(
    container: Any,
    path: str | os.PathLike[str],
    start_seconds: float,
    stop_seconds: float | None,
    sample_rate: int,
    notes: DecodeNotes,
    *,
    may_seek: bool,
) -> Iterator[NDArray[np.float32]]:
    """Decode one track and cut it to the segment."""
    track = choose_track(container, path)
    if may_seek and can_seek(container, track, start_seconds, sample_rate):
        position, frames = read_near(container, track, start_seconds, sample_rate, notes, path)
    else:
        position, frames = 0, read_from_start(container, track, start_seconds, notes, path)
    begin = round(start_seconds * sample_rate)
    end = None if stop_seconds is None else round(stop_seconds * sample_rate)
    n_read, n_given = 0, 0
    for block in _mono_blocks(frames, sample_rate):
        piece = block[max(0, begin - position) : None if end is None else max(0, end - position)]
        position, n_read = position + len(block), n_read + len(block)
        if len(piece):
            n_given += len(piece)
            yield piece
        if end is not None and position >= end:
            return
    _require_undamaged(path, notes, n_read / sample_rate)
    if not n_read:
        raise DecodeError(f"{path} holds an audio stream without any sound")
    require_whole(path, container, track, position / sample_rate, notes)
    if not n_given:
        raise DecodeError(f"{path} ends at {position / sample_rate:.3f} s, before {start_seconds:g} s")


def _mono_blocks(frames: Iterator[Any], sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """Yield samples in blocks of about a second."""
    pieces: list[NDArray[np.float32]] = []
    n_waiting = 0
    mixer = Mixer(sample_rate)
    for frame in frames:
        for piece in mixer.push(frame):
            pieces.append(piece)
            n_waiting += len(piece)
        if n_waiting >= sample_rate * _BLOCK_SECONDS:
            yield np.concatenate(pieces)
            n_waiting, pieces = 0, []
    pieces.extend(mixer.flush())
    if pieces:
        yield np.concatenate(pieces)


def _require_undamaged(path: str | os.PathLike[str], notes: DecodeNotes, seconds: float) -> None:
    """Refuse a file of which too much is missing in the middle."""
    if notes.n_bad_packets > max(1, _MAX_BAD_SHARE * notes.n_packets):
        raise DecodeError(f"{path} is damaged: {notes.n_bad_packets} of {notes.n_packets} packets cannot be decoded")
    if notes.lost_seconds > max(_MAX_LOST_SECONDS, _MAX_BAD_SHARE * seconds):
        raise DecodeError(f"{path} is damaged: about {notes.lost_seconds:.1f} s of sound are lost in the middle")
