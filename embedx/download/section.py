"""A few seconds are cut out of a media file, whatever its container and however damaged it is.

The file may be a path or anything with ``read`` and ``seek``: only what the section needs is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from embedx.download.status import StatusError, clean_message

__all__ = ["SAMPLE_RATE", "Section", "cut_section", "section_versions"]

SAMPLE_RATE = 16_000
_PREROLL_SECONDS = 1.0
_TOLERATED_SECONDS = 0.25
_PADDING_SECONDS = 0.1
_SILENT_PEAK = 1e-4
_MAX_CHANNELS = 64
_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tak,tta,voc,w64,wav,wv"
)
"""What is opened: media only, no playlists, which would make FFmpeg open other files and addresses by itself."""

av.logging.set_level(av.logging.PANIC)


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


@dataclass(slots=True)
class _Tally:
    """What is noticed while decoding."""

    n_bad: int = 0
    channel_power: float = 0.0
    mean_power: float = 0.0

    def hear(self, frame: Any) -> None:
        """Compare the power of the channels with that of their mean."""
        if frame.layout.nb_channels < 2:
            return
        data = frame.to_ndarray()
        data = data if frame.format.is_planar else data.reshape(-1, frame.layout.nb_channels).T
        scale = 1.0 if data.dtype.kind == "f" else float(np.iinfo(data.dtype).max)
        self.channel_power += float(np.mean(np.square(data, dtype=np.float64))) / scale**2
        self.mean_power += float(np.mean(np.square(data.mean(axis=0, dtype=np.float64)))) / scale**2

    @property
    def is_cancelled(self) -> bool:
        """Whether the channels have sound and their mean has not (40 dB less)."""
        return self.channel_power > 1e-8 and self.mean_power < 1e-4 * self.channel_power


def cut_section(
    file: Any,
    *,
    start: Callable[[float | None], float],
    seconds: float | None,
    duration: float | None = None,
    max_duration: float | None = None,
    max_seconds: float = 4 * 3600.0,
    head: bytes = b"",
    check: Callable[[], None] = lambda: None,
) -> Section:
    """Decode from ``start`` for ``seconds`` of the best audio stream.

    Parameters
    ----------
    file : path or file object
        Media; an object needs ``read`` and ``seek``.
    start : callable
        Duration of the source (or None) to the beginning of the section, in seconds.
    seconds : float or None
        Length; None is to the end.
    duration : float, optional
        What is known of the source's duration from elsewhere.
    max_duration : float, optional
        Longer sources are refused.
    max_seconds : float
        More than this is never decoded.
    head : bytes
        First bytes of the file, where they are at hand: they tell whether an mp3 can be sought by counting.
    check : callable
        Called often; raises to stop.

    Raises
    ------
    StatusError
        ``no_audio``, ``past_end``, ``too_long``, ``truncated``, ``corrupt`` or ``unavailable``.
    """
    try:
        options = {"format_whitelist": _FORMATS, **({"fflags": "+fastseek"} if _is_constant_mp3(head) else {})}
        with av.open(file, mode="r", metadata_errors="ignore", options=options) as container:
            return _cut(container, start, seconds, duration, max_duration, max_seconds, check)
    except FileNotFoundError as error:
        raise StatusError("unavailable", "no such file") from error
    except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
        if "whitelist" in str(error):
            raise StatusError("no_audio", "a playlist or another kind of file that is not opened as media") from error
        why = getattr(error, "strerror", None) or str(error)
        raise StatusError("corrupt", clean_message(f"not decodable as audio: {why}")) from error


def _is_constant_mp3(head: bytes) -> bool:
    """Say whether an mp3 declares a constant bit rate: then a frame's place follows from its time."""
    return (head.startswith(b"ID3") or head[:1] == b"\xff") and b"Info\0" in head and b"Xing" not in head


def section_versions() -> dict[str, str]:
    """Return the versions of what decodes, for the journal."""
    return {"av": av.__version__, "libavcodec": ".".join(map(str, av.library_versions["libavcodec"]))}


def _cut(
    container: Any,
    start: Callable[[float | None], float],
    seconds: float | None,
    duration: float | None,
    max_duration: float | None,
    max_seconds: float,
    check: Callable[[], None],
) -> Section:
    stream = container.streams.best("audio")
    if stream is None:
        raise StatusError("no_audio", "the file holds no audio stream")
    length = _duration(container, stream) or duration
    if max_duration is not None and length is not None and length > max_duration:
        raise StatusError("too_long", f"{length:.0f} s, allowed are {max_duration:g} s (--max-duration)")
    begin = start(length)
    if length is not None and begin >= length:
        raise StatusError("past_end", f"the section begins at {begin:g} s, the source ends at {length:.2f} s")
    wanted = max_seconds if seconds is None else seconds
    to_end = wanted if length is None else length - begin
    if max(wanted if seconds else 0.0, to_end if seconds is None else 0.0) > max_seconds:
        raise StatusError("too_long", f"more than the {max_seconds:g} s that are kept in memory at once")
    expected = min(wanted, to_end)
    tally = _Tally()
    samples = _collect(container, stream, begin, wanted, tally, check)
    _require_all(samples, begin, expected, length, tally.n_bad)
    if len(samples) - expected * SAMPLE_RATE < _PADDING_SECONDS * SAMPLE_RATE:
        samples = samples[: round(expected * SAMPLE_RATE)]
    names = (stream.codec_context.name, container.format.name)
    return Section(samples, begin, length, *names, tally.n_bad, tally.is_cancelled)


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _require_all(samples: NDArray[np.float32], begin: float, expected: float, length: float | None, n_bad: int) -> None:
    """Refuse a section that is shorter than the source's own duration lets expect."""
    missing = expected - len(samples) / SAMPLE_RATE
    if len(samples) and (missing <= _TOLERATED_SECONDS or (length is None and not n_bad)):
        return
    if n_bad:
        raise StatusError("corrupt", f"{n_bad} packets cannot be decoded, {missing:.2f} s are missing")
    if length is None:
        raise StatusError("past_end", f"the section begins at {begin:g} s, after the end of the source")
    raise StatusError("truncated", f"the file is cut off: {missing:.2f} s of the section are missing")


def _collect(
    container: Any, stream: Any, begin: float, wanted: float, tally: _Tally, check: Callable[[], None]
) -> NDArray[np.float32]:
    """Return the samples of the section; fewer where the source has no more."""
    origin = float((stream.start_time or 0) * stream.time_base)
    if begin > _PREROLL_SECONDS:
        target = begin - _PREROLL_SECONDS + origin
        container.seek(round(target / stream.time_base), stream=stream, backward=True)
    mixer, pieces = _Mixer(), []
    skip, n_have, n_wanted = None, 0, round(wanted * SAMPLE_RATE)
    for frame in _frames(container, stream, tally, check):
        if skip is None:
            at = float(frame.pts * frame.time_base) - origin if frame.pts is not None else 0.0
            skip = round((begin - at) * SAMPLE_RATE)
        if n_have >= skip:
            tally.hear(frame)
        for piece in mixer.push(frame):
            pieces.append(piece)
            n_have += len(piece)
        if n_have >= skip + n_wanted:
            break
    else:
        pieces.extend(mixer.flush())
    everything = np.concatenate([np.empty(0, np.float32), *pieces])
    skip = skip or 0
    return everything[max(0, skip) : max(0, skip + n_wanted)]


def _frames(container: Any, stream: Any, tally: _Tally, check: Callable[[], None]) -> Iterator[Any]:
    """Decode packet by packet, so that a bad one costs only itself."""
    for packet in container.demux(stream):
        check()
        try:
            frames = packet.decode()
        except av.error.EOFError:
            return
        except av.FFmpegError:
            tally.n_bad += 1
            continue
        for frame in frames:
            if frame.layout.nb_channels > _MAX_CHANNELS:
                raise StatusError("corrupt", f"{frame.layout.nb_channels} channels")
            yield frame


class _Mixer:
    """Frames of any format to 16 kHz mono.

    The channels are averaged in floating point: FFmpeg's own downmix to mono is 3 dB louder on stereo and clips.
    """

    def __init__(self) -> None:
        self._format: tuple[Any, ...] | None = None
        self._graph: Any = None

    def push(self, frame: Any) -> Iterator[NDArray[np.float32]]:
        """Give one frame; yields what became ready. A format that changes starts a new graph."""
        given = (frame.sample_rate, frame.format.name, frame.layout.name)
        if given != self._format:
            yield from self.flush()
            self._graph, self._format = _build_graph(frame), given
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


def _build_graph(frame: Any) -> Any:
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
