"""This side of the encoder workers: starts the fork server once, has workers forked, learns how they ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from embedx.child_process import as_limit, import_path, program_of, python_command, start_process
from embedx.errors import RunnerError
from embedx.extract.fork_server import KILL_SECONDS

__all__ = ["WorkerProcess", "how_it_ended"]

_START = program_of("embedx.extract.fork_server")
_READ_AT_LOAD = (
    "EMBEDX_DEBUG",
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "ONEDNN_",
    "DNNL_",
    "CUDA_",
    "TORCH",
    "PYTORCH",
    "LD_",
)
"""Variables that libraries read when they are loaded: another value needs another fork server."""

_IMPORT_SECONDS = 1_800.0
"""So long may the libraries take to be imported, from the slowest of disks."""

_PIECE_SECONDS = 60.0
"""So long may pass between two pieces of one message: nobody computes in the middle of one."""


class WorkerProcess:
    """A process that computes, and the connection to it.

    Parameters
    ----------
    modules : sequence of str
        Imported once, before the first worker is forked; empty for a device that a fork must not have seen.

    Raises
    ------
    RunnerError
        No process can be started.
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, way, struct.pack("ll", round(_PIECE_SECONDS), 0))
            self._server, self.pid = _fork(modules, theirs.fileno())
            self.connection = Connection(ours.detach())
        place = {
            "sys_path": import_path(),
            "environment": dict(os.environ) | {"PYTHONSAFEPATH": "1"},
            "folder": os.getcwd(),
        }
        with contextlib.suppress(OSError):  # gone already: whoever listens will see it
            self.connection.send(place)

    def send(self, message: Any) -> None:
        """Send it something; that it is gone is noticed when it is listened to."""
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def end(self, *, patience: float = 0.0) -> int | None:
        """End it, stopped or not, and return its exit status (negative: the signal; None: nobody knows).

        Parameters
        ----------
        patience : float
            Seconds that it may take to end by itself: a process that is dying tells more than one that is killed.
        """
        self.connection.close()
        return self._server.end(self.pid, patience)


def how_it_ended(status: int | None) -> str:
    """Say an exit status in words.

    Examples
    --------
    >>> how_it_ended(-11), how_it_ended(9)
    ('killed by SIGSEGV', 'exit status 9')
    """
    if status is None:
        return "exit status unknown"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


class _ForkServer:
    """The process that workers are forked from."""

    def __init__(self) -> None:
        self.made_by, self.settings = os.getpid(), _settings()
        self._asking = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = start_process(
                python_command(_START, str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if os.environ.get("EMBEDX_DEBUG") else subprocess.DEVNULL,
                process_group=0,  # Ctrl-C goes to this process alone
            )
        self._close = weakref.finalize(self, _close, self.made_by, self._control, self._process)

    @property
    def serves(self) -> bool:
        """Whether it lives and has been started by this very process with these settings."""
        return self.made_by == os.getpid() and self.settings == _settings() and self._process.poll() is None

    def fork(self, modules: Sequence[str], handle: int) -> int | None:
        """Return a new worker's id, below 0 an error's number, and None when the fork server is gone."""
        return self._ask({"fork": list(modules)}, [handle], _IMPORT_SECONDS)

    def end(self, pid: int, patience: float) -> int | None:
        """End a worker; None when it cannot be, or when the fork server, and all of its workers, are gone."""
        return self._ask({"end": pid, "patience": patience}, [], patience + 2 * KILL_SECONDS)

    def _ask(self, question: dict[str, Any], handles: list[int], seconds: float) -> int | None:
        with self._asking:
            try:
                self._control.settimeout(seconds)
                socket.send_fds(self._control, [json.dumps(question).encode()], handles)
                answer = self._control.recv(64)
            except OSError:  # gone, or it does not answer
                self._close()
                return None
            except BaseException:  # interrupted: its answer would be taken for that to the next question
                self._close()
                raise
        return json.loads(answer) if answer else None


def _close(made_by: int, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """End a fork server, with all of its workers, when nobody needs it any more or at this process's exit."""
    control.close()
    if made_by == os.getpid():
        process.kill()
        process.wait()


_fork_server: _ForkServer | None = None
_guard = threading.Lock()


def _fork(modules: Sequence[str], handle: int) -> tuple[_ForkServer, int]:
    """Fork a worker, from a new fork server if the old one is gone or was started under other settings."""
    for _ in range(2):
        with as_limit("an encoder process"):
            server = _living()
            pid = server.fork(modules, handle)
            if pid is not None and pid < 0:
                raise OSError(-pid, os.strerror(-pid))
        if pid is not None:
            return server, pid
    raise RunnerError(
        f"the process that encoder workers are forked from cannot be started: run {sys.executable} -c "
        "'import embedx.extract.fork_server' to see why"
    )


def _living() -> _ForkServer:
    global _fork_server
    with _guard:
        if _fork_server is None or not _fork_server.serves:
            _fork_server = _ForkServer()  # the old one ends with its last worker
        return _fork_server


def _settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_READ_AT_LOAD)}
