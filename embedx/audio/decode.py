"""Any audio file becomes 16 kHz mono float32, block by block; the only module that imports PyAV."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from embedx.audio.downmix import Mixer
from embedx.audio.integrity import require_whole
from embedx.audio.streams import DecodeNotes, choose_track, open_media
from embedx.audio.time_line import CannotSeekError, can_seek, read_from_start, read_near
from embedx.containers.clip_files import is_clip, stat_clip
from embedx.errors import DecodeError

__all__ = ["DECODER", "RESAMPLER", "DecodeNotes", "decode", "decode_blocks", "decoder_versions"]

DECODER = "pyav:1"
"""Name and version of the procedure in this module, as recipes record it."""

RESAMPLER = "swr:1"
"""FFmpeg's own resampler (libswresample) with its default filter."""

_BLOCK_SECONDS = 1.0
_MAX_BAD_SHARE = 0.05
_MAX_LOST_SECONDS = 0.5
_RECENT_SECONDS = 30
"""What was read last is kept, so that windows that overlap are not read twice: 2 MB."""


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
    on_progress: Callable[[], None] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Read a file of any length in bounded memory: like `decode`, in blocks of about a second.

    The next segment of the file that this thread read last is read on from there.

    Parameters
    ----------
    notes : DecodeNotes, optional
        Filled with what was seen; the file is read anew for it.
    on_progress : callable, optional
        Called at every packet.

    Yields
    ------
    ndarray of shape (n_samples,), float32
        Consecutive samples; never empty.
    """
    try:
        last = _readings.take(path, sample_rate, start_seconds) if notes is None else None
        reading = last or _Reading(path, sample_rate, notes)
        try:
            yield from reading.segment(start_seconds, stop_seconds, on_progress, may_seek=True)
        except CannotSeekError:
            reading.close()
            reading = _Reading(path, sample_rate, notes)
            yield from reading.segment(start_seconds, stop_seconds, on_progress, may_seek=False)
        finally:
            _readings.keep(reading)
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
    if is_clip(path) and stat_clip(path).size == 0:
        return f"{path} is empty (0 bytes)"
    detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{path} cannot be decoded as audio: {detail}"


class _Reading:
    """A file that is open, and how far it was read: the next of its segments is read on from there."""

    def __init__(self, path: str | os.PathLike[str], sample_rate: int, notes: DecodeNotes | None = None) -> None:
        self.path, self.sample_rate = path, sample_rate
        self.notes = DecodeNotes() if notes is None else notes
        self.notes.restart()
        self._container = open_media(path)
        self.file = _identity(path)
        self._track = choose_track(self._container, path)
        self._blocks: Iterator[NDArray[np.float32]] | None = None
        self._recent: deque[tuple[int, NDArray[np.float32]]] = deque()
        self._position = self._n_read = 0
        self.is_reusable = False

    def close(self) -> None:
        """Let the file go."""
        self.is_reusable = False
        if self._blocks is not None:
            self._blocks.close()  # type: ignore[attr-defined]
        self._container.close()

    def reaches(self, start_seconds: float) -> bool:
        """Whether what lies from there on is still to come, or was read a moment ago."""
        first = self._recent[0][0] if self._recent else self._position
        return round(start_seconds * self.sample_rate) >= first

    def segment(
        self,
        start_seconds: float,
        stop_seconds: float | None,
        on_progress: Callable[[], None] | None,
        *,
        may_seek: bool,
    ) -> Iterator[NDArray[np.float32]]:
        """Yield a segment in blocks."""
        self.is_reusable = False
        self.notes.on_progress, self.notes.begin_seconds = on_progress, start_seconds
        was_sought = self._open(start_seconds, may_seek)
        begin = round(start_seconds * self.sample_rate)
        end = None if stop_seconds is None else round(stop_seconds * self.sample_rate)
        n_given = 0
        for position, block in self._from_recent():
            piece = block[max(0, begin - position) : None if end is None else max(0, end - position)]
            if len(piece):
                n_given += len(piece)
                yield piece
            if end is not None and position + len(block) >= end:
                self.is_reusable = not was_sought
                return
        self._require_good(start_seconds, n_given)

    def _open(self, start_seconds: float, may_seek: bool) -> bool:
        """Begin to read if that is still to be done; say whether it was by a jump."""
        if self._blocks is not None:
            return False
        container, track, notes = self._container, self._track, self.notes
        jumps = may_seek and can_seek(container, track, start_seconds, self.sample_rate)
        if jumps:
            self._position, frames = read_near(container, track, start_seconds, self.sample_rate, notes, self.path)
        else:
            frames = read_from_start(container, track, notes, self.path)
        self._blocks = _mono_blocks(frames, self.sample_rate)
        return jumps

    def _from_recent(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield blocks with their places: those that were read a moment ago, then new ones."""
        yield from tuple(self._recent)
        for block in self._blocks or ():
            place, self._position = self._position, self._position + len(block)
            self._n_read += len(block)
            self._recent.append((place, block))
            while self._recent[0][0] < self._position - _RECENT_SECONDS * self.sample_rate:
                self._recent.popleft()
            yield place, block

    def _require_good(self, start_seconds: float, n_given: int) -> None:
        """Refuse a file that has been read to its end and is damaged, cut off or too short."""
        path, end_seconds = self.path, self._position / self.sample_rate
        _require_undamaged(path, self.notes, self._n_read / self.sample_rate)
        if not self._n_read:
            raise DecodeError(f"{path} holds an audio stream without any sound")
        require_whole(path, self._container, self._track, end_seconds, self.notes)
        if not n_given:
            raise DecodeError(f"{path} ends at {end_seconds:.3f} s, before {start_seconds:g} s")


class _Readings(threading.local):
    """The file that this thread read last, if its next segments can be read on from there.

    Most formats cannot be sought in exactly, so without it every segment of a long recording would be decoded from the
    recording's start.
    """

    last: _Reading | None = None

    def take(self, path: str | os.PathLike[str], sample_rate: int, start_seconds: float) -> _Reading | None:
        """Return it if it is of this very file and not beyond the segment's start; close it otherwise."""
        last, self.last = self.last, None
        if last is None:
            return None
        if last.sample_rate == sample_rate and last.reaches(start_seconds) and last.file == _identity(path):
            return last
        last.close()
        return None

    def keep(self, reading: _Reading) -> None:
        """Keep it for the next segment, or let its file go."""
        before, self.last = self.last, reading if reading.is_reusable else None
        for one in (before, reading):
            if one is not None and one is not self.last:
                one.close()


_readings = _Readings()


def _identity(path: str | os.PathLike[str]) -> tuple[Any, ...]:
    """Return what tells a file from others, from later states of itself, and from what a forked parent reads."""
    return os.path.abspath(path), os.getpid(), *stat_clip(path).identity


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
