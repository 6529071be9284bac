"""How this package starts Python: not among the files of a user's folder, and never to be left behind.

A folder of recordings may hold a ``json.py``. Python puts the current folder before everything else that can be
imported when it is started with ``-c`` or ``-m``, so whoever starts Python in such a folder runs that file.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from embedx.errors import RunnerError

__all__ = [
    "as_limit",
    "end_with_parent",
    "import_path",
    "interrupted_by_sigterm",
    "program_of",
    "python_command",
    "require_room",
    "safe_path",
    "start_process",
]

_PR_SET_PDEATHSIG = 1


def program_of(module: str) -> str:
    """Return the program for `python_command` that runs a module's ``main()`` and ends with its parent."""
    return (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
        "from embedx.child_process import end_with_parent; end_with_parent(int(sys.argv[2]))\n"
        f"from {module} import main; main()"
    )


def python_command(program: str, *arguments: str) -> list[str]:
    """Return the command that runs a program (``python -c``) of this package in a process of its own.

    Parameters
    ----------
    program : str
        Sees ``sys.argv[1]``, the folders that it imports from as JSON, then ``sys.argv[2]``, this process's id for
        `end_with_parent`, then the arguments.
    """
    return [sys.executable, "-P", "-c", program, json.dumps(import_path()), str(os.getpid()), *arguments]


def import_path() -> list[str]:
    """Return the folders that this process imports from, for one that it starts.

    The current folder is left out where only Python's way of starting (``-m``, a prompt, a notebook) has put it ahead
    of the standard library. It stays where this package is imported from it, and where ``PYTHONPATH`` names it.
    """
    here, own = os.getcwd(), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    named = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    first = next((i for i, entry in enumerate(sys.path) if entry == os.path.dirname(os.__file__)), 0)
    needed = here == own or here in named
    found = ((i, entry, os.path.abspath(entry)) for i, entry in enumerate(sys.path))
    return [whole for i, entry, whole in found if whole != here or needed or (entry and i > first)]


@contextlib.contextmanager
def safe_path() -> Iterator[None]:
    """Let no Python that is started meanwhile, by whatever library, put the current folder first."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONSAFEPATH", None)
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextlib.contextmanager
def as_limit(what: str) -> Iterator[None]:
    """Let it be one clear error when the system starts no further process or thread.

    Raises
    ------
    RunnerError
        A limit is reached. Any other error is passed on.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        no_process = isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM)
        if not no_process and "can't start new thread" not in str(error):
            raise
        raise RunnerError(
            f"{what} cannot be started: this machine allows no more processes and threads, or has no memory for them "
            "(ulimit -u, or the pids limit of a container or a batch job): raise the limit, or ask for fewer with "
            "--workers and --threads"
        ) from error


def require_room(n: int, what: str) -> None:
    """Refuse now what a limit on processes would refuse after half a minute of imports; threads count as processes do.

    Raises
    ------
    RunnerError
        So many cannot be started beside what is there.
    """
    end = threading.Event()
    threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(n)]
    try:
        with as_limit(what):
            for thread in threads:
                thread.start()
    finally:
        end.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def start_process(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that calls `end_with_parent` and is to outlive the thread that asks for it.

    It is started from a thread that waits until it has ended: the kernel takes that thread for its parent.
    """
    started: Future[subprocess.Popen[bytes]] = Future()

    def start() -> None:
        try:
            process = subprocess.Popen(command, **options)
        except BaseException as error:
            started.set_exception(error)
        else:
            started.set_result(process)
            process.wait()

    threading.Thread(target=start, daemon=True, name="embedx-parent").start()
    return started.result()


def end_with_parent(parent: int) -> None:
    """Have the kernel (Linux) kill this process when the thread that started it ends, even if it is stopped or hangs.

    One that is stopped before it comes to this call ends too if it has a process group, but no session, of its own:
    the kernel wakes an orphaned group and hangs up.

    Parameters
    ----------
    parent : int
        Id of the process that started this one: if it is gone already, this one ends here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, which job schedulers send, do what Ctrl-C does: keep what is done, end all processes."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
