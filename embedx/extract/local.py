"""Units on this machine: a worker process a device decodes and encodes, this process hands out and takes back.

Whatever kills a worker costs one clip: `embedx.extract.leases` finds out which, just as on a cluster.
"""

from __future__ import annotations

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
from embedx.recipe import Recipe, Resources

__all__ = ["run_units"]

LEASES_PER_WORKER = 2
"""One that it computes and one whose audio is decoded meanwhile."""

_LAST_WORDS_SECONDS = 1.0

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
        Workers die whatever they work on. Everything that was yielded before remains valid.
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


def _ignore(seconds: float) -> None:
    pass


class _Place:
    """A device, and what works on it."""

    def __init__(self, runner: UnitRunner, describe: Describe | None) -> None:
        self._runner = runner
        self.environment = describe(runner.recipe, runner.resources) if describe is not None else {}

    def start(self) -> _Worker:
        on_gpu = self._runner.resources.device.startswith("cuda")
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

    @property
    def can_take(self) -> bool:
        alone = bool(self.leases) and self.leases[0].alone
        return not alone and len(self.leases) < LEASES_PER_WORKER


class _Driver:
    """Hands out leases and listens."""

    def __init__(self, book: LeaseBook, places: Sequence[_Place], progress: Heard) -> None:
        self._book, self._free, self._progress = book, list(places), progress
        self._workers: list[_Worker] = []

    def results(self) -> Iterator[UnitDone]:
        """Yield every unit's results once."""
        while not self._book.is_done:
            while self._free:
                self._workers.append(self._free.pop(0).start())
            self._hand_out()
            by_connection: dict[Any, _Worker] = {worker.process.connection: worker for worker in self._workers}
            for connection in wait(list(by_connection)):
                done = self._listen(by_connection[connection])
                if done is not None:
                    yield done

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

    def _listen(self, worker: _Worker) -> UnitDone | None:
        try:
            kind, *words = worker.process.connection.recv()
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
        else:
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
        status = worker.process.end(patience=_LAST_WORDS_SECONDS)
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
