"""Locks of open files, which the system frees when their holder dies; the one door to them on every system.

Linux and macOS lock by ``flock``. Windows has no such thing in Python's own library: there the package portalocker
does it, which a Windows installation brings along.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["has_locks", "lock_file", "open_folder"]


def lock_file(handle: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file until it is closed, or until its process ends.

    A lock belongs to the opened file: two handles of one process exclude each other, too.

    Parameters
    ----------
    handle : int
        Descriptor of an open file, or of a folder where `open_folder` opens one.
    shared : bool
        Whether others may hold the same kind of lock meanwhile.
    wait : bool
        Whether to wait for those that hold it.

    Returns
    -------
    bool
        False when another holds it and ``wait`` is false.

    Raises
    ------
    OSError
        The file system, or the system, has no locks.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as one, open(one.name) as other:
    ...     lock_file(one.fileno()), lock_file(other.fileno(), wait=False)
    (True, False)
    """
    if fcntl is None:
        return _lock_elsewhere(handle, shared, wait)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _lock_elsewhere(handle: int, shared: bool, wait: bool) -> bool:
    try:
        import portalocker
    except ImportError as error:
        raise OSError(errno.ENOTSUP, "no file locks on this system: pip install portalocker") from error
    kinds = portalocker.LockFlags
    kind = kinds.SHARED if shared else kinds.EXCLUSIVE
    try:
        portalocker.lock(handle, kind if wait else kind | kinds.NON_BLOCKING)
    except portalocker.AlreadyLocked:
        return False
    except portalocker.LockException as error:
        raise OSError(errno.ENOLCK, f"the file cannot be locked: {error}") from error
    return True


def has_locks(folder: str | os.PathLike[str]) -> bool:
    """Say whether locks of files in a folder exclude others, which some network file systems only pretend.

    Raises
    ------
    OSError
        No file can be made there.

    Examples
    --------
    >>> import tempfile
    >>> has_locks(tempfile.mkdtemp())
    True
    """
    place = Path(folder) / f".embedx-lock-{os.getpid()}"
    try:
        with open(place, "wb") as one, open(place, "rb") as other:
            try:
                return lock_file(one.fileno(), wait=False) and not lock_file(other.fileno(), wait=False)
            except OSError:
                return False
    finally:
        place.unlink(missing_ok=True)


def open_folder(folder: str | os.PathLike[str]) -> int | None:
    """Open a folder, to lock it or to make its names durable; None where the system opens none (Windows).

    Examples
    --------
    >>> os.close(open_folder("."))
    """
    flag = getattr(os, "O_DIRECTORY", None)
    return None if flag is None else os.open(folder, os.O_RDONLY | flag)
