"""Is a file all there? Half a webm, mp3 or ogg decodes without an error, so bytes, ends and durations are compared."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from embedx.audio.streams import DecodeNotes
from embedx.containers.clip_files import open_clip
from embedx.errors import DecodeError

__all__ = ["require_whole"]

_TOLERATED_SECONDS = 0.5
_TOLERATED_SHARE = 0.02
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_HONEST = ("flac", _MP4, "aiff", "caf", "w64")
"""Formats whose header declares the duration of each stream; others estimate it from the bit rate."""

_HEAD_BYTES = 1 << 16
_OGG_GOES_ON = b"\xff"  # a packet whose last piece has this length goes on in the next page
_TAGS = (b"TAG", b"APETAGEX", b"ID3")
_MATROSKA_SEGMENT = b"\x18\x53\x80\x67"


def require_whole(
    path: str | os.PathLike[str], container: Any, stream: Any, seconds: float, notes: DecodeNotes
) -> None:
    """Refuse a file whose sound or whose bytes end before its own header says.

    Parameters
    ----------
    path : path-like
        The file.
    container, stream : av containers
        Open, decoded to the end.
    seconds : float
        Where the sound ends, on the file's time line.
    notes : DecodeNotes
        What was seen on the way.

    Raises
    ------
    DecodeError
        The file is cut off.
    """
    share = _share_of_bytes(path, container.format.name)
    if share is not None and share < 1 - _TOLERATED_SHARE:
        raise DecodeError(f"{path} is cut off: the file ends in the middle, after {seconds:.2f} s of sound")
    declared = _declared_seconds(container, stream)
    if declared is None or declared - seconds <= max(_TOLERATED_SECONDS, _TOLERATED_SHARE * declared):
        return
    if not _ends_well(path, container, stream, notes):
        raise DecodeError(f"{path} is cut off: it holds {seconds:.2f} s of the {declared:.2f} s that it declares")


def _declared_seconds(container: Any, stream: Any) -> float | None:
    if container.format.name not in _HONEST or stream.duration is None or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)


def _ends_well(path: str | os.PathLike[str], container: Any, stream: Any, notes: DecodeNotes) -> bool:
    """Whether all is there although a header declares more: pauses in mp4, FLAC that was cut without a new header."""
    if container.format.name == _MP4:
        return 0 < stream.frames <= notes.n_packets
    if container.format.name != "flac" or notes.last_packet is None:
        return False
    last = bytes(notes.last_packet)
    end = notes.last_packet.pos + len(last)
    with open_clip(path) as file:
        file.seek(end)
        rest = file.read(16)
    return (not rest or rest.startswith(_TAGS)) and _flac_checksum(last) == 0


def _flac_checksum(frame: bytes) -> int:
    """Return the CRC-16 of a frame with its own at the end: 0 if it is intact (RFC 9639, section 9.3)."""
    register = 0
    for byte in frame:
        register ^= byte << 8
        for _ in range(8):
            register = (register << 1) ^ (0x8005 if register & 0x8000 else 0)
        register &= 0xFFFF
    return register


def _share_of_bytes(path: str | os.PathLike[str], kind: str) -> float | None:
    """Return how much of the bytes that a file declares is there; None where it declares nothing."""
    check = _CHECKS.get(kind)
    if check is None:
        return None
    with open_clip(path) as file:
        declared = check(file)
        size = file.seek(0, os.SEEK_END)
    return None if not declared else min(1.0, size / declared)


def _wav_bytes(file: BinaryIO) -> int | None:
    """Return where the data chunk ends; what wrote to a pipe left 0 or one of the largest numbers instead."""
    head = file.read(_HEAD_BYTES)
    at, long_size = 12, 0
    while head[:4] in (b"RIFF", b"RF64") and at + 8 <= len(head):
        size = int.from_bytes(head[at + 4 : at + 8], "little")
        if head[at : at + 4] == b"ds64":
            long_size = int.from_bytes(head[at + 16 : at + 24], "little")
        if head[at : at + 4] == b"data":
            size = long_size if head[:4] == b"RF64" else 0 if _is_placeholder(size) else size
            return at + 8 + size if size else None
        at += 8 + size + size % 2
    return None


def _is_placeholder(size: int) -> bool:
    """Whether a size of 32 bits says "not known": SoX writes 0x7FFFF000, others the largest number or one near it."""
    return size >= 0xFFFFF000 or 0x7FFFF000 <= size <= 0x80000000


def _au_bytes(file: BinaryIO) -> int | None:
    """Return where the sound ends: the header holds its offset and its size."""
    head = file.read(12)
    size = int.from_bytes(head[8:12], "big")
    return None if _is_placeholder(size) or not size else int.from_bytes(head[4:8], "big") + size


def _caf_bytes(file: BinaryIO) -> int | None:
    """Return where the data chunk ends; one that is still being written has the size -1."""
    head = file.read(_HEAD_BYTES)
    at = 8
    while at + 12 <= len(head):
        size = int.from_bytes(head[at + 4 : at + 12], "big", signed=True)
        if size < 0:
            return None
        if head[at : at + 4] == b"data":
            return at + 12 + size
        at += 12 + size
    return None


def _w64_bytes(file: BinaryIO) -> int | None:
    """Return where the data chunk ends: names of 16 bytes, sizes of 8 that count the header, steps of 8."""
    head = file.read(_HEAD_BYTES)
    at = 40
    while at + 24 <= len(head):
        size = int.from_bytes(head[at + 16 : at + 24], "little")
        if head[at : at + 4] == b"data":
            return at + size if 24 < size < 1 << 62 else None
        at += max(24, size + -size % 8)
    return None


def _mp3_bytes(file: BinaryIO) -> int | None:
    """Return where the stream ends by its Xing or Info header (LAME's tag, found in the first frame)."""
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3":
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    file.seek(start)
    frame = file.read(512)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or at > 200:
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    at += 8 + (4 if flags & 1 else 0)
    return start + int.from_bytes(frame[at : at + 4], "big") if flags & 2 else None


def _matroska_bytes(file: BinaryIO) -> int | None:
    """Return where the segment ends; a live recording leaves its size unknown."""
    head = file.read(4096)
    at = head.find(_MATROSKA_SEGMENT) + len(_MATROSKA_SEGMENT)
    if at < len(_MATROSKA_SEGMENT) or at >= len(head) or not head[at]:
        return None
    n_bytes = 9 - head[at].bit_length()
    size = int.from_bytes(head[at : at + n_bytes], "big") & ((1 << 7 * n_bytes) - 1)
    return None if size == (1 << 7 * n_bytes) - 1 else at + n_bytes + size


def _ogg_bytes(file: BinaryIO) -> int | None:
    """Return the whole size if the last page is complete and ends a packet, else more: an ogg declares no length."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _HEAD_BYTES))
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return 2 * size
    n_segments = tail[at + 26]
    table = tail[at + 27 : at + 27 + n_segments]
    is_whole = len(table) == n_segments and at + 27 + n_segments + sum(table) <= len(tail)
    return size if is_whole and table[-1:] != _OGG_GOES_ON else 2 * size


_CHECKS = {
    "wav": _wav_bytes,
    "w64": _w64_bytes,
    "au": _au_bytes,
    "caf": _caf_bytes,
    "mp3": _mp3_bytes,
    "matroska,webm": _matroska_bytes,
    "ogg": _ogg_bytes,
}
