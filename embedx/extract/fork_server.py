"""The process that encoder workers are forked from: it imports torch once, so a worker is ready in a moment.

A worker dies of whatever its clips do to it, and nothing else does. Nothing in here computes: a process that
has never started a thread can be forked safely, and imports start none. It ends with the process that
started it, and its workers with it.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from embedx.child_process import end_with_parent

__all__ = ["KILL_SECONDS", "main"]

IDLE_SECONDS = 600.0
"""So long does it wait for another job before it leaves and lets its memory go."""

KILL_SECONDS = 10.0
"""A process that is killed is gone within so long, or it waits in a driver that never answers, and is left there."""

_TICK_SECONDS = 0.5
_MESSAGE_BYTES = 1 << 16


def main() -> None:
    """Serve the socket that the last argument names."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # looking for GPUs must not touch one before a fork
    control = socket.socket(fileno=int(sys.argv[-1]))
    children, asked_at = set[int](), time.monotonic()
    while children or time.monotonic() - asked_at < IDLE_SECONDS:
        if not select.select([control], [], [], _TICK_SECONDS)[0]:
            continue
        message, handles, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 1)
        if not message:
            break
        asked_at = time.monotonic()
        _answer(control, json.loads(message), handles, children)
    os._exit(0)  # and its workers with it


def _answer(control: socket.socket, request: dict[str, Any], handles: list[int], children: set[int]) -> None:
    if "fork" in request:
        _import_all(request["fork"])
        gc.freeze()  # what is imported stays shared
        server, pid = os.getpid(), _fork()
        if not pid:
            control.close()
            _be_worker(handles[0], server)
        os.close(handles[0])
        if pid > 0:
            children.add(pid)
        control.send(json.dumps(pid).encode())
    else:
        children.discard(request["end"])
        control.send(json.dumps(_end(request["end"], request["patience"])).encode())


def _fork() -> int:
    """Fork; return 0 in the worker, and below 0 the number of the error where the system forbids it."""
    try:
        return os.fork()
    except OSError as error:
        return -(error.errno or errno.EAGAIN)


def _import_all(modules: list[str]) -> None:
    for module in modules:
        with contextlib.suppress(Exception):  # whoever needs it will say what is wrong
            importlib.import_module(module)


def _end(pid: int, patience: float) -> int | None:
    """Kill a worker that does not end by itself, and return how it ended (negative: the signal)."""
    status = _await(pid, patience)
    if status is None:
        os.kill(pid, signal.SIGKILL)
        status = _await(pid, KILL_SECONDS)
    return status


def _await(pid: int, seconds: float) -> int | None:
    """Return how a process ended; None if it does not within so long."""
    deadline = time.monotonic() + seconds
    found, status = os.waitpid(pid, os.WNOHANG)
    while not found and time.monotonic() < deadline:
        time.sleep(0.005)
        found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _be_worker(handle: int, server: int) -> None:
    """Work until the connection closes; never returns."""
    try:
        end_with_parent(server)
        from embedx.extract.worker_loop import serve
        from embedx.extract.worker_messages import write_message

        connection = Connection(handle)
        _set_up(connection.recv())
        if os.environ.get("EMBEDX_DEBUG"):
            faulthandler.enable()
        serve(connection)
    except BaseException as error:
        if os.environ.get("EMBEDX_DEBUG"):
            traceback.print_exc()
        with contextlib.suppress(Exception):
            write_message(connection, ("broken", type(error).__name__, str(error)))
    finally:
        os._exit(0)


def _set_up(place: dict[str, Any]) -> None:
    """Take over what the starting process has of its own: folder, environment, where modules are found."""
    sys.path[:] = place["sys_path"]
    os.environ.clear()
    os.environ.update(place["environment"])
    with contextlib.suppress(OSError):
        os.chdir(place["folder"])
