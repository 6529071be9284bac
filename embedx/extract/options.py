"""What a job asks of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from embedx.errors import ParameterError, unknown_name

__all__ = ["ClusterOptions"]

WRITERS = ("driver", "worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """How an extraction uses a Ray cluster: changes speed, never a number.

    Parameters
    ----------
    address : str, optional
        ``"auto"`` (the cluster that this machine belongs to) or ``"HOST:PORT"``. None starts a cluster of
        this machine alone, for as long as the job lasts.
    gpus_per_worker : float, optional
        GPUs of one worker; by default 1 where the cluster has any, else 0.
    cpus_per_worker : int
        CPUs of one worker.
    max_workers : int, optional
        At most so many workers; by default as many as the cluster has room for.
    unit_timeout_seconds : float
        A unit that takes longer counts as a death of its worker. Seconds.
    placement_timeout_seconds : float
        So long may it take until the first worker is ready (and, when all have died, the next). Seconds.
    parts : {'driver', 'worker'}
        Who writes: the process that was started, or every worker for itself, into a store on storage that all
        of them share. The second spares the network what one process cannot take in.

    Raises
    ------
    ParameterError
        A value that no cluster can honour.

    Examples
    --------
    >>> ClusterOptions(address="auto", cpus_per_worker=4).cpus_per_worker
    4
    >>> ClusterOptions(address="ray://head:10001")
    Traceback (most recent call last):
    embedx.errors.ParameterError: the address of a Ray cluster is 'auto' or HOST:PORT, not 'ray://head:10001'
    """

    address: str | None = None
    gpus_per_worker: float | None = None
    cpus_per_worker: int = 1
    max_workers: int | None = None
    unit_timeout_seconds: float = 3_600.0
    placement_timeout_seconds: float = 120.0
    parts: str = "driver"

    def __post_init__(self) -> None:
        if self.address is not None and (not self.address or "://" in self.address):
            raise ParameterError(f"the address of a Ray cluster is 'auto' or HOST:PORT, not {self.address!r}")
        if self.parts not in WRITERS:
            raise ParameterError(unknown_name("writer of parts", self.parts, WRITERS))
        for name, smallest in (("cpus_per_worker", 1), ("max_workers", 1), ("gpus_per_worker", 0)):
            value = getattr(self, name)
            if value is not None and not value >= smallest:
                raise ParameterError(f"{name} is {value}: give {smallest} or more")
        for name in ("unit_timeout_seconds", "placement_timeout_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ParameterError(f"{name} is {getattr(self, name)}: give seconds above 0")
