"""Decoded audio that waits for the encoder, in bounded memory."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator

from embedx.audio.loader import ClipEnd, ClipEvent, ClipWindow
from embedx.errors import RunnerError

__all__ = ["Load"]

_BUDGET_SAMPLES = 16_000_000  # 64 MB of float32 that wait for the encoder


class Load:
    """What waits for the consumer of one `DecodePool.load`."""

    def __init__(self, n_clips: int, heartbeat: Callable[[], None]) -> None:
        self._heartbeat, self._progressed = heartbeat, False
        self._events: collections.deque[tuple[int, ClipEvent]] = collections.deque()
        self._changed = threading.Condition()
        self._n_left, self._n_samples = n_clips, 0
        self._error: RunnerError | None = None
        self.dropped = False

    def put(self, index: int, event: ClipEvent) -> None:
        """Add an event; waits while too much waits already."""
        with self._changed:
            self._changed.wait_for(lambda: self.dropped or self._n_samples < _BUDGET_SAMPLES)
            self._events.append((index, event))
            self._n_samples += _size(event)
            self._changed.notify_all()

    def note_progress(self) -> None:
        """Note that a decoder gets on."""
        with self._changed:
            self._progressed = True
            self._changed.notify_all()

    def fail(self, error: RunnerError) -> None:
        """Make the consumer raise."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def drop(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self.dropped = True
            self._events.clear()
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether nothing is to come any more."""
        return self.dropped or not self._n_left

    @property
    def has_event(self) -> bool:
        """Whether the next one can be had without waiting."""
        return bool(not self._n_left or self._events or self._error or self.dropped)

    def __iter__(self) -> Iterator[tuple[int, ClipEvent]]:
        return self

    def __next__(self) -> tuple[int, ClipEvent]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.has_event or self._progressed)
                if self._error is not None:
                    raise self._error
                if self.dropped or not self._n_left:
                    raise StopIteration
                self._progressed = False
                found = self._events.popleft() if self._events else None
                if found is not None:
                    self._n_samples -= _size(found[1])
                    self._changed.notify_all()
            self._heartbeat()
            if found is not None:
                self._n_left -= isinstance(found[1], ClipEnd)
                return found


def _size(event: ClipEvent) -> int:
    return len(event.samples) if isinstance(event, ClipWindow) else 0
