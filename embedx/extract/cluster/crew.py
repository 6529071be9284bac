"""The workers: what one takes, what it does, and who hires and replaces them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embedx.errors import RunnerError
from embedx.extract.leases import Lease
from embedx.extract.options import ClusterOptions

__all__ = ["LEASES_PER_WORKER", "TICK_SECONDS", "Crew", "Need", "Worker"]

LEASES_PER_WORKER = 2
TICK_SECONDS = 5.0


@dataclass(frozen=True)
class Need:
    """What one worker takes."""

    cpus: int
    gpus: float

    @classmethod
    def of(cls, ray: Any, options: ClusterOptions) -> Need:
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
    """Runs in a process of its own on some node; the unit that waits for its turn is being decoded already."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._door, self._turn = threading.Lock(), threading.Lock()

    def wake(self) -> tuple[str, Mapping[str, str]]:
        """Return the id of the node that this process runs on, and its environment."""
        import ray

        wake = getattr(self._runner, "wake", dict)
        return ray.get_runtime_context().get_node_id(), wake()

    def run(self, unit: Any, keep: bool) -> list[Any]:
        """Embed one unit; what is no more than a probe is not kept."""
        if hasattr(self._runner, "prefetch"):
            with self._door:
                self._runner.prefetch(unit)
        with self._turn:
            results = list(self._runner(unit))
            return self._runner.keep(results) if keep and hasattr(self._runner, "keep") else results


@dataclass(eq=False)
class Worker:
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


class Crew:
    """Hires, replaces and dismisses actors."""

    def __init__(self, ray: Any, runner: Any, need: Need, *, n_workers: int, timeout_seconds: float) -> None:
        self._ray, self._need, self._n_workers, self._timeout = ray, need, n_workers, timeout_seconds
        self._runner = ray.put(runner)
        takes = {"num_cpus": need.cpus, "num_gpus": need.gpus, "max_concurrency": LEASES_PER_WORKER}
        self._kind = ray.remote(**takes, max_restarts=0, max_task_retries=0)(_Actor)
        self.workers: list[Worker] = []
        self._ready_at = time.monotonic()
        self._wanted, self._looked_at = 0, -TICK_SECONDS

    def hire(self) -> None:
        """Fill up to what the job wants and the cluster, which may have grown or shrunk, has room for."""
        if time.monotonic() - self._looked_at >= TICK_SECONDS:
            self._wanted = min(self._n_workers, max(self._need.room(self._ray), 1))
            self._looked_at = time.monotonic()
        for _ in range(self._wanted - len(self.workers)):
            actor = self._kind.remote(self._runner)
            self.workers.append(Worker(actor, actor.wake.remote()))

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

    def lose(self, worker: Worker) -> None:
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
