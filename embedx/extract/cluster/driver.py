"""The process that was started: hands out leases, and listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from embedx.errors import EmbedxError, RunnerError
from embedx.extract.cluster.connection import connected, first_line, import_ray
from embedx.extract.cluster.crew import LEASES_PER_WORKER, TICK_SECONDS, Crew, Need, Worker
from embedx.extract.leases import Lease, LeaseBook, UnitDone
from embedx.extract.options import ClusterOptions

__all__ = ["run_units_on_ray"]


def run_units_on_ray(
    units: Sequence[Any], runner: Callable[[Any], Sequence[Any]], *, options: ClusterOptions, root: Path | None = None
) -> Iterator[UnitDone]:
    """Embed units on a Ray cluster, every unit exactly once, whatever dies on the way.

    Parameters
    ----------
    units : sequence of Unit
        What is to be done.
    runner : callable
        ``runner(unit)`` gives one result a source. Picklable; every worker gets its own copy. Where it has them,
        ``wake()`` is called once in every worker and gives its environment, and ``keep(results)`` gets what
        was computed and gives what travels.
    options : ClusterOptions
        Which cluster, and how much of it.
    root : Path, optional
        Folder that relative uris are relative to, for the stamp of a clip that kills its workers.

    Yields
    ------
    UnitDone
        One a unit, in the order in which units are completed.

    Raises
    ------
    MissingExtraError
        Ray is not installed.
    RunnerError
        No cluster answers, no node has room for one worker, or workers die whatever they work on.
        Everything that was yielded before remains valid.

    Notes
    -----
    Ray Core actors with two units in flight each, leases owned by this process [1]_. Ray retries nothing
    itself (``max_restarts=0, max_task_retries=0``): a retry that does not know the suspect never ends.

    .. [1] https://docs.ray.io/en/latest/ray-core/actors.html
    """
    import_ray()
    return _run(list(units), runner, options, root)


def _run(units: Sequence[Any], runner: Any, options: ClusterOptions, root: Path | None) -> Iterator[UnitDone]:
    if not units:
        return
    with connected(options.address) as ray:
        need = Need.of(ray, options)
        n_workers = min(len(units), options.max_workers or len(units))
        crew = Crew(ray, runner, need, n_workers=n_workers, timeout_seconds=options.placement_timeout_seconds)
        book = LeaseBook(units, n_deaths_allowed=4 * min(n_workers, need.room(ray)) + 4, root=root)
        try:
            yield from _Driver(ray, crew, book, unit_timeout_seconds=options.unit_timeout_seconds).results()
        finally:
            crew.dismiss()


class _Driver:
    """Hands out leases and listens."""

    def __init__(self, ray: Any, crew: Crew, book: LeaseBook, *, unit_timeout_seconds: float) -> None:
        self._ray, self._crew, self._book, self._timeout = ray, crew, book, unit_timeout_seconds

    def results(self) -> Iterator[UnitDone]:
        """Yield every unit's results once."""
        while not self._book.is_done:
            self._crew.hire()
            self._hand_out()
            for worker in self._heard():
                done = self._listen(worker)
                if done is not None:
                    yield done
            yield from self._end_the_late()
            self._crew.require_one()

    def _hand_out(self) -> None:
        for n_held in range(LEASES_PER_WORKER):  # everybody gets one before anybody gets two
            for worker in self._crew.workers:
                if worker.can_take and len(worker.leases) == n_held:
                    lease = self._book.take(idle=n_held == 0)
                    if lease is not None:
                        self._hand_to(worker, lease)

    def _hand_to(self, worker: Worker, lease: Lease) -> None:
        if not worker.leases:
            worker.since = time.monotonic()
        worker.leases.append((worker.actor.run.remote(lease.unit, not lease.is_probe), lease))

    def _heard(self) -> list[Worker]:
        awaited = {worker.awaited: worker for worker in self._crew.workers if worker.awaited is not None}
        if not awaited:
            return []
        refs = list(awaited)
        found, rest = self._ray.wait(refs, num_returns=1, timeout=min(TICK_SECONDS, self._timeout / 4))
        if found and rest:
            more, _ = self._ray.wait(rest, num_returns=len(rest), timeout=0)
            found = found + more
        return [awaited[ref] for ref in found]

    def _listen(self, worker: Worker) -> UnitDone | None:
        starting = worker.node is None
        try:
            value = self._ray.get(worker.awaited)
        except self._ray.exceptions.RayError as error:
            return self._lost(worker, error)
        if starting:
            worker.node, worker.environment = value
            return None
        _, lease = worker.leases.popleft()
        worker.since = time.monotonic()
        return self._book.finish(lease, value, worker.environment)

    def _lost(self, worker: Worker, error: Exception) -> UnitDone | None:
        cause = getattr(error, "cause", None)
        if isinstance(cause, EmbedxError):
            raise RunnerError(f"a worker of the Ray cluster cannot work: {first_line(cause)}") from error
        return self._part_with(worker, first_line(cause or error), innocent=self._is_innocent(worker, error))

    def _is_innocent(self, worker: Worker, error: Exception) -> bool:
        away = (self._ray.exceptions.ActorUnavailableError, self._ray.exceptions.ObjectLostError)
        return isinstance(error, away) or not self._crew.node_lives(worker.node)

    def _part_with(self, worker: Worker, why: str, *, innocent: bool) -> UnitDone | None:
        """Replace a worker; what it had not begun is given to others without blame."""
        self._crew.lose(worker)
        leases = [lease for _, lease in worker.leases]
        for lease in reversed(leases[1:]):
            self._book.give_back(lease)
        if leases and not innocent:
            return self._book.died(leases[0], why)
        if leases:
            self._book.give_back(leases[0])
        if self._crew.node_lives(worker.node):
            self._book.count_death(why)
        return None

    def _end_the_late(self) -> Iterator[UnitDone]:
        now = time.monotonic()
        for worker in list(self._crew.workers):
            limit = worker.leases[0][1].share * self._timeout if worker.leases else float("inf")
            if now - worker.since > limit:
                why = f"it was not done after {limit:g} s (--unit-timeout sets the limit for a whole unit)"
                done = self._part_with(worker, why, innocent=False)
                if done is not None:
                    yield done
