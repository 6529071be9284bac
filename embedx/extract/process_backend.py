"""Workers on this machine: a process for each device decodes and encodes, this process only listens.

A worker that has work and gives no sign of life for too long is killed. Signs come from the thread that does the work,
when a window is done or a decoder that it waits for gets on: a thread of its own would go on to beat beside one that
hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import Any

from embedx.child_process import require_room
from embedx.encoders.device import choose_devices, count_decoders, share_threads
from embedx.errors import RunnerError
from embedx.extract.dispatch import Death, Message, Progress, Worker, dispatch
from embedx.extract.unit_runner import Unit, UnitRunner
from embedx.extract.work_queue import UnitDone, WorkItem
from embedx.extract.worker_messages import read_message
from embedx.extract.worker_process import WorkerProcess, how_it_ended
from embedx.recipe import Recipe, Resources

__all__ = ["LocalWorkers", "run_units"]

_LAST_WORDS_SECONDS = 1.0

_SILENCE_SECONDS, _SECONDS_PER_SECOND, _COMPILING_SECONDS = 600.0, 20.0, 1_200.0
"""How long is too long. A window of 10 s takes the largest encoder three minutes on one slow core, one of ten minutes
a large encoder an hour and a half (attention grows with the square); 20 s for a second are twice that."""

_START_FACTOR = 3.0
"""Weights may come from a slow disk."""

Describe = Callable[[Recipe, Resources], Mapping[str, str]]


def run_units(
    units: Sequence[Unit], runner: UnitRunner, *, describe: Describe | None = None, on_progress: Progress | None = None
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
    on_progress : callable, optional
        See `dispatch`.

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
    if units:
        runners = _runners(runner, len(units))
        require_room(
            _count_tasks(runners, max(len(unit.sources) for unit in units)), "encoder processes and their decoders"
        )
        workers = LocalWorkers(runners, describe=describe)
        yield from dispatch(units, workers, root=runner.root, on_progress=on_progress)


def _runners(runner: UnitRunner, n_units: int) -> list[UnitRunner]:
    """Return a copy of the runner for each device that there is work for."""
    devices = choose_devices(runner.resources.device, runner.resources.devices)[:n_units]
    threads = share_threads(devices, runner.resources.threads)
    return [
        runner.on(replace(runner.resources, device=device, devices=(), threads=n))
        for device, n in zip(devices, threads, strict=True)
    ]


def _count_tasks(runners: Sequence[UnitRunner], n_clips: int) -> int:
    """Return how many processes and threads there are at least, for each runner and in all."""
    decoders = [count_decoders(runner.resources.device, runner.resources.workers) for runner in runners]
    fork_server, worker, decoder = 2, 2, 2  # each a process, and a thread that listens to it or waits for it
    return fork_server + sum(worker + decoder * min(n, n_clips) for n in decoders)


def _silence_seconds(recipe: Recipe, resources: Resources) -> float:
    """Return how long a worker may be silent over a window."""
    if resources.silence_timeout_seconds is not None:
        return resources.silence_timeout_seconds
    return _SILENCE_SECONDS + _SECONDS_PER_SECOND * recipe.window_seconds + _COMPILING_SECONDS * resources.compile


@dataclass(eq=False, kw_only=True)
class _LocalWorker(Worker):
    """A worker, its process, and the runner that it got."""

    process: WorkerProcess
    runner: UnitRunner


class LocalWorkers:
    """One process for each runner, replaced when it dies: `Workers` of this machine."""

    tick_seconds = 1.0

    def __init__(self, runners: Sequence[UnitRunner], *, describe: Describe | None = None) -> None:
        self._free, self._describe = list(runners), describe
        self.n_deaths_allowed = 4 * len(runners) + 4
        self.active: list[_LocalWorker] = []

    def spawn(self) -> None:
        """Start a process for every runner that has none."""
        while self._free:
            runner = self._free.pop(0)
            environment = self._describe(runner.recipe, runner.resources) if self._describe is not None else {}
            on_gpu = runner.resources.device.startswith("cuda")
            process = WorkerProcess([] if on_gpu else runner.modules)
            process.send(runner)
            self.active.append(_LocalWorker(process=process, runner=runner, environment=environment))

    def can_send(self, worker: _LocalWorker) -> bool:
        """It may decode while the weights are loaded."""
        return True

    def send(self, worker: _LocalWorker, item: WorkItem) -> None:
        """Give an item to a process."""
        worker.process.send(item.unit)

    def receive(self) -> list[tuple[_LocalWorker, Message]]:
        """Wait for a message of each process."""
        by_connection: dict[Any, _LocalWorker] = {worker.process.connection: worker for worker in self.active}
        ready = [by_connection[connection] for connection in wait(list(by_connection), self.tick_seconds)]
        return [(worker, _read(worker)) for worker in ready]

    def limit_seconds(self, worker: _LocalWorker) -> float:
        """Return how long it may be silent."""
        seconds = _silence_seconds(worker.runner.recipe, worker.runner.resources)
        return seconds if worker.is_ready else _START_FACTOR * seconds

    def over_limit(self, worker: _LocalWorker) -> str:
        """Say that it hangs; refuse to go on if it never was ready."""
        seconds = self.limit_seconds(worker)
        if worker.is_ready:
            return f"no sign of life for {seconds:g} s (--silence-timeout-seconds sets the limit)"
        raise RunnerError(
            f"the encoder process on {worker.runner.resources.device} was not ready after {seconds:g} s: the disk that "
            "holds the weights or the device's driver does not answer (the limit is three times "
            "--silence-timeout-seconds)"
        )

    def end(self, worker: _LocalWorker, why: str | None) -> Death:
        """End a process and free its device."""
        status = worker.process.end(patience=0.0 if why else _LAST_WORDS_SECONDS)
        self.active.remove(worker)
        self._free.append(worker.runner)
        return Death(why or how_it_ended(status), is_suspect=worker.is_ready)

    def close(self) -> None:
        """End all processes at once."""
        for worker in self.active:
            worker.process.end()
        self.active = []


def _read(worker: _LocalWorker) -> Message:
    """Read one message; what is wrong with the connection is one, too."""
    try:
        message = read_message(worker.process.connection)
    except BlockingIOError:
        return ("lost", "it stopped in the middle of a message")
    except (EOFError, OSError):
        return ("lost", None)
    return ("lost", ": ".join(filter(None, message[1:]))) if message[0] == "broken" else message
