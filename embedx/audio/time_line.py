"""One time line for a file, its segments and its gaps: the time stamps, as FFmpeg and players follow them.

The rules:

- Time zero is the first sound; in a film whose sound begins later than its pictures, the first picture.
- Sound is counted sample by sample while the stamps agree with the count within 0.1 s (containers round stamps,
  recorders jitter). Where the stamps are further ahead, the gap is silence. FLAC counts its own samples: no tolerance.
- Stamps that jump back by more than a second are another recording appended, or a clock set anew: the count goes on.
  So it is with jumps ahead of more than 10 s in MPEG streams; elsewhere one of more than an hour is refused.
- A gap whose bytes are in the file, or whose packets cannot be decoded, is no pause but damage.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from embedx.audio.streams import DecodeNotes, has_video, read_frames
from embedx.errors import DecodeError

__all__ = ["CannotSeekError", "can_seek", "read_from_start", "read_near"]

_TOLERANCE_SECONDS = 0.1
_RESET_SECONDS = 1.0
_LONGEST_GAP_SECONDS = 3600.0
_LONGEST_MPEG_GAP_SECONDS = 10.0
_LOST_SECONDS = 0.5
_LOST_BYTE_SHARE = 0.25
"""A gap is damage where this share of the bytes that its seconds would take lies between its packets."""
_HEADER_BYTES = 512  # what a container puts between packets
_EVIDENT_SECONDS = 0.5  # in ogg the stamp jumps some packets after the lost page

_COUNTED = frozenset({"mp3", "aac", "ac3", "eac3", "dts"})
"""Formats without time stamps: FFmpeg counts frames, so what is lost leaves no gap."""

_MPEG = frozenset({"mpegts", "mpeg"})

_PREROLL_SECONDS = 2.0
_WARM_UP_SECONDS = 0.25
_SEEK_WORTH_SECONDS = 30.0
_MOST_PHASES = 1024
_PCM_FILES = frozenset({"wav", "w64", "aiff", "au", "caf"})
_PCM_CODEC = re.compile(r"pcm_(?:[suf](8|16|24|32|64)(?:le|be)?|(?:a|mu)law)")


class CannotSeekError(Exception):
    """The place after a seek cannot be told for sure: read from the start."""


def can_seek(container: Any, track: Any, begin_seconds: float, sample_rate: int) -> bool:
    """Whether `read_near` is worth it, and a test shows that it gives what a full read gives."""
    kind, codec = container.format.name, track.codec_context.name
    is_pcm = kind in _PCM_FILES and _PCM_CODEC.fullmatch(codec) is not None
    is_sure = is_pcm or (kind, codec) == ("flac", "flac")
    return begin_seconds >= _SEEK_WORTH_SECONDS and is_sure and _has_exact_phases(track.rate, sample_rate)


def _has_exact_phases(rate: int, sample_rate: int) -> bool:
    """Whether the resampler tabulates every phase: else its filter depends on where it began."""
    return bool(rate) and sample_rate // math.gcd(rate, sample_rate) <= _MOST_PHASES


def read_from_start(container: Any, track: Any, notes: DecodeNotes, path: str | os.PathLike[str]) -> Iterator[Any]:
    """Yield every frame of a track, with silence in its gaps.

    Parameters
    ----------
    container, track : av container and stream
        Open, at the beginning.
    notes : DecodeNotes
        Kept up to date.
    path : path-like
        For messages.

    Raises
    ------
    DecodeError
        Sound is lost in the middle, or time stamps make no sense.
    """
    line = _TimeLine(container, track, notes, path)
    yield from line.with_silence(read_frames(container, track, notes, path=path))


def read_near(
    container: Any, track: Any, begin_seconds: float, sample_rate: int, notes: DecodeNotes, path: str | os.PathLike[str]
) -> tuple[int, Iterator[Any]]:
    """Jump to a little before a segment, where what follows is sure to equal what a full read gives there.

    That holds for PCM, whose place follows from the byte, and for FLAC, whose frames are numbered. Where the
    resampler's phase matters, reading begins at a sample with the phase that it has in a full read.

    Returns
    -------
    (int, iterator of av frames)
        Where the first frame begins, in samples of ``sample_rate``; and the frames.

    Raises
    ------
    CannotSeekError
        The place that was reached is not sure.
    """
    origin = next(container.demux(track))
    _jump(container, track, begin_seconds - _PREROLL_SECONDS)
    line = _TimeLine(container, track, notes, path)
    frames = read_frames(container, track, notes, path=path)
    first = next(frames, None)
    if first is None or first.sample_rate != track.rate:
        raise CannotSeekError
    index = _index(first, track, notes.packet_position, origin)
    period = track.rate // math.gcd(track.rate, sample_rate)
    start = -(-index // period) * period
    if start > (begin_seconds - _WARM_UP_SECONDS) * track.rate:
        raise CannotSeekError
    line.begin_at(first, index)
    every = line.with_silence(itertools.chain([first], frames))
    return start * sample_rate // track.rate, _without(start - index, every)


def _jump(container: Any, track: Any, seconds: float) -> None:
    try:
        container.seek(round(seconds / track.time_base) + (track.start_time or 0), stream=track, backward=True)
    except (av.FFmpegError, OverflowError) as error:  # the place is further away than any file is long
        raise CannotSeekError from error


def _index(frame: Any, track: Any, position: int | None, origin: Any) -> int:
    """Return which sample of the track a frame begins with: by its byte in PCM, by its number in FLAC."""
    pcm = _PCM_CODEC.fullmatch(track.codec_context.name)
    if pcm is None:
        if frame.pts is None or track.time_base * track.rate != 1:
            raise CannotSeekError
        return int(frame.pts - (origin.pts or 0))
    if position is None or origin.pos is None:
        raise CannotSeekError
    index, rest = divmod(position - origin.pos, int(pcm.group(1) or 8) // 8 * frame.layout.nb_channels)
    if rest or index < 0:
        raise CannotSeekError
    return index


def _without(n_samples: int, frames: Iterator[Any]) -> Iterator[Any]:
    """Yield frames but for their first samples."""
    for frame in frames:
        if n_samples >= frame.samples:
            n_samples -= frame.samples
            continue
        yield _shortened(frame, n_samples) if n_samples else frame
        n_samples = 0


def _shortened(frame: Any, n_samples: int) -> Any:
    first = n_samples if frame.format.is_planar else n_samples * frame.layout.nb_channels
    samples = np.ascontiguousarray(frame.to_ndarray()[:, first:])
    short = av.AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout)
    short.sample_rate = frame.sample_rate
    return short


class _TimeLine:
    """Compares the count of samples with the time stamps."""

    def __init__(self, container: Any, track: Any, notes: DecodeNotes, path: str | os.PathLike[str]) -> None:
        kind = container.format.name
        self._notes, self._path = notes, path
        self._is_flac, self._is_counted, self._is_film = kind == "flac", kind in _COUNTED, has_video(container)
        self._longest = _LONGEST_MPEG_GAP_SECONDS if kind in _MPEG else _LONGEST_GAP_SECONDS
        self._unit = float(track.time_base or 0)
        self._tolerance = self._unit / 2 if self._is_flac else _TOLERANCE_SECONDS
        self._file_start = (container.start_time or 0) / av.time_base if self._is_film else None
        self._stamp_of_zero: float | None = None
        self._now = self._sound_seconds = self._evident_until = 0.0
        self._n_lost_bytes = self._n_bad = 0

    def begin_at(self, frame: Any, index: int) -> None:
        """Begin with a frame that is so many samples after the first one."""
        self._now = index / frame.sample_rate
        self._stamp_of_zero = frame.pts * self._unit - self._now if frame.pts is not None else None

    def with_silence(self, frames: Iterator[Any]) -> Iterator[Any]:
        """Yield frames, and silence before those that come late; raise if it is no silence but damage."""
        for frame in frames:
            rate = frame.sample_rate
            n_silent = round(self._gap(frame) * rate)
            self._require_intact(n_silent / rate)
            self._now += (n_silent + frame.samples) / rate
            self._sound_seconds += frame.samples / rate
            for start in range(0, n_silent, rate):
                yield _silence(frame, min(rate, n_silent - start))
            yield frame

    def _gap(self, frame: Any) -> float:
        ticks = frame.pts
        if ticks is None:
            return 0.0
        stamp = ticks * self._unit
        if self._stamp_of_zero is None:
            self._stamp_of_zero = self._first_stamp(stamp) - self._now
        ahead = stamp - self._stamp_of_zero - self._now
        if -_RESET_SECONDS <= ahead <= self._tolerance:
            return 0.0
        if ahead < 0 or (ahead > self._longest == _LONGEST_MPEG_GAP_SECONDS):
            self._stamp_of_zero = stamp - self._now
            return 0.0
        if ahead > self._longest:
            raise DecodeError(
                f"{self._path}: its time stamps jump by {ahead:.0f} s at {self._now:.2f} s, more than the "
                f"{self._longest:.0f} s that are taken for a pause: cut the file there"
            )
        return float(ahead)

    def _first_stamp(self, stamp: float) -> float:
        """Return the stamp of time zero: where the pictures begin, if that is earlier than the sound."""
        late = 0.0 if self._file_start is None else stamp - self._file_start
        return stamp - late if _TOLERANCE_SECONDS < late <= self._longest else stamp

    def _require_intact(self, gap: float) -> None:
        if not (gap or self._notes.n_lost_bytes or self._notes.n_bad_before):
            return
        lost = self._lost_seconds(gap)
        self._notes.lost_seconds += lost
        if lost > _LOST_SECONDS and (self._is_counted or self._now + gap > self._notes.begin_seconds):
            raise DecodeError(f"{self._path} is damaged: about {lost:.1f} s of sound are lost at {self._now:.2f} s")

    def _lost_seconds(self, gap: float) -> float:
        """Say how much of a gap was in the file once."""
        notes = self._notes
        rate = notes.n_sound_bytes / self._sound_seconds if self._sound_seconds else 0.0
        if self._now > self._evident_until:
            self._n_lost_bytes = self._n_bad = 0
        if notes.n_lost_bytes or notes.n_bad_before:
            self._evident_until = self._now + _EVIDENT_SECONDS
        n_lost, notes.n_lost_bytes = notes.n_lost_bytes, 0
        self._n_bad, notes.n_bad_before = self._n_bad + notes.n_bad_before, 0
        self._n_lost_bytes = max(self._n_lost_bytes, n_lost)
        if self._is_counted:
            return max(gap, n_lost / rate if rate else 0.0)
        least = max(_HEADER_BYTES, _LOST_BYTE_SHARE * rate * gap)
        has_bytes = not self._is_film and self._n_lost_bytes > least
        return gap if self._is_flac or self._n_bad or has_bytes else 0.0


def _silence(frame: Any, n_samples: int) -> Any:
    """Return silence in the format of a frame."""
    silent = av.AudioFrame(format=frame.format.name, layout=frame.layout, samples=n_samples)
    silent.sample_rate = frame.sample_rate
    zero = b"\x80" if frame.format.name.startswith("u8") else b"\x00"
    for plane in silent.planes:
        plane.update(zero * plane.buffer_size)
    return silent
