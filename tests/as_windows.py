"""Run what a script says with what Windows lacks hidden from this package: ``hide()`` before embedx is imported."""

import builtins
import os

MODULES = {"fcntl", "resource", "pwd", "grp", "termios"}
FUNCTIONS = (
    *("fork", "register_at_fork", "sched_getaffinity", "pread", "pwrite", "memfd_create"),
    *("O_DIRECTORY", "O_CLOEXEC", "getpgid", "killpg"),
)


def hide():
    """Let embedx find none of the modules and functions that only POSIX systems have; other libraries still do."""
    real = builtins.__import__

    def importing(name, globals=None, locals=None, fromlist=(), level=0):
        importer = (globals or {}).get("__name__", "")
        if name in MODULES and importer.partition(".")[0] == "embedx":
            raise ImportError(f"{importer} imports {name}, which Windows has not")
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = importing
    import portalocker
    import torch

    for name in FUNCTIONS:
        if hasattr(os, name):
            delattr(os, name)
    return torch, portalocker
