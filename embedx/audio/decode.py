"""Any audio file becomes 16 kHz mono float32, block by block; the only room that knows PyAV."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from embedx.audio.wholeness import require_whole
from embedx.errors import DecodeError

__all__ = ["DECODER", "RESAMPLER", "DecodeNotes", "Mixer", "decode", "decode_blocks", "decoder_versions", "read_frames"]

DECODER = "pyav:1"
"""Name and version of the procedure in this module, as recipes record it."""

RESAMPLER = "swr:1"
"""FFmpeg's own resampler (libswresample) with its default filter."""

_BLOCK_SECONDS = 1.0
_LEAST_RATE = 1_000  # Hertz; a damaged header that says 1 makes hours of a second
_SEEK_PREROLL_SECONDS = 2.0
_SEEK_WORTH_SECONDS = 30.0
_MAX_BAD_SHARE = 0.05
_LISTS = frozenset({"concat", "dash", "hls", "imf", "rtsp", "sdp"})
"""What FFmpeg also opens but what holds no sound: lists of other files or addresses."""

av.logging.set_level(av.logging.PANIC)


@dataclass(slots=True)
class DecodeNotes:
    """What was seen while a file was decoded.

    Parameters
    ----------
    n_packets, n_bad_packets : int
        Packets read, and those among them that the codec refused and that were left out.
    pulse : callable or None
        Called at every packet.
    """

    n_packets: int = 0
    n_bad_packets: int = 0
    pulse: Callable[[], None] | None = None


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
    try:
        with av.open(os.fspath(path), mode="r", metadata_errors="ignore") as container:
            yield from _segment(container, path, start_seconds, stop_seconds, sample_rate, seen)
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
) -> Iterator[NDArray[np.float32]]:
    """Decode one stream and cut it to the segment."""
    if container.format.name in _LISTS:
        raise DecodeError(f"{path} is a list of other files ({container.format.name}), no audio: name those")
    stream = container.streams.best("audio")
    if stream is None:
        raise DecodeError(f"{path} holds no audio stream")
    if 0 < (stream.rate or 0) < _LEAST_RATE:
        raise DecodeError(f"{path} says it has {stream.rate} samples a second: {_LEAST_RATE} or more are needed")
    begin = round(start_seconds * sample_rate)
    end = None if stop_seconds is None else round(stop_seconds * sample_rate)
    position, n_given = -1, 0
    for first, block in _mono_blocks(container, stream, start_seconds, sample_rate, notes):
        position = first + len(block)
        piece = block[max(0, begin - first) : None if end is None else max(0, end - first)]
        if len(piece):
            n_given += len(piece)
            yield piece
        if end is not None and position >= end:
            return
    if notes.n_bad_packets > max(1, _MAX_BAD_SHARE * notes.n_packets):
        raise DecodeError(f"{path} is damaged: {notes.n_bad_packets} of {notes.n_packets} packets cannot be decoded")
    if position < 0 and start_seconds > 0:
        raise DecodeError(f"{path} ends before {start_seconds:g} s")
    if position < 0:
        raise DecodeError(f"{path} holds an audio stream without any sound")
    require_whole(path, container, stream, position / sample_rate)
    if not n_given:
        raise DecodeError(f"{path} ends at {position / sample_rate:.3f} s, before {start_seconds:g} s")


def _mono_blocks(
    container: Any, stream: Any, start_seconds: float, sample_rate: int, notes: DecodeNotes
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (position in samples, samples) in blocks of about a second."""
    sought = _seek(container, stream, start_seconds)
    pieces: list[NDArray[np.float32]] = []
    position, n_waiting = 0, 0
    mixer = Mixer(sample_rate)
    for frame in read_frames(container, stream, notes):
        if sought:
            position, sought = _position(frame, stream, sample_rate), False
        for piece in mixer.push(frame):
            pieces.append(piece)
            n_waiting += len(piece)
        if n_waiting >= sample_rate * _BLOCK_SECONDS:
            yield position, np.concatenate(pieces)
            position, n_waiting, pieces = position + n_waiting, 0, []
    pieces.extend(mixer.flush())
    if pieces:
        yield position, np.concatenate(pieces)


def _seek(container: Any, stream: Any, start_seconds: float) -> bool:
    """Jump to a little before the segment where that is worth it; say whether it was done."""
    if start_seconds < _SEEK_WORTH_SECONDS or stream.time_base is None:
        return False
    target = start_seconds - _SEEK_PREROLL_SECONDS
    try:
        container.seek(round(target / stream.time_base) + (stream.start_time or 0), stream=stream, backward=True)
    except (av.FFmpegError, OverflowError):  # the place is further away than any file is long
        return False
    return True


def _position(frame: Any, stream: Any, sample_rate: int) -> int:
    """Return where a frame lies, in output samples from the beginning of the stream."""
    ticks = (frame.pts or 0) - (stream.start_time or 0)
    return max(0, round(ticks * (frame.time_base or stream.time_base) * sample_rate))


def read_frames(container: Any, stream: Any, notes: DecodeNotes) -> Iterator[Any]:
    """Decode packet by packet, so that a bad one costs only itself."""
    for packet in container.demux(stream):
        notes.n_packets += 1
        if notes.pulse is not None:
            notes.pulse()
        try:
            frames = packet.decode()
        except av.error.EOFError:
            return
        except av.FFmpegError:
            notes.n_bad_packets += 1
            continue
        yield from frames


class Mixer:
    """Frames of any format to mono blocks of one sample rate.

    The channels are averaged in floating point (FFmpeg's own downmix to mono is 3 dB louder on stereo
    and clips), then resampled. A format that changes in mid-stream starts a new filter graph.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._format: tuple[Any, ...] | None = None
        self._graph: Any = None

    def push(self, frame: Any) -> Iterator[NDArray[np.float32]]:
        """Give one frame; yields what became ready."""
        given = (frame.sample_rate, frame.format.name, frame.layout.name, frame.layout.nb_channels)
        if given != self._format:
            yield from self.flush()
            self._graph, self._format = self._build(frame), given
        frame.pts = None
        self._graph.push(frame)
        yield from self._pull()

    def flush(self) -> Iterator[NDArray[np.float32]]:
        """Yield what the resampler still holds."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
            self._graph = self._format = None

    def _pull(self) -> Iterator[NDArray[np.float32]]:
        while True:
            try:
                yield self._graph.pull().to_ndarray()[0]
            except (BlockingIOError, EOFError):
                return

    def _build(self, frame: Any) -> Any:
        n = frame.layout.nb_channels
        graph = av.filter.Graph()
        steps = [
            graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format.name,
                layout=frame.layout.name,
                time_base=Fraction(1, frame.sample_rate),
            ),
            graph.add("aformat", "sample_fmts=fltp"),
        ]
        if n > 1:
            steps.append(graph.add("pan", "mono|c0=" + "+".join(f"{1 / n!r}*c{i}" for i in range(n))))
        if frame.sample_rate != self.sample_rate:
            steps.append(graph.add("aresample", f"{self.sample_rate}:osf=fltp"))
        steps.append(graph.add("abuffersink"))
        graph.link_nodes(*steps).configure()
        return graph
