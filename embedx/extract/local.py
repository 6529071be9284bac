"""Units on this machine: a worker process a device decodes and encodes, this process hands out and takes back.

Whatever kills a worker costs one clip: `embedx.extract.leases` finds out which, just as on a cluster. A worker that
has work and gives no sign of life for too long is killed. Signs come from the thread that does the work, when a window
is done or a decoder that it waits for gets on: a thread of its own would go on to beat beside one that hangs.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import Any

import embedx.errors
from embedx.encoders.device import choose_devices, lanes_each
from embedx.errors import EmbedxError, EmbedxWarning, RunnerError
from embedx.extract.leases import Lease, LeaseBook, UnitDone
from embedx.extract.nursery import WorkerProcess, how_it_ended
from embedx.extract.unit import Unit, UnitRunner
from embedx.extract.wire import read_words
from embedx.recipe import Recipe, Resources

__all__ = ["run_units"]

LEASES_PER_WORKER = 2
"""One that it computes and one whose audio is decoded meanwhile."""

_LAST_WORDS_SECONDS = 1.0

_SILENCE_SECONDS, _SECONDS_PER_SECOND, _COMPILING_SECONDS = 600.0, 20.0, 1_200.0
"""How long is too long. A window of 10 s takes the largest encoder three minutes on one slow core, one of ten minutes
a large encoder an hour and a half (attention grows with the square); 20 s for a second are twice that."""

_START_FACTOR = 3.0
"""Weights may come from a slow disk."""

_TICK_SECONDS = 1.0

Heard = Callable[[float], None]
Describe = Callable[[Recipe, Resources], Mapping[str, str]]


def run_units(
    units: Sequence[Unit], runner: UnitRunner, *, describe: Describe | None = None, progress: Heard | None = None
) -> Iterator[UnitDone]:
    """Compute every unit exactly once, in a process of its own for each device.

    Parameters
    ----------
    units : sequence of Unit
        What is to be done.
    runner : UnitRunner
        Computes one unit. Every worker gets its own copy, for its own device.
    describe : callable, optional
        ``describe(recipe, resources)`` gives versions and device, as stores record them beside the rows.
    progress : callable, optional
        Called with the seconds of audio of every window that is done, and with their negative sum when the unit
        is done or given up.

    Yields
    ------
    UnitDone
        In the order in which units are completed (their own, with one device and nothing that dies).

    Raises
    ------
    EmbedxError
        What a worker cannot do for any clip, such as reading the weights.
    RunnerError
        Workers die whatever they work on, or one is never ready. Everything that was yielded before remains valid.
    """
    if not units:
        return
    places = _places(runner, len(units))
    book = LeaseBook(units, n_deaths_allowed=4 * len(places) + 4, root=runner.root)
    driver = _Driver(book, [_Place(place, describe) for place in places], progress or _ignore)
    try:
        yield from driver.results()
    finally:
        driver.dismiss()


def _places(runner: UnitRunner, n_units: int) -> list[UnitRunner]:
    """Return a copy of the runner for each device that there is work for."""
    devices = choose_devices(runner.resources.device, runner.resources.devices)[:n_units]
    threads = lanes_each(devices, runner.resources.threads)
    return [
        runner.on(replace(runner.resources, device=device, devices=(), threads=n))
        for device, n in zip(devices, threads, strict=True)
    ]


def _silence_seconds(recipe: Recipe, resources: Resources) -> float:
    """Return how long a worker may be silent over a window."""
    if resources.silence_timeout_seconds is not None:
        return resources.silence_timeout_seconds
    return _SILENCE_SECONDS + _SECONDS_PER_SECOND * recipe.window_seconds + _COMPILING_SECONDS * resources.compile


def _ignore(seconds: float) -> None:
    pass


class _Place:
    """A device, and what works on it."""

    def __init__(self, runner: UnitRunner, describe: Describe | None) -> None:
        self._runner = runner
        self.environment = describe(runner.recipe, runner.resources) if describe is not None else {}
        self.device = runner.resources.device
        self.silence_seconds = _silence_seconds(runner.recipe, runner.resources)

    def start(self) -> _Worker:
        on_gpu = self.device.startswith("cuda")
        process = WorkerProcess([] if on_gpu else self._runner.modules)
        process.send(self._runner)
        return _Worker(process, self)


@dataclass(eq=False)
class _Worker:
    """The driver's view of one process; the first of its leases is the one that it works on."""

    process: WorkerProcess
    place: _Place
    is_ready: bool = False
    leases: deque[Lease] = field(default_factory=deque)
    heard_seconds: float = 0.0
    silent_seconds: float = 0.0

    @property
    def limit_seconds(self) -> float:
        return self.place.silence_seconds * (1.0 if self.is_ready else _START_FACTOR)

    @property
    def can_take(self) -> bool:
        alone = bool(self.leases) and self.leases[0].alone
        return not alone and len(self.leases) < LEASES_PER_WORKER


class _Driver:
    """Hands out leases and listens."""

    def __init__(self, book: LeaseBook, places: Sequence[_Place], progress: Heard) -> None:
        self._book, self._free, self._progress = book, list(places), progress
        self._workers: list[_Worker] = []
        self._looked = time.monotonic()

    def results(self) -> Iterator[UnitDone]:
        """Yield every unit's results once."""
        while not self._book.is_done:
            while self._free:
                self._workers.append(self._free.pop(0).start())
            self._hand_out()
            by_connection: dict[Any, _Worker] = {worker.process.connection: worker for worker in self._workers}
            spoke = [by_connection[connection] for connection in wait(list(by_connection), _TICK_SECONDS)]
            hang = self._silent(spoke)
            for step, workers in ((self._hangs, hang), (self._listen, spoke)):
                yield from filter(None, map(step, workers))

    def dismiss(self) -> None:
        """End all processes at once."""
        for worker in self._workers:
            worker.process.end()
        self._workers = []

    def _hand_out(self) -> None:
        for n_held in range(LEASES_PER_WORKER):  # everybody gets one before anybody gets two
            for worker in self._workers:
                if worker.can_take and len(worker.leases) == n_held:
                    lease = self._book.take(idle=n_held == 0)
                    if lease is not None:
                        worker.leases.append(lease)
                        worker.process.send(lease.unit)

    def _silent(self, spoke: Sequence[_Worker]) -> list[_Worker]:
        """Return those that have been silent for too long; while nobody listened they were so for a moment at most."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, _TICK_SECONDS), now
        for worker in self._workers:
            silent = worker.leases and worker not in spoke
            worker.silent_seconds = worker.silent_seconds + passed if silent else 0.0
        return [worker for worker in self._workers if worker.silent_seconds >= worker.limit_seconds]

    def _hangs(self, worker: _Worker) -> UnitDone | None:
        seconds = worker.limit_seconds
        if worker.is_ready:
            return self._lost(worker, f"no sign of life for {seconds:g} s (--silence-timeout sets the limit)")
        raise RunnerError(
            f"the encoder process on {worker.place.device} was not ready after {seconds:g} s: the disk that holds the "
            "weights or the device's driver does not answer (three times --silence-timeout is the limit)"
        )

    def _listen(self, worker: _Worker) -> UnitDone | None:
        try:
            kind, *words = read_words(worker.process.connection)
        except BlockingIOError:
            return self._lost(worker, "it stopped in the middle of a message")
        except (EOFError, OSError):
            return self._lost(worker, None)
        if kind == "done":
            return self._finished(worker, words[0])
        if kind == "heard":
            self._hear(worker, words[0])
        elif kind == "warned":
            warnings.warn(words[0], EmbedxWarning, stacklevel=2)
        elif kind == "refused":
            raise _error_of(*words)
        elif kind == "broken":
            return self._lost(worker, ": ".join(filter(None, words)))
        elif kind == "ready":
            worker.is_ready = True
        return None

    def _hear(self, worker: _Worker, seconds: float) -> None:
        if not worker.leases[0].is_probe:
            worker.heard_seconds += seconds
            self._progress(seconds)

    def _finished(self, worker: _Worker, results: list[Any]) -> UnitDone | None:
        self._settle(worker)
        return self._book.finish(worker.leases.popleft(), results, worker.place.environment)

    def _settle(self, worker: _Worker) -> None:
        """Take back what was reported of a unit in progress."""
        self._progress(-worker.heard_seconds)
        worker.heard_seconds = 0.0

    def _lost(self, worker: _Worker, why: str | None) -> UnitDone | None:
        """Part with a worker; what it had not begun goes to its successor without blame."""
        status = worker.process.end(patience=0.0 if why else _LAST_WORDS_SECONDS)
        why = why or how_it_ended(status)
        self._workers.remove(worker)
        self._free.append(worker.place)
        self._settle(worker)
        leases = list(worker.leases)
        for lease in reversed(leases[1:] if worker.is_ready else leases):
            self._book.give_back(lease)
        if worker.is_ready and leases:
            return self._book.died(leases[0], why)
        self._book.count_death(why)
        return None


def _error_of(kind: str, message: str) -> EmbedxError:
    """Build the error that a worker ended with."""
    found = getattr(embedx.errors, kind, RunnerError)
    try:
        return found(message)
    except TypeError:
        return RunnerError(message)
