"""Who works on what, and for how long: the same lines for every kind of worker.

No process, no cluster in here; what starts workers and talks to them is a `Workers` (`embedx.extract.process_backend`
on this machine, `embedx.extract.ray_backend` on a cluster). `embedx.extract.work_queue` finds who is to blame when one
dies.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import embedx.errors
from embedx.errors import EmbedxError, EmbedxWarning, RunnerError
from embedx.extract.work_queue import UnitDone, WorkItem, WorkQueue
from embedx.manifest import ClipKey

__all__ = ["ITEMS_PER_WORKER", "Death", "Message", "Progress", "Worker", "Workers", "dispatch"]

ITEMS_PER_WORKER = 2
"""One that it computes and one whose audio is decoded meanwhile."""

Progress = Callable[[float], None]
Message = tuple[Any, ...]


@dataclass(eq=False, kw_only=True)
class Worker:
    """What is known of one worker; the first of its items is the one that it works on."""

    is_ready: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    items: deque[WorkItem] = field(default_factory=deque)
    computing: Counter[ClipKey] = field(default_factory=Counter)
    reported_seconds: float = 0.0
    silent_seconds: float = 0.0

    @property
    def can_take(self) -> bool:
        """Whether another item may be given to it."""
        alone = bool(self.items) and self.items[0].alone
        return not alone and len(self.items) < ITEMS_PER_WORKER


@dataclass(frozen=True)
class Death:
    """How a worker ended; whether what it worked on may be the reason, and whether it counts at all."""

    why: str
    is_suspect: bool = True
    counts: bool = True


class Workers(Protocol):
    """Starts workers, talks to them and ends them; knows nothing of units, blame or order.

    What `receive` gives are pairs of a worker and one of these messages: ``("ready", environment)``,
    ``("begun", key)`` and ``("computed", key, seconds)`` for each window, ``("alive",)``, ``("warned", text)``,
    ``("done", results)``, ``("refused", kind, text)`` for what it cannot do for any clip, ``("lost", why)``.
    """

    tick_seconds: float

    @property
    def active(self) -> Sequence[Any]:
        """Those that are there."""

    @property
    def n_deaths_allowed(self) -> int:
        """So many in a row are not yet the end."""

    def spawn(self) -> None:
        """Start those that are missing."""

    def can_send(self, worker: Any) -> bool:
        """Whether a worker can be given something already."""

    def send(self, worker: Any, item: WorkItem) -> None:
        """Give an item to a worker."""

    def receive(self) -> Sequence[tuple[Any, Message]]:
        """Wait for messages, a tick at most."""

    def limit_seconds(self, worker: Any) -> float:
        """So long may a worker that has something to do say nothing."""

    def over_limit(self, worker: Any) -> str:
        """Say that a worker was silent for longer.

        Raises
        ------
        RunnerError
            No clip is to blame for that.
        """

    def end(self, worker: Any, why: str | None) -> Death:
        """End a worker, dead or not, and say how it ended."""

    def close(self) -> None:
        """End all of them at once."""


def dispatch(
    units: Iterable[Any], workers: Workers, *, root: Path | None = None, on_progress: Progress | None = None
) -> Iterator[UnitDone]:
    """Have every unit computed exactly once, whatever dies on the way.

    Parameters
    ----------
    units : iterable of Unit
        What is to be done.
    workers : Workers
        Who does it; closed in the end.
    root : Path, optional
        See `WorkQueue`.
    on_progress : callable, optional
        Called with the seconds of audio of every window that is done, and with their negative sum when the unit
        is done or given up.

    Yields
    ------
    UnitDone
        In the order in which units are completed.

    Raises
    ------
    EmbedxError
        What a worker cannot do for any clip.
    RunnerError
        Workers die whatever they work on. Everything that was yielded before remains valid.
    """
    queue = WorkQueue(units, n_deaths_allowed=workers.n_deaths_allowed, root=root)
    try:
        yield from _Dispatcher(queue, workers, on_progress or _ignore).results()
    finally:
        workers.close()


def _ignore(seconds: float) -> None:
    pass


class _Dispatcher:
    """Hands out items and listens."""

    def __init__(self, queue: WorkQueue, workers: Workers, on_progress: Progress) -> None:
        self._queue, self._workers, self._on_progress = queue, workers, on_progress
        self._looked = time.monotonic()

    def results(self) -> Iterator[UnitDone]:
        """Yield every unit's results once."""
        while not self._queue.is_done:
            self._workers.spawn()
            self._hand_out()
            messages = self._workers.receive()
            late = self._late([worker for worker, _ in messages])
            yield from filter(None, (self._lose(worker, self._workers.over_limit(worker)) for worker in late))
            yield from filter(None, (self._take(worker, message) for worker, message in messages))

    def _hand_out(self) -> None:
        for n_held in range(ITEMS_PER_WORKER):  # everybody gets one before anybody gets two
            for worker in self._workers.active:
                if worker.can_take and len(worker.items) == n_held and self._workers.can_send(worker):
                    item = self._queue.take(idle=n_held == 0)
                    if item is not None:
                        worker.items.append(item)
                        self._workers.send(worker, item)

    def _late(self, spoke: Sequence[Worker]) -> list[Worker]:
        """Return those that were silent for too long; while nobody listened they were so for a moment at most."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, self._workers.tick_seconds), now
        for worker in self._workers.active:
            silent = worker.items and worker not in spoke
            worker.silent_seconds = worker.silent_seconds + passed if silent else 0.0
        return [one for one in self._workers.active if one.silent_seconds >= self._workers.limit_seconds(one)]

    def _take(self, worker: Worker, message: Message) -> UnitDone | None:
        """Do what a message asks for."""
        kind, *words = message
        if kind == "done":
            self._settle(worker)
            return self._queue.finish(worker.items.popleft(), words[0], worker.environment)
        if kind == "lost":
            return self._lose(worker, words[0])
        if kind == "refused":
            raise _error_of(*words)
        if kind == "ready":
            worker.is_ready, worker.environment = True, words[0] or worker.environment
        elif kind == "begun":
            worker.computing[words[0]] += 1
        elif kind == "computed":
            self._note_progress(worker, *words)
        elif kind == "warned":
            warnings.warn(words[0], EmbedxWarning, stacklevel=2)
        return None

    def _note_progress(self, worker: Worker, key: ClipKey, seconds: float) -> None:
        worker.computing[key] -= 1
        worker.reported_seconds += seconds
        self._on_progress(seconds)

    def _settle(self, worker: Worker) -> None:
        """Take back what was reported of a unit in progress."""
        self._on_progress(-worker.reported_seconds)
        worker.reported_seconds = 0.0

    def _lose(self, worker: Worker, why: str | None) -> UnitDone | None:
        """Part with a worker; what it had not begun goes to others without blame."""
        death = self._workers.end(worker, why)
        self._settle(worker)
        computing = +worker.computing
        begun = [item for item in worker.items if any(source.key in computing for source in item.unit.sources)]
        suspect = next(iter(begun or worker.items), None) if death.is_suspect else None
        for item in reversed(worker.items):
            if item is not suspect:
                self._queue.give_back(item)
        if suspect is not None:
            return self._queue.died(suspect, death.why, computing=computing)
        if death.counts:
            self._queue.count_death(death.why)
        return None


def _error_of(kind: str, message: str) -> EmbedxError:
    """Build the error that a worker ended with."""
    found = getattr(embedx.errors, kind, RunnerError)
    try:
        return found(message)
    except TypeError:
        return RunnerError(message)
