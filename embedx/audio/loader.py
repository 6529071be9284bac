"""A clip becomes windows of samples: what is asked for, what comes back, and the work itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from embedx.audio.decode import decode_blocks
from embedx.audio.windows import WindowPlan, cut_windows
from embedx.containers.clip_files import is_clip, stamp_clip
from embedx.errors import DecodeError, ParameterError
from embedx.recipe import Recipe

__all__ = ["ClipEnd", "ClipEvent", "ClipRequest", "ClipStamp", "ClipWindow", "clip_blocks", "load_clip", "parse_offset"]


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """What of which file is wanted, in which windows.

    Parameters
    ----------
    path : str
        The file.
    start_seconds, stop_seconds : float
        Segment of the file; None reads to the end.
    offset : str
        ``"start"``, ``"middle"`` or seconds as text: where in the segment reading starts.
    max_seconds : float or None
        At most so much is read.
    sample_rate : int
        Hertz.
    window_samples, hop_samples, min_tail_samples : int
        See `WindowPlan`.
    """

    path: str
    start_seconds: float
    stop_seconds: float | None
    offset: str
    max_seconds: float | None
    sample_rate: int
    window_samples: int
    hop_samples: int
    min_tail_samples: int

    @classmethod
    def from_recipe(
        cls, path: str, recipe: Recipe, *, start_seconds: float = 0.0, stop_seconds: float | None = None
    ) -> ClipRequest:
        """Ask for a clip as a recipe says."""
        plan = WindowPlan.from_recipe(recipe)
        return cls(
            path,
            start_seconds,
            stop_seconds,
            recipe.offset,
            recipe.max_seconds,
            recipe.sample_rate,
            plan.window_samples,
            plan.hop_samples,
            plan.min_tail_samples,
        )

    @property
    def plan(self) -> WindowPlan:
        """Where windows lie."""
        return WindowPlan(self.window_samples, self.hop_samples, self.min_tail_samples)

    def to_json(self) -> str:
        """Return the request as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ClipRequest:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class ClipStamp:
    """Which bytes a clip was read from: sha256 (32 bytes), size in bytes, modification time in ns."""

    sha256: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class ClipWindow:
    """One window: where it begins in the file, in seconds, and its samples (n,), float32."""

    start_seconds: float
    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClipEnd:
    """The last event of a clip; ``reason`` is empty, or the stable word for why there are no windows."""

    reason: str = ""
    message: str = ""


ClipEvent = ClipStamp | ClipWindow | ClipEnd


def load_clip(request: ClipRequest, *, heartbeat: Callable[[], None] | None = None) -> Iterator[ClipEvent]:
    """Read a clip in bounded memory; never raises for what is wrong with the file.

    Parameters
    ----------
    request : ClipRequest
        What is wanted.
    heartbeat : callable, optional
        Called at every packet and at every block that is hashed: a sign of life while nothing is yielded.

    Yields
    ------
    ClipStamp, then ClipWindow ..., then ClipEnd
        No stamp when the file cannot be read.
    """
    alive = _Heartbeat(heartbeat)
    try:
        yield _stamp(request.path, alive)
        yield from _windows(request, alive)
        yield ClipEnd()
    except Exception as error:  # whatever a strange file makes a library raise is that file's failure
        if error is alive.error:
            raise
        yield _failure(request.path, error)


def _failure(path: str, error: Exception) -> ClipEnd:
    if isinstance(error, FileNotFoundError):
        return ClipEnd("missing", f"{path}: no such file")
    if isinstance(error, DecodeError):
        return ClipEnd(error.reason, str(error))
    why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return ClipEnd("decode", " ".join(f"{path}: {why}".split("\n")))


def clip_blocks(
    request: ClipRequest, *, on_progress: Callable[[], None] | None = None
) -> Iterator[NDArray[np.float32]]:
    """Read the part of a clip that its recipe uses, and no more, in blocks of about a second.

    Raises
    ------
    DecodeError
        As `decode`.
    """
    start, stop = _bounds(request, on_progress or _ignore)
    yield from _blocks(request, start, stop, on_progress or _ignore)


def parse_offset(offset: str) -> float | None:
    """Return the seconds of an offset; None for ``"middle"``.

    Raises
    ------
    ParameterError
        Neither ``start`` nor ``middle`` nor a number of at least 0.

    Examples
    --------
    >>> parse_offset("start"), parse_offset("2.5"), parse_offset("middle")
    (0.0, 2.5, None)
    """
    if offset in ("start", "middle"):
        return 0.0 if offset == "start" else None
    try:
        seconds = float(offset)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ParameterError(f"offset {offset!r} is neither 'start' nor 'middle' nor a number of seconds (0 or more)")
    return seconds


def _ignore() -> None:
    pass


class _Heartbeat:
    """Calls a function and remembers what it raised: that is the caller's affair, not a fault of the file."""

    def __init__(self, call: Callable[[], None] | None) -> None:
        self.error: BaseException | None = None
        self._call = call or _ignore

    def __call__(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self.error = error
            raise


def _stamp(path: str, heartbeat: Callable[[], None]) -> ClipStamp:
    if os.path.exists(path) and not is_clip(path):
        raise DecodeError(f"{path} is not a regular file")
    return ClipStamp(*stamp_clip(path, heartbeat))


def _windows(request: ClipRequest, heartbeat: Callable[[], None]) -> Iterator[ClipWindow]:
    start, stop = _bounds(request, heartbeat)
    for first, samples in cut_windows(_blocks(request, start, stop, heartbeat), request.plan):
        yield ClipWindow(start + first / request.sample_rate, samples)


def _blocks(
    request: ClipRequest, start: float, stop: float | None, heartbeat: Callable[[], None]
) -> Iterator[NDArray[np.float32]]:
    return decode_blocks(
        request.path,
        start_seconds=start,
        stop_seconds=stop,
        sample_rate=request.sample_rate,
        on_progress=heartbeat,
    )


def _bounds(request: ClipRequest, heartbeat: Callable[[], None]) -> tuple[float, float | None]:
    """Apply offset and max_seconds to the segment."""
    offset = parse_offset(request.offset)
    if offset is None:
        offset = _middle_offset(request, heartbeat)
    start, stop = request.start_seconds + offset, request.stop_seconds
    if stop is not None and start >= stop:
        raise DecodeError(f"{request.path}: the offset of {offset:g} s lies after the segment's end")
    if request.max_seconds is not None:
        stop = start + request.max_seconds if stop is None else min(stop, start + request.max_seconds)
    return start, stop


def _middle_offset(request: ClipRequest, heartbeat: Callable[[], None]) -> float:
    """Return where the middle ``max_seconds`` of the segment begin; counts the samples, since headers lie."""
    if request.max_seconds is None:
        return 0.0
    blocks = _blocks(request, request.start_seconds, request.stop_seconds, heartbeat)
    n_samples = sum(len(block) for block in blocks)
    spare = n_samples - round(request.max_seconds * request.sample_rate)
    return max(0, spare // 2) / request.sample_rate
