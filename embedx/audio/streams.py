"""The audio track of a media file, frame by frame, and what of its bytes was lost on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import av

from embedx.errors import DecodeError
from embedx.files import read_at

__all__ = ["DecodeNotes", "choose_track", "has_video", "read_frames"]

_LEAST_RATE = 1_000  # Hertz; a damaged header that says 1 makes hours of a second
_LISTS = frozenset({"concat", "dash", "hls", "imf", "rtsp", "sdp"})
"""What FFmpeg also opens but what holds no sound: lists of other files or addresses."""

_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_LEAST_TAG_BYTES = 128
_HEAD_BYTES = 16
_SEARCHED_BYTES = 1 << 22

av.logging.set_level(av.logging.PANIC)


@dataclass(slots=True)
class DecodeNotes:
    """What was seen while a file was decoded.

    Parameters
    ----------
    n_packets, n_bad_packets : int
        Packets read, and those among them that the codec refused and that were left out.
    on_progress : callable or None
        Called at every packet.
    n_sound_bytes : int
        Size of the packets that were decoded.
    n_lost_bytes : int
        Bytes between the last two packets that were decoded, bad packets among them.
    n_bad_before : int
        Bad packets between them.
    packet_position : int or None
        Where the last packet lies in the file.
    last_packet : av.Packet or None
        The last one that held anything.
    lost_seconds : float
        Sound that is missing in the middle.
    begin_seconds : float
        What was lost before this does not matter.
    """

    n_packets: int = 0
    n_bad_packets: int = 0
    on_progress: Callable[[], None] | None = None
    n_sound_bytes: int = 0
    n_lost_bytes: int = 0
    n_bad_before: int = 0
    packet_position: int | None = None
    last_packet: Any = field(default=None, repr=False)
    lost_seconds: float = 0.0
    begin_seconds: float = 0.0

    def restart(self) -> None:
        """Forget what was seen: the file is read again."""
        self.n_packets = self.n_bad_packets = self.n_sound_bytes = self.n_lost_bytes = self.n_bad_before = 0
        self.packet_position, self.last_packet, self.lost_seconds = None, None, 0.0


def choose_track(container: Any, path: str | os.PathLike[str]) -> Any:
    """Return the audio stream to read: the best one, as FFmpeg judges, among those that have a decoder.

    Raises
    ------
    DecodeError
        A list of other files, no audio, no decoder, or a header that cannot be true.
    """
    if container.format.name in _LISTS:
        raise DecodeError(f"{path} is a list of other files ({container.format.name}), no audio: name those")
    best = container.streams.best("audio")
    if best is None:
        raise DecodeError(f"{path} holds no audio stream")
    track = next((stream for stream in [best, *container.streams.audio] if stream.codec_context is not None), None)
    if track is None:
        codec = _codec_name(container, best.index)
        raise DecodeError(f"{path} cannot be decoded: there is no decoder for its codec, {codec}: convert it to FLAC")
    if 0 < (track.rate or 0) < _LEAST_RATE:
        raise DecodeError(f"{path} says it has {track.rate} samples a second: {_LEAST_RATE} or more are needed")
    return track


def has_video(container: Any) -> bool:
    """Whether moving pictures share the file with the sound; a cover does not count."""
    attached = av.stream.Disposition.attached_pic
    return any(not stream.disposition & attached for stream in container.streams.video)


def read_frames(
    container: Any, track: Any, notes: DecodeNotes, *, path: str | os.PathLike[str] | None = None
) -> Iterator[Any]:
    """Decode packet by packet, so that a bad one costs only itself.

    Parameters
    ----------
    container, track : av container and stream
        Open, at the place to read from.
    notes : DecodeNotes
        Kept up to date.
    path : path-like, optional
        The file, to look at bytes that are in no packet.
    """
    with _ByteLedger(path, container.format.name) as ledger:
        for packet in _packets(container, track, notes, path):
            notes.n_packets += packet.size > 0
            if notes.on_progress is not None:
                notes.on_progress()
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.FFmpegError:
                notes.n_bad_packets += 1
                notes.n_bad_before += 1
                continue
            if packet.size:
                notes.packet_position, notes.last_packet = packet.pos, packet
                notes.n_lost_bytes += ledger.lost_before(packet)
                notes.n_sound_bytes += packet.size
            yield from frames


def _packets(container: Any, track: Any, notes: DecodeNotes, path: str | os.PathLike[str] | None) -> Iterator[Any]:
    try:
        yield from container.demux(track)
    except (av.error.InvalidDataError, av.error.BlockingIOError) as error:
        if path is None or not notes.n_sound_bytes:
            raise
        raise DecodeError(f"{path} is damaged: it cannot be read to its end") from error


class _ByteLedger:
    """Counts the bytes of a file that lie between its packets."""

    def __init__(self, path: str | os.PathLike[str] | None, kind: str) -> None:
        self._path, self._is_recounted = path, path is not None and kind == "aac"
        self._file: BinaryIO | None = None
        self._start = self._end = -1  # of the last packet, or of the page that holds it
        self._shift = 0

    def __enter__(self) -> _ByteLedger:
        self._file = None if self._path is None else open(self._path, "rb")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    def lost_before(self, packet: Any) -> int:
        """Return how many bytes, tags not counted, lie between this packet and the one before."""
        start = self._find(packet) if self._is_recounted else packet.pos
        if start is None or start == self._start:  # one of several packets in a page
            self._end += packet.size
            return 0
        lost = 0 if self._start < 0 or self._begins_with_tag(start - self._end) else start - self._end
        self._start, self._end = start, start + packet.size
        return max(0, lost)

    def _begins_with_tag(self, n_bytes: int) -> bool:
        """Whether what lies between is a tag of the next file: mp3 files are joined by appending one to the other."""
        if self._file is None or n_bytes < _LEAST_TAG_BYTES:
            return False
        return read_at(self._file.fileno(), 16, self._end).startswith(_TAGS)

    def _find(self, packet: Any) -> int:
        """Return where a packet really lies: of a raw AAC stream FFmpeg counts only the bytes that were frames."""
        assert self._file is not None
        head, place = bytes(packet)[:_HEAD_BYTES], packet.pos + self._shift
        if read_at(self._file.fileno(), len(head), place) == head:
            return int(place)
        found = read_at(self._file.fileno(), _SEARCHED_BYTES, place).find(head)
        self._shift += max(0, found)
        return int(place + max(0, found))


def _codec_name(container: Any, index: int) -> str:
    """Read the codec's name, or its four letters, in FFmpeg's description of the file."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        lines = container.dumps_format()
    finally:
        av.logging.set_level(before)
    found = re.search(rf"Stream #0:{index}\b.*?: Audio: ([^,\n]*)", lines)
    name = found.group(1).strip() if found else "unknown"
    return name.removeprefix("none (").removesuffix(")")
