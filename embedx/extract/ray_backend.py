"""Workers on many machines with Ray: actors run the local pipeline on units, this process hands out the work.

With `embedx.extract.ray_connection` the only module that imports ray. No audio travels: an actor decodes and encodes by
itself, only rows come back. Ray retries nothing itself (``max_restarts=0, max_task_retries=0``): a retry that does not
know the suspect never ends.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedx.errors import EmbedxError, RunnerError
from embedx.extract.dispatch import ITEMS_PER_WORKER, Death, Message, Worker, dispatch
from embedx.extract.options import ClusterOptions
from embedx.extract.ray_connection import connected, import_ray
from embedx.extract.unit_runner import Runner
from embedx.extract.work_queue import UnitDone, WorkItem
from embedx.text import describe_error

__all__ = ["RayWorkers", "run_units_on_ray"]

_TICK_SECONDS = 5.0


def run_units_on_ray(
    units: Sequence[Any], runner: Runner, *, options: ClusterOptions, root: Path | None = None
) -> Iterator[UnitDone]:
    """Embed units on a Ray cluster, every unit exactly once, whatever dies on the way.

    Parameters
    ----------
    units : sequence of Unit
        What is to be done.
    runner : Runner
        Every worker gets its own copy.
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
    """
    import_ray()
    return _run(list(units), runner, options, root)


def _run(units: Sequence[Any], runner: Runner, options: ClusterOptions, root: Path | None) -> Iterator[UnitDone]:
    if units:
        with connected(options.address) as ray:
            yield from dispatch(units, RayWorkers(ray, runner, options, n_units=len(units)), root=root)


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
        if not need.n_placeable(ray):
            have = "; ".join(f"{_count(node, 'CPU')} CPUs and {_count(node, 'GPU')} GPUs" for node in _nodes(ray))
            raise RunnerError(
                f"no node of the Ray cluster has the {cpus} CPUs and {gpus:g} GPUs that one worker asks for "
                f"(nodes: {have or 'none'}). Lower --cpus-per-worker or --gpus-per-worker, or add a node"
            )
        return need

    def n_placeable(self, ray: Any) -> int:
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
    """Runs in a process of its own on some node; the unit that waits for its turn is being decoded already."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._decoding, self._computing = threading.Lock(), threading.Lock()

    def setup(self) -> tuple[str, Mapping[str, str]]:
        """Return the id of the node that this process runs on, and its environment."""
        import ray

        return ray.get_runtime_context().get_node_id(), self._runner.setup()

    def run(self, unit: Any) -> Sequence[Any]:
        """Embed one unit."""
        with self._decoding:
            self._runner.prefetch(unit)
        with self._computing:
            return self._runner.keep(list(self._runner(unit)))


@dataclass(eq=False, kw_only=True)
class _RayWorker(Worker):
    """A worker, its actor and what is awaited of it."""

    actor: Any
    ready: Any
    node: str | None = None
    error: Exception | None = None
    refs: deque[Any] = field(default_factory=deque)

    @property
    def awaited(self) -> Any:
        """The next thing to be received from it, or None."""
        if self.node is None:
            return self.ready
        return self.refs[0] if self.refs else None


class RayWorkers:
    """Starts, replaces and ends actors: `Workers` of a cluster."""

    def __init__(self, ray: Any, runner: Runner, options: ClusterOptions, *, n_units: int) -> None:
        self._ray, self._options, self._need = ray, options, _Need.of(ray, options)
        self._n_workers = min(n_units, options.max_workers or n_units)
        self._runner = ray.put(runner)
        takes = {"num_cpus": self._need.cpus, "num_gpus": self._need.gpus, "max_concurrency": ITEMS_PER_WORKER}
        self._kind = ray.remote(**takes, max_restarts=0, max_task_retries=0)(_Actor)
        self.tick_seconds = min(_TICK_SECONDS, options.unit_timeout_seconds / 4)
        self.n_deaths_allowed = 4 * min(self._n_workers, self._need.n_placeable(ray)) + 4
        self.active: list[_RayWorker] = []
        self._ready_at = time.monotonic()
        self._wanted, self._looked_at = 0, -_TICK_SECONDS

    def spawn(self) -> None:
        """Fill up to what the job wants and the cluster, which may have grown or shrunk, has room for."""
        self._require_one()
        if time.monotonic() - self._looked_at >= _TICK_SECONDS:
            self._wanted = min(self._n_workers, max(self._need.n_placeable(self._ray), 1))
            self._looked_at = time.monotonic()
        for _ in range(self._wanted - len(self.active)):
            actor = self._kind.remote(self._runner)
            self.active.append(_RayWorker(actor=actor, ready=actor.setup.remote()))

    def can_send(self, worker: _RayWorker) -> bool:
        """Whether it has been placed on a node."""
        return worker.is_ready

    def send(self, worker: _RayWorker, item: WorkItem) -> None:
        """Give an item to an actor."""
        worker.refs.append(worker.actor.run.remote(item.unit))

    def receive(self) -> list[tuple[_RayWorker, Message]]:
        """Wait until one actor is ready with something, and take what others are ready with."""
        awaited = {worker.awaited: worker for worker in self.active if worker.awaited is not None}
        if not awaited:
            return []
        found, rest = self._ray.wait(list(awaited), num_returns=1, timeout=self.tick_seconds)
        if found and rest:
            found = found + self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return [(awaited[ref], self._read(awaited[ref])) for ref in found]

    def limit_seconds(self, worker: _RayWorker) -> float:
        """Return how long the item may take that it works on."""
        return worker.items[0].share * self._options.unit_timeout_seconds if worker.items else float("inf")

    def over_limit(self, worker: _RayWorker) -> str:
        """Say that it took longer."""
        seconds = self.limit_seconds(worker)
        return f"it was not done after {seconds:g} s (--unit-timeout-seconds sets the limit for a whole unit)"

    def end(self, worker: _RayWorker, why: str | None) -> Death:
        """Part with an actor; one whose node is gone, or whose connection is, died of no clip."""
        self.active.remove(worker)
        self._ray.kill(worker.actor, no_restart=True)
        away = (self._ray.exceptions.ActorUnavailableError, self._ray.exceptions.ObjectLostError)
        node_lives = worker.node is None or any(node["NodeID"] == worker.node for node in _nodes(self._ray))
        return Death(why or "", is_suspect=node_lives and not isinstance(worker.error, away), counts=node_lives)

    def close(self) -> None:
        """Part with all."""
        for worker in list(self.active):
            with contextlib.suppress(Exception):
                self.end(worker, None)

    def _read(self, worker: _RayWorker) -> Message:
        try:
            value = self._ray.get(worker.awaited)
        except self._ray.exceptions.RayError as error:
            cause, worker.error = getattr(error, "cause", None), error
            if isinstance(cause, EmbedxError):
                return "refused", "RunnerError", f"a worker of the Ray cluster cannot work: {describe_error(cause)}"
            return "lost", describe_error(cause or error)
        if worker.node is None:
            worker.node, environment = value
            return "ready", environment
        worker.refs.popleft()
        return "done", value

    def _require_one(self) -> None:
        """Fail when nobody has been ready for too long."""
        timeout = self._options.placement_timeout_seconds
        if any(worker.is_ready for worker in self.active):
            self._ready_at = time.monotonic()
        elif time.monotonic() - self._ready_at > timeout:
            free = {name: self._ray.available_resources().get(name, 0) for name in ("CPU", "GPU")}
            raise RunnerError(
                f"the Ray cluster placed no worker of {self._need.cpus} CPUs and {self._need.gpus:g} GPUs within "
                f"{timeout:g} s (free now: {free['CPU']:g} CPUs, {free['GPU']:g} GPUs): "
                "other jobs hold it, or its nodes are gone. See 'ray status'"
            )
