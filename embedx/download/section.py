"""A few seconds are cut out of an open media file, whatever its container and however damaged it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from embedx.download.status import StatusError

__all__ = ["Section", "cut_section"]

SAMPLE_RATE = 16_000
_PREROLL_SECONDS = 1.0
_TOLERATED_SECONDS = 0.25
_SILENT_PEAK = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """Some seconds of a source.

    Parameters
    ----------
    samples : ndarray of shape (n_samples,), float32
        16 kHz mono, the mean of the channels.
    start_seconds : float
        Where they begin in the source.
    duration_seconds : float or None
        Of the source, as it declares.
    codec, container : str
        FFmpeg's names.
    n_bad_packets : int
        Packets that could not be decoded and were left out.
    is_cancelled : bool
        The channels cancel each other out in the mean although each has sound (antiphase stereo).
    """

    samples: NDArray[np.float32]
    start_seconds: float
    duration_seconds: float | None
    codec: str
    container: str
    n_bad_packets: int
    is_cancelled: bool

    @property
    def peak(self) -> float:
        """Largest magnitude."""
        return float(np.abs(self.samples).max(initial=0.0))

    @property
    def rms(self) -> float:
        """Root of the mean square."""
        return float(np.sqrt(np.mean(np.square(self.samples, dtype=np.float64)))) if len(self.samples) else 0.0

    @property
    def is_silent(self) -> bool:
        """Whether nothing can be heard."""
        return self.peak < _SILENT_PEAK


def cut_section(
    container: Any,
    *,
    start: Callable[[float | None], float],
    seconds: float | None,
    duration: float | None = None,
    max_seconds: float = 4 * 3600.0,
    check: Callable[[], None] = lambda: None,
) -> Section:
    """Decode from ``start`` for ``seconds`` of the best audio stream.

    Parameters
    ----------
    container : av container
        Open for reading.
    start : callable
        Duration of the source (or None) to the beginning of the section, in seconds.
    seconds : float or None
        Length; None is to the end.
    duration : float, optional
        What is known of the source's duration from elsewhere.
    max_seconds : float
        More than this is never decoded.
    check : callable
        Called often; raises to stop.

    Raises
    ------
    StatusError
        ``no_audio``, ``past_end``, ``too_long``, ``truncated`` or ``corrupt``.
    """
    stream = container.streams.best("audio")
    if stream is None:
        raise StatusError("no_audio", "the file holds no audio stream")
    length = _duration(container, stream) or duration
    begin = start(length)
    if length is not None and begin >= length:
        raise StatusError("past_end", f"the section begins at {begin:g} s, the source ends at {length:.2f} s")
    wanted = max_seconds if seconds is None else seconds
    tally = _Tally()
    samples = _collect(container, stream, begin, wanted, tally, check)
    expected = wanted if length is None else min(wanted, length - begin)
    return (
        Section(
            samples, begin, length, stream.codec_context.name, container.format.name, tally.n_bad, tally.is_cancelled
        )
        if _require(samples, begin, expected, length, tally)
        else None
    )  # type: ignore[return-value]


class _Tally:
    def __init__(self) -> None:
        self.n_bad, self.channel_power, self.mean_power = 0, 0.0, 0.0

    @property
    def is_cancelled(self) -> bool:
        return self.channel_power > 1e-8 and self.mean_power < 1e-4 * self.channel_power


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _require(samples: NDArray[np.float32], begin: float, expected: float, length: float | None, tally: _Tally) -> bool:
    missing = expected - len(samples) / SAMPLE_RATE
    if missing <= _TOLERATED_SECONDS and len(samples):
        return True
    if tally.n_bad:
        raise StatusError("corrupt", f"{tally.n_bad} packets cannot be decoded, {missing:.2f} s are missing")
    if length is None and not len(samples):
        raise StatusError("past_end", f"the section begins at {begin:g} s, after the end of the source")
    if length is not None:
        raise StatusError("truncated", f"the file is cut off: {missing:.2f} s of the section are missing")
    return True


def _collect(
    container: Any, stream: Any, begin: float, wanted: float, tally: _Tally, check: Callable[[], None]
) -> NDArray[np.float32]:
    origin = float((stream.start_time or 0) * stream.time_base)
    if begin > _PREROLL_SECONDS:
        container.seek(round((begin - _PREROLL_SECONDS + origin) / stream.time_base), stream=stream, backward=True)
    mixer, pieces, first = _Mixer(), [], None
    n_wanted = round(wanted * SAMPLE_RATE)
    skip = n_have = 0
    for frame in _frames(container, stream, tally, check):
        if first is None:
            at = float(frame.pts * frame.time_base) - origin if frame.pts is not None else 0.0
            first, skip = at, round((begin - at) * SAMPLE_RATE)
        tally_frame(tally, frame)
        for piece in mixer.push(frame):
            pieces.append(piece)
            n_have += len(piece)
        if n_have >= skip + n_wanted:
            break
    else:
        pieces.extend(mixer.flush())
    everything = np.concatenate([np.empty(0, np.float32), *pieces])
    return everything[max(0, skip) : max(0, skip + n_wanted)]


def tally_frame(tally: _Tally, frame: Any) -> None:
    if frame.layout.nb_channels < 2:
        return
    data = frame.to_ndarray()
    data = data if frame.format.is_planar else data.reshape(-1, frame.layout.nb_channels).T
    data = data.astype(np.float64) if data.dtype.kind == "f" else data / float(np.iinfo(data.dtype).max)
    tally.channel_power += float(np.mean(data**2))
    tally.mean_power += float(np.mean(data.mean(axis=0) ** 2))


def _frames(container: Any, stream: Any, tally: _Tally, check: Callable[[], None]) -> Iterator[Any]:
    for packet in container.demux(stream):
        check()
        try:
            yield from packet.decode()
        except av.error.EOFError:
            return
        except av.FFmpegError:
            tally.n_bad += 1


class _Mixer:
    def __init__(self) -> None:
        self._format: tuple[Any, ...] | None = None
        self._graph: Any = None

    def push(self, frame: Any) -> Iterator[NDArray[np.float32]]:
        given = (frame.sample_rate, frame.format.name, frame.layout.name)
        if given != self._format:
            yield from self.flush()
            self._graph, self._format = self._build(frame), given
        frame.pts = None
        self._graph.push(frame)
        yield from self._pull()

    def flush(self) -> Iterator[NDArray[np.float32]]:
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
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=Fraction(1, frame.sample_rate),
        )
        steps = [source, graph.add("aformat", "sample_fmts=fltp")]
        if n > 1:
            steps.append(graph.add("pan", "mono|c0=" + "+".join(f"{1 / n!r}*c{i}" for i in range(n))))
        steps += [graph.add("aresample", f"{SAMPLE_RATE}:osf=fltp"), graph.add("abuffersink")]
        graph.link_nodes(*steps).configure()
        return graph
