"""Extraction on many machines with Ray: actors run the local pipeline on units, this process hands out the work.

The only room that knows ray. No audio travels: an actor decodes and encodes by itself, only rows come back.
Whatever dies (an actor, a node, this process), every unit is delivered once; a clip that kills its process
becomes a failure row. `embedx.extract.leases` decides who is to blame, this room only moves things.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedx.errors import EmbedxError, MissingExtraError, RunnerError
from embedx.extract.leases import Lease, LeaseBook, UnitDone
from embedx.extract.options import ClusterOptions

__all__ = ["run_units_on_ray"]

LEASES_PER_WORKER = 2
TICK_SECONDS = 5.0
LOCAL_OBJECT_STORE_BYTES = 512 * 2**20


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
    _import_ray()
    return _run(list(units), runner, options, root)


def _run(units: Sequence[Any], runner: Any, options: ClusterOptions, root: Path | None) -> Iterator[UnitDone]:
    if not units:
        return
    with _connected(options.address) as ray:
        need = _Need.of(ray, options)
        n_workers = min(len(units), options.max_workers or len(units))
        crew = _Crew(ray, runner, need, n_workers=n_workers, timeout_seconds=options.placement_timeout_seconds)
        book = LeaseBook(units, n_deaths_allowed=4 * min(n_workers, need.room(ray)) + 4, root=root)
        try:
            yield from _Driver(ray, crew, book, unit_timeout_seconds=options.unit_timeout_seconds).results()
        finally:
            crew.dismiss()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError.for_extra("ray", "ray", "--engine ray") from error
    return ray


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Join a cluster, or start one of this machine alone that ends with this process."""
    if address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # listens on loopback only
    ray = _import_ray()
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": LOCAL_OBJECT_STORE_BYTES}
    try:
        ray.init(address=address or "local", **options)
    except Exception as error:  # ray raises bare ones too
        where = "on this machine" if address is None else f"at {address!r}"
        raise RunnerError(
            f"no Ray cluster {where}: {_first_line(error)}. Start one with 'ray start --head', "
            "or leave --address out to use this machine alone"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class _Need:
    """What one worker takes."""

    cpus: int
    gpus: float

    @classmethod
    def of(cls, ray: Any, options: ClusterOptions) -> _Need:
        """Fill in the GPUs and refuse what no node has."""
        cpus, gpus = options.cpus_per_worker, options.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if any(_count(node, "GPU") for node in _nodes(ray)) else 0.0
        need = cls(cpus, gpus)
        if not need.room(ray):
            have = "; ".join(f"{_count(node, 'CPU')} CPUs and {_count(node, 'GPU')} GPUs" for node in _nodes(ray))
            raise RunnerError(
                f"no node of the Ray cluster has the {cpus} CPUs and {gpus:g} GPUs that one worker asks for "
                f"(nodes: {have or 'none'}). Lower --cpus-per-worker or --gpus-per-worker, or add a node"
            )
        return need

    def room(self, ray: Any) -> int:
        """Return how many such workers the living nodes hold when nobody else is at work."""
        return sum(
            int(min(_count(node, "CPU") / self.cpus, _count(node, "GPU") / self.gpus if self.gpus else float("inf")))
            for node in _nodes(ray)
        )


def _nodes(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _count(node: dict[str, Any], name: str) -> int:
    return int(node["Resources"].get(name, 0))


class _Actor:
    """Runs in a process of its own on some node."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner

    def wake(self) -> tuple[str, Mapping[str, str]]:
        """Return the id of the node that this process runs on, and its environment."""
        import ray

        wake = getattr(self._runner, "wake", dict)
        return ray.get_runtime_context().get_node_id(), wake()

    def run(self, unit: Any, keep: bool) -> list[Any]:
        """Embed one unit; what is no more than a probe is not kept."""
        results = list(self._runner(unit))
        return self._runner.keep(results) if keep and hasattr(self._runner, "keep") else results


@dataclass(eq=False)
class _Worker:
    """The driver's view of one actor; the first of its leases is the one that it works on."""

    actor: Any
    ready: Any
    node: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    leases: deque[tuple[Any, Lease]] = field(default_factory=deque)
    since: float = 0.0

    @property
    def awaited(self) -> Any:
        """The next thing to be heard from it, or None."""
        if self.node is None:
            return self.ready
        return self.leases[0][0] if self.leases else None

    @property
    def can_take(self) -> bool:
        alone = bool(self.leases) and self.leases[0][1].alone
        return self.node is not None and not alone and len(self.leases) < LEASES_PER_WORKER


class _Crew:
    """Hires, replaces and dismisses actors."""

    def __init__(self, ray: Any, runner: Any, need: _Need, *, n_workers: int, timeout_seconds: float) -> None:
        self._ray, self._need, self._n_workers, self._timeout = ray, need, n_workers, timeout_seconds
        self._runner = ray.put(runner)
        self._kind = ray.remote(num_cpus=need.cpus, num_gpus=need.gpus, max_restarts=0, max_task_retries=0)(_Actor)
        self.workers: list[_Worker] = []
        self._ready_at = time.monotonic()
        self._wanted, self._looked_at = 0, -TICK_SECONDS

    def hire(self) -> None:
        """Fill up to what the job wants and the cluster, which may have grown or shrunk, has room for."""
        if time.monotonic() - self._looked_at >= TICK_SECONDS:
            self._wanted = min(self._n_workers, max(self._need.room(self._ray), 1))
            self._looked_at = time.monotonic()
        for _ in range(self._wanted - len(self.workers)):
            actor = self._kind.remote(self._runner)
            self.workers.append(_Worker(actor, actor.wake.remote()))

    def require_one(self) -> None:
        """Fail when nobody has been ready for too long."""
        if any(worker.node for worker in self.workers):
            self._ready_at = time.monotonic()
        elif time.monotonic() - self._ready_at > self._timeout:
            free = {name: self._ray.available_resources().get(name, 0) for name in ("CPU", "GPU")}
            raise RunnerError(
                f"the Ray cluster placed no worker of {self._need.cpus} CPUs and {self._need.gpus:g} GPUs within "
                f"{self._timeout:g} s (free now: {free['CPU']:g} CPUs, {free['GPU']:g} GPUs): "
                "other jobs hold it, or its nodes are gone. See 'ray status'"
            )

    def lose(self, worker: _Worker) -> None:
        """Part with a worker, dead or not."""
        self.workers.remove(worker)
        self._ray.kill(worker.actor, no_restart=True)

    def dismiss(self) -> None:
        """Part with all."""
        for worker in list(self.workers):
            with contextlib.suppress(Exception):
                self.lose(worker)

    def node_lives(self, node: str | None) -> bool:
        """Say whether a worker's node is still there."""
        return node is None or any(other["NodeID"] == node for other in _nodes(self._ray))


class _Driver:
    """Hands out leases and listens."""

    def __init__(self, ray: Any, crew: _Crew, book: LeaseBook, *, unit_timeout_seconds: float) -> None:
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

    def _hand_to(self, worker: _Worker, lease: Lease) -> None:
        if not worker.leases:
            worker.since = time.monotonic()
        worker.leases.append((worker.actor.run.remote(lease.unit, not lease.is_probe), lease))

    def _heard(self) -> list[_Worker]:
        awaited = {worker.awaited: worker for worker in self._crew.workers if worker.awaited is not None}
        if not awaited:
            return []
        refs = list(awaited)
        found, rest = self._ray.wait(refs, num_returns=1, timeout=min(TICK_SECONDS, self._timeout / 4))
        if found and rest:
            more, _ = self._ray.wait(rest, num_returns=len(rest), timeout=0)
            found = found + more
        return [awaited[ref] for ref in found]

    def _listen(self, worker: _Worker) -> UnitDone | None:
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

    def _lost(self, worker: _Worker, error: Exception) -> UnitDone | None:
        cause = getattr(error, "cause", None)
        if isinstance(cause, EmbedxError):
            raise RunnerError(f"a worker of the Ray cluster cannot work: {_first_line(cause)}") from error
        return self._part_with(worker, _first_line(cause or error), innocent=self._is_innocent(worker, error))

    def _is_innocent(self, worker: _Worker, error: Exception) -> bool:
        away = (self._ray.exceptions.ActorUnavailableError, self._ray.exceptions.ObjectLostError)
        return isinstance(error, away) or not self._crew.node_lives(worker.node)

    def _part_with(self, worker: _Worker, why: str, *, innocent: bool) -> UnitDone | None:
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


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
