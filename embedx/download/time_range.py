"""A few seconds are cut out of a media file, whatever its container and however damaged it is.

The file may be a path or anything with ``read`` and ``seek``: only what the section needs is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from embedx.audio.downmix import Mixer
from embedx.audio.streams import DecodeNotes, read_frames
from embedx.download.status import StatusError, clean_message

__all__ = ["SAMPLE_RATE", "Section", "cut_section"]

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

    channel_power: float = 0.0
    mean_power: float = 0.0

    def add(self, frame: Any) -> None:
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
        First bytes of a file object (a path is looked into): they tell whether an mp3's duration and frames
        can be counted on.
    check : callable
        Called often; raises to stop.

    Raises
    ------
    StatusError
        ``no_audio``, ``past_end``, ``too_long``, ``truncated``, ``corrupt`` or ``unavailable``.
    """
    try:
        head = head or _head_of(file)
        options = {"format_whitelist": _FORMATS, **({"fflags": "+fastseek"} if _is_constant_mp3(head) else {})}
        with av.open(file, mode="r", metadata_errors="ignore", options=options) as container:
            return _cut(container, head, start, seconds, duration, max_duration, max_seconds, check)
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


def _is_estimated(container: Any, head: bytes) -> bool:
    """Say whether the declared duration is only guessed from the first frames' bit rate."""
    if container.format.name == "mp3":
        return not any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))
    return container.format.name in ("aac", "ac3", "eac3", "dts")


def _head_of(path: Any) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(65_536)


def _cut(
    container: Any,
    head: bytes,
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
        raise StatusError("too_long", f"{length:.0f} s, allowed are {max_duration:g} s (--max-duration-seconds)")
    begin = start(length)
    if length is not None and begin >= length:
        raise StatusError("past_end", f"the section begins at {begin:g} s, the source ends at {length:.2f} s")
    wanted = max_seconds if seconds is None else seconds
    to_end = wanted if length is None else length - begin
    if max(wanted if seconds else 0.0, to_end if seconds is None else 0.0) > max_seconds:
        raise StatusError("too_long", f"more than the {max_seconds:g} s that are kept in memory at once")
    expected = min(wanted, to_end)
    tally, notes = _Tally(), DecodeNotes(on_progress=check)
    samples = _collect(container, stream, begin, wanted, tally, notes)
    sure = None if _is_estimated(container, head) else length
    _require_all(samples, begin, expected, sure, notes.n_bad_packets)
    if len(samples) - expected * SAMPLE_RATE < _PADDING_SECONDS * SAMPLE_RATE:
        samples = samples[: round(expected * SAMPLE_RATE)]
    names = (stream.codec_context.name, container.format.name)
    return Section(samples, begin, length, *names, notes.n_bad_packets, tally.is_cancelled)


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
    container: Any, stream: Any, begin: float, wanted: float, tally: _Tally, notes: DecodeNotes
) -> NDArray[np.float32]:
    """Return the samples of the section; fewer where the source has no more."""
    origin = float((stream.start_time or 0) * stream.time_base)
    if begin > _PREROLL_SECONDS:
        target = begin - _PREROLL_SECONDS + origin
        container.seek(round(target / stream.time_base), stream=stream, backward=True)
    mixer, pieces = Mixer(SAMPLE_RATE), []
    skip, n_have, n_wanted = None, 0, round(wanted * SAMPLE_RATE)
    for frame in read_frames(container, stream, notes):
        if frame.layout.nb_channels > _MAX_CHANNELS:
            raise StatusError("corrupt", f"{frame.layout.nb_channels} channels")
        if skip is None:
            at = float(frame.pts * frame.time_base) - origin if frame.pts is not None else 0.0
            skip = round((begin - at) * SAMPLE_RATE)
        if n_have >= skip:
            tally.add(frame)
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
