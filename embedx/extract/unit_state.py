"""A unit on its way: what is known of its clips, what is being computed, and what of it is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedx.audio.loader import ClipEnd, ClipEvent, ClipStamp
from embedx.errors import ClipTooShortError
from embedx.extract.compute import ClipEncoder, Row, Stream, Window
from embedx.manifest import Source
from embedx.recipe import Recipe
from embedx.store.rows import NO_STAMP, ClipResult, Embedded, Failure, FileStamp

__all__ = ["UnitFlow"]


class _GrowingArray:
    """Arrays of one shape in one piece of memory that grows where it lies.

    Each by itself, as it came from a thread, would keep apart the large blocks that come and go there: memory that is
    free between two small arrays fits nothing and is never given back. Ten hours held 2 GB for 2 MB of rows.
    """

    def __init__(self) -> None:
        self._values: NDArray[np.float32] = np.empty(0, np.float32)

    def put(self, number: int, value: NDArray[np.float32]) -> None:
        """Keep a copy of an array under its number."""
        if number >= len(self._values):
            self._resize(number + 1 + len(self._values) // 8, value.shape)
        self._values[number] = value

    def take(self, n: int) -> NDArray[np.float32]:
        """Return the first ``n``, stacked."""
        self._resize(n, self._values.shape[1:])
        return self._values

    def _resize(self, n: int, shape: tuple[int, ...]) -> None:
        self._values.resize((n, *shape), refcheck=False)  # nobody else has seen it


@dataclass(slots=True)
class _Clip:
    """A clip on its way: what has been seen of it so far."""

    source: Source
    stamp: FileStamp = NO_STAMP
    end: ClipEnd = ClipEnd("error", "decoding ended early")  # noqa: RUF009  # frozen
    embeddings: _GrowingArray = field(default_factory=_GrowingArray)
    controls: _GrowingArray = field(default_factory=_GrowingArray)
    bounds: list[tuple[float, float]] = field(default_factory=list)
    problem: ClipEnd | None = None

    def result(self) -> ClipResult:
        """Return rows, or the failure."""
        end = self.end if self.end.reason or self.problem is None else self.problem
        if not end.reason and not self.bounds:
            end = ClipEnd("decode", f"{self.source.id} holds no audio")
        if end.reason:
            return Failure(self.source, self.stamp, end.reason, end.message)
        return self._embedded()

    def _embedded(self) -> ClipResult:
        starts, ends = np.array(self.bounds).T
        embeddings, control = self.embeddings.take(len(starts)), self.controls.take(len(starts))
        if not (np.isfinite(embeddings).all() and np.isfinite(control).all()):
            message = f"{self.source.id}: NaN or infinity in the audio or in the encoder's output"
            return Failure(self.source, self.stamp, "non_finite", message)
        return Embedded(self.source, self.stamp, embeddings, control, starts, ends)


class UnitFlow:
    """Takes what the loader says of a unit's clips, passes windows on, and takes back rows.

    Parameters
    ----------
    sources : sequence of Source
        The unit's clips.
    events : iterator of (int, ClipEvent)
        What comes of them; one that knows whether asking it would have to wait says so by ``has_event``.
    recipe : Recipe
        What is computed.
    on_begin : callable, optional
        Called with the source, by whichever stream computes it, when a window is about to be computed.
    """

    def __init__(
        self,
        sources: tuple[Source, ...],
        events: Iterator[tuple[int, ClipEvent]],
        recipe: Recipe,
        *,
        on_begin: Callable[[Source], None] | None = None,
    ) -> None:
        self._clips = [_Clip(source) for source in sources]
        self._events, self._recipe, self._on_begin = events, recipe, on_begin
        self._stream: Stream | None = None
        self._done: deque[tuple[Source, float]] = deque()
        self.is_fed = False

    def begin(self, encoder: ClipEncoder) -> None:
        """Have windows computed from now on."""
        if self._stream is None:
            self._stream = encoder.stream(self._begun)

    def _begun(self, window: Window) -> None:
        if self._on_begin is not None:
            self._on_begin(self._clips[window.clip].source)

    @property
    def stream(self) -> Stream:
        """What its windows go through."""
        assert self._stream is not None, "not begun"
        return self._stream

    @property
    def is_done(self) -> bool:
        """Whether every row is back."""
        return self.is_fed and not self.stream.pending

    @property
    def has_event(self) -> bool:
        """Whether `feed` would not have to wait."""
        return not self.is_fed and getattr(self._events, "has_event", False)

    def feed(self) -> None:
        """Take the next event of a clip, waiting for the loader."""
        found = next(self._events, None)
        if found is None:
            self.is_fed = True
            self.stream.flush()
            return
        index, event = found
        clip = self._clips[index]
        if isinstance(event, ClipStamp):
            clip.stamp = FileStamp(event.sha256, event.size, event.mtime_ns)
        elif isinstance(event, ClipEnd):
            clip.end = event
        elif len(event.samples) < self.stream.min_samples:
            clip.problem = self._too_short(clip.source, len(event.samples))
        else:
            stop = event.start_seconds + len(event.samples) / self._recipe.sample_rate
            clip.bounds.append((event.start_seconds, stop))
            self.stream.put(Window(index, len(clip.bounds) - 1, event.samples))

    def collect(self) -> None:
        """Take back what is computed, without waiting."""
        for row in self.stream.collect():
            self._keep(self._clips[row.window.clip], row)

    def done(self) -> Iterator[tuple[Source, float]]:
        """Yield clip and seconds of every window that came back since the last call."""
        while self._done:
            yield self._done.popleft()

    def results(self) -> list[ClipResult]:
        """Return rows or a failure of every clip, in the unit's order."""
        return [clip.result() for clip in self._clips]

    def _too_short(self, source: Source, n_samples: int) -> ClipEnd:
        rate, need = self._recipe.sample_rate, self.stream.min_samples
        got, least = (f"{n} samples ({1000 * n / rate:.1f} ms)" for n in (n_samples, need))
        return ClipEnd(
            ClipTooShortError.reason, f"{source.id}: {got} are less than one frame of {self._recipe.encoder}, {least}"
        )

    def _keep(self, clip: _Clip, row: Row) -> None:
        seconds = len(row.window.samples) / self._recipe.sample_rate
        if row.embedding is None or row.control is None:
            advice = "choose shorter windows (--window-seconds) or another device"
            clip.problem = ClipEnd("error", f"{clip.source.id}: no memory for a window of {seconds:.1f} s: {advice}")
        else:
            clip.embeddings.put(row.window.number, row.embedding)
            clip.controls.put(row.window.number, row.control)
        self._done.append((clip.source, seconds))
