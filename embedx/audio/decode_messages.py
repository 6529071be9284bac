"""How a decoding worker answers: small framed messages over a pipe, no pickle."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from embedx.audio.loader import ClipEnd, ClipEvent, ClipStamp, ClipWindow

__all__ = ["HEARTBEAT", "READY", "read_message", "write_event", "write_mark"]

READY, HEARTBEAT = b"R", b"P"
"""Marks without content: the worker has started; it is still at work."""

_HEADER = struct.Struct("<cQ")
_START = struct.Struct("<d")


def write_mark(pipe: BinaryIO, mark: bytes) -> None:
    """Send `READY` or `HEARTBEAT`."""
    pipe.write(_HEADER.pack(mark, 0))
    pipe.flush()


def write_event(pipe: BinaryIO, event: ClipEvent) -> None:
    """Send one event of a clip."""
    if isinstance(event, ClipWindow):
        samples = np.ascontiguousarray(event.samples, dtype="<f4")
        pipe.write(_HEADER.pack(b"W", _START.size + samples.nbytes) + _START.pack(event.start_seconds))
        pipe.write(samples.data)
    else:
        facts = (
            [event.sha256.hex(), event.size, event.mtime_ns]
            if isinstance(event, ClipStamp)
            else [event.reason, event.message]
        )
        body = json.dumps(facts).encode()
        pipe.write(_HEADER.pack(b"S" if isinstance(event, ClipStamp) else b"E", len(body)) + body)
    pipe.flush()


def read_message(read: Callable[[int], bytes | bytearray]) -> ClipEvent | bytes:
    """Read one event, or a mark.

    Parameters
    ----------
    read : callable
        Returns exactly the number of bytes it is asked for.
    """
    kind, n_bytes = _HEADER.unpack(read(_HEADER.size))
    body = read(n_bytes)
    if kind == b"W":
        return ClipWindow(_START.unpack_from(body)[0], np.frombuffer(body, "<f4", offset=_START.size))
    if kind == b"S":
        digest, size, mtime_ns = json.loads(body)
        return ClipStamp(bytes.fromhex(digest), size, mtime_ns)
    return ClipEnd(*json.loads(body)) if kind == b"E" else bytes(kind)
