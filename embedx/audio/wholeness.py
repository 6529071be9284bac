"""Is a file all there? Half a webm, mp3 or ogg decodes without an error, so bytes and durations are compared."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from embedx.errors import DecodeError

__all__ = ["require_whole"]

_TOLERATED_SECONDS = 0.5
_TOLERATED_SHARE = 0.02
_HONEST = ("flac", "mov,mp4,m4a,3gp,3g2,mj2", "aiff", "caf", "w64")
"""Formats whose header declares the duration of each stream; others estimate it from the bit rate."""

_HEAD_BYTES = 1 << 16
_OGG_END_OF_STREAM = 4
_MATROSKA_SEGMENT = b"\x18\x53\x80\x67"


def require_whole(path: str | os.PathLike[str], container: Any, stream: Any, seconds: float) -> None:
    """Refuse a file whose sound or whose bytes end before its own header says.

    Parameters
    ----------
    path : path-like
        The file.
    container, stream : av containers
        Open, decoded to the end.
    seconds : float
        What was decoded, from the beginning of the stream.

    Raises
    ------
    DecodeError
        The file is cut off.
    """
    share = _share_of_bytes(path, container.format.name)
    if share is not None and share < 1 - _TOLERATED_SHARE:
        raise DecodeError(f"{path} is cut off: the file ends in the middle, after {seconds:.2f} s of sound")
    declared = _declared_seconds(container, stream)
    if declared is not None and declared - seconds > max(_TOLERATED_SECONDS, _TOLERATED_SHARE * declared):
        raise DecodeError(f"{path} is cut off: it holds {seconds:.2f} s of the {declared:.2f} s that it declares")


def _declared_seconds(container: Any, stream: Any) -> float | None:
    if container.format.name not in _HONEST or stream.duration is None or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)


def _share_of_bytes(path: str | os.PathLike[str], kind: str) -> float | None:
    """Return how much of the bytes that a file declares is there; None where it declares nothing."""
    check = {"wav": _wav_bytes, "mp3": _mp3_bytes, "matroska,webm": _matroska_bytes, "ogg": _ogg_bytes}.get(kind)
    if check is None:
        return None
    with open(path, "rb") as file:
        declared = check(file)
        size = os.fstat(file.fileno()).st_size
    return None if not declared else min(1.0, size / declared)


def _wav_bytes(file: BinaryIO) -> int | None:
    """Return where the data chunk ends; a stream's header holds 0 or the largest number instead."""
    head = file.read(_HEAD_BYTES)
    at = 12
    while head[:4] == b"RIFF" and at + 8 <= len(head):
        size = int.from_bytes(head[at + 4 : at + 8], "little")
        if head[at : at + 4] == b"data":
            return at + 8 + size if 0 < size < 0xFFFFFF00 else None
        at += 8 + size + size % 2
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
    """Return the whole size if the last page ends its stream, else more: an ogg does not declare its length."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _HEAD_BYTES))
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or at + 27 > len(tail):
        return 2 * size
    n_segments = tail[at + 26]
    table = tail[at + 27 : at + 27 + n_segments]
    is_whole = len(table) == n_segments and at + 27 + n_segments + sum(table) <= len(tail)
    return size if is_whole and tail[at + 5] & _OGG_END_OF_STREAM else 2 * size
