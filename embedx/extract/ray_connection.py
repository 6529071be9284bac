"""The way to a cluster: joined where somebody answers, or started for this machine alone."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

from embedx.errors import MissingExtraError, RunnerError
from embedx.text import describe_error

__all__ = ["connected", "import_ray", "joblib_on_ray"]

ANSWER_SECONDS = 10.0
"""So long may a head take to answer; Ray itself would wait for minutes."""

LOCAL_OBJECT_STORE_BYTES = 512 * 2**20
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # and no settings
_SETTINGS = 4  # the frame that every HTTP/2 server answers with (RFC 9113, 3.4); a head speaks gRPC


def import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # under "uv run" it would ship this folder, data and all
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError.for_extra("ray", "ray", "--engine ray") from error
    return ray


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Join a cluster, or start one of this machine alone that ends with this process.

    Raises
    ------
    RunnerError
        Nobody answers there, or no Ray does.
    """
    if address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # listens on loopback only
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": LOCAL_OBJECT_STORE_BYTES}
    try:
        if address is not None:
            _require_answer(_resolved(address))
        ray.init(address=address or "local", job_config=_job_config(), **options)
    except Exception as error:  # ray raises bare ones too
        where = "on this machine" if address is None else f"at {address!r}"
        raise RunnerError(
            f"no Ray cluster {where}: {describe_error(error)}. Start one with 'ray start --head', "
            "or leave --address out to use this machine alone"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def joblib_on_ray(address: str | None) -> Iterator[None]:
    """Join a cluster as `connected` does, and let joblib know it as the backend ``"ray"``."""
    with connected(address):
        from ray.util.joblib import register_ray

        register_ray()
        yield


def _job_config() -> Any:
    """Keep Ray from letting every worker import from the folder that this process was started in."""
    from ray.job_config import JobConfig

    class Config(JobConfig):
        def _runtime_env_has_working_dir(self) -> bool:
            return True

    return Config()


def _resolved(address: str) -> str:
    """Return what ``auto`` stands for; as it is where this version of Ray does not say."""
    if address != "auto":
        return address
    try:
        from ray._private.services import canonicalize_bootstrap_address
    except ImportError:
        return address
    return canonicalize_bootstrap_address("auto") or address


def _require_answer(address: str) -> None:
    """Fail when nobody listens at an address, or somebody who does not speak as a head does."""
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdecimal()):
        return  # ray says what is wrong with it
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS) as probe:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return
            probe.sendall(_HELLO)
            answer = probe.recv(9)
    except OSError as error:
        raise ConnectionError(f"{address} does not answer ({error.strerror or error})") from error
    if len(answer) < 4 or answer[3] != _SETTINGS:
        raise ConnectionError(f"{address} answers, but not as a Ray head does")
