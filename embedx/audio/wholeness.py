"""Is a file all there? Half a webm, mp3 or ogg decodes without an error, so bytes and durations are compared."""

from __future__ import annotations

import os
from typing import Any

from embedx.errors import DecodeError

__all__ = ["require_whole"]

_TOLERATED_SECONDS = 0.5
_TOLERATED_SHARE = 0.02


def require_whole(path: str | os.PathLike[str], container: Any, stream: Any, seconds: float) -> None:
    """Refuse a file whose sound ends before its own header says.

    Parameters
    ----------
    path : path-like
        The file, for the message.
    container, stream : av containers
        Open, decoded to the end.
    seconds : float
        What was decoded, from the beginning of the stream.

    Raises
    ------
    DecodeError
        The file is cut off.
    """
    declared = _declared_seconds(container, stream)
    if declared is None:
        return
    missing = declared - seconds
    if missing > max(_TOLERATED_SECONDS, _TOLERATED_SHARE * declared):
        raise DecodeError(
            f"{path} is cut off: it holds {seconds:.2f} s of the {declared:.2f} s that its header declares"
        )


def _declared_seconds(container: Any, stream: Any) -> float | None:
    """Return the duration that the file declares; None where it is only estimated from the bit rate."""
    if container.format.name == "mp3":
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None
