"""What a file says of itself before anything is decoded."""

from __future__ import annotations

import os

import av

from embedx.audio.streams import open_media
from embedx.containers.clip_files import is_clip

__all__ = ["read_duration"]


def read_duration(path: str | os.PathLike[str]) -> float | None:
    """Return the seconds of audio that a file's header declares; None where it says nothing or cannot be read.

    A header may be wrong: this is for estimates.
    """
    if not is_clip(path):
        return None
    try:
        with open_media(path) as container:
            stream = container.streams.best("audio")
            if stream is None:
                return None
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            return None if container.duration is None else container.duration / av.time_base
    except (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError):
        return None
