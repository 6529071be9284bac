"""How this package starts Python: without the folder that a user happens to stand in, and never to be left behind.

A folder of recordings may hold a ``json.py``. Python puts the current folder before everything else that can be
imported when it is started with ``-c`` or ``-m``, so whoever starts Python in such a folder runs that file.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator

__all__ = ["end_with_parent", "import_path", "python_command", "safe_path"]

_PR_SET_PDEATHSIG = 1


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


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends, even if it is stopped or hangs.

    Parameters
    ----------
    parent : int
        Id of the process that started this one: if it is gone already, this one ends here.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
