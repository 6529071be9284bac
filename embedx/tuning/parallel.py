"""Where joblib's work is done: processes of this machine, or of a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import joblib

from embedx.checks import require_choice, require_number
from embedx.child_process import safe_path
from embedx.errors import ParameterError

__all__ = ["BACKENDS", "each_result", "joined", "parallel", "require_jobs"]

BACKENDS = ("loky", "ray")


def require_jobs(n_jobs: Any, backend: str, address: str | None) -> None:
    """Refuse a number of processes or a backend that there is none of, and the address of a cluster not asked for."""
    require_number("n_jobs", n_jobs, -1 if n_jobs == -1 else 1, whole=True)
    require_choice("jobs_backend", backend, BACKENDS)
    if address is not None and backend != "ray":
        raise ParameterError(
            f"address={address!r} is that of a Ray cluster: add jobs_backend='ray' (--jobs-backend ray)"
        )


@contextlib.contextmanager
def joined(backend: str, address: str | None) -> Iterator[None]:
    """Stay on one Ray cluster for all that is done here, where Ray is asked for.

    Raises
    ------
    MissingExtraError
        Ray is not installed.
    RunnerError
        No cluster answers at the address.
    """
    if backend != "ray":
        yield
        return
    from embedx.extract.ray_connection import joblib_on_ray

    with safe_path(), joblib_on_ray(address):
        yield


@contextlib.contextmanager
def parallel(n_jobs: int, backend: str = "loky", address: str | None = None) -> Iterator[None]:
    """Let `joblib.Parallel` use so many processes, each with one thread.

    Parameters
    ----------
    n_jobs : int
        Processes, -1 for all cores (of the cluster).
    backend : {'loky', 'ray'}
        Of this machine, or of Ray.
    address : str, optional
        Of a running Ray cluster; without it Ray is started on this machine.
    """
    with safe_path(), joined(backend, address):
        threads = {"inner_max_num_threads": 1} if backend == "loky" else {}  # Ray holds its workers to one itself
        with joblib.parallel_config(backend, n_jobs=n_jobs, **threads):
            yield


def each_result(
    work: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    n_jobs: int,
    backend: str = "loky",
    address: str | None = None,
) -> Iterator[Any]:
    """Yield what ``work(*task)`` returns, task by task in their order, each as soon as it is there.

    Parameters
    ----------
    work : callable
        Picklable.
    tasks : sequence of tuple
        Its arguments.
    n_jobs, backend, address
        As for `parallel`.
    """
    calls = [joblib.delayed(work)(*task) for task in tasks]
    with parallel(n_jobs, backend, address):
        if backend == "loky":
            yield from joblib.Parallel(return_as="generator")(calls)
            return
        # Ray's backend returns whole lists: short ones, so that what is done is kept
        size = 4 * joblib.effective_n_jobs(n_jobs)
        with joblib.Parallel() as pool:
            for start in range(0, len(calls), size):
                yield from pool(calls[start : start + size])
