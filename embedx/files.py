"""Files that are replaced whole or not at all, and what identifies their content."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import IO, Any

from embedx.file_locks import open_folder

__all__ = [
    "BINARY",
    "hash_file",
    "kind_of_no_file",
    "read_at",
    "replace_file",
    "replace_folder",
    "require_replaceable",
    "special_kind",
    "sync_folder",
    "write_at",
]

_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100

BINARY: int = getattr(os, "O_BINARY", 0)
"""What ``os.open`` needs beside the other flags, or Windows would change line ends."""


def hash_file(path: str | PathLike[str]) -> bytes:
    """Return the sha256 of a file's bytes, 32 bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def read_at(handle: int, n_bytes: int, at: int) -> bytes:
    """Return bytes of an open file from an offset on, fewer at its end; where the file is read on stays as it was."""
    if hasattr(os, "pread"):
        return os.pread(handle, n_bytes, at)
    before = os.lseek(handle, 0, os.SEEK_CUR)
    try:
        os.lseek(handle, at, os.SEEK_SET)
        return os.read(handle, n_bytes)
    finally:
        os.lseek(handle, before, os.SEEK_SET)


def write_at(handle: int, data: bytes | memoryview, at: int) -> int:
    """Write to an open file at an offset, and return how many bytes the system took."""
    if hasattr(os, "pwrite"):
        return os.pwrite(handle, data, at)
    os.lseek(handle, at, os.SEEK_SET)
    return os.write(handle, data)


def special_kind(path: str | PathLike[str], *, but_streams: bool = False) -> str | None:
    """Say what is neither a file nor a folder: opening a pipe may wait for ever, reading a device may never end.

    Parameters
    ----------
    path : path-like
        Symbolic links are followed.
    but_streams : bool
        Whether a pipe that a shell has opened for this process (``/dev/stdin``, ``<(command)``) is as good as a file.

    Returns
    -------
    str or None
        ``"a pipe"``, ``"a socket"`` or ``"a device"``; None for a file, a folder, and where nothing is.

    Examples
    --------
    >>> special_kind("/dev/null"), special_kind("/"), special_kind("nowhere")
    ('a device', None, None)
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    if not stat.S_ISFIFO(mode):
        return "a socket" if stat.S_ISSOCK(mode) else "a device"
    is_stream = os.fspath(path).startswith(("/dev/stdin", "/dev/fd/", "/proc/self/fd/"))
    return None if but_streams and is_stream else "a pipe"


def kind_of_no_file(path: str | PathLike[str]) -> str | None:
    """Say what is there instead of a file: ``"a folder"``, or as `special_kind`; None for a file and for nothing.

    Examples
    --------
    >>> kind_of_no_file("/"), kind_of_no_file("/dev/null"), kind_of_no_file("nowhere")
    ('a folder', 'a device', None)
    """
    return "a folder" if os.path.isdir(path) else special_kind(path)


def require_replaceable(path: str | PathLike[str], *marks: bytes) -> None:
    r"""Say before the work that a result cannot be written, or would replace a file of another kind.

    Parameters
    ----------
    path : path-like
        Where the result shall go.
    *marks : bytes
        What the first 512 bytes of an earlier result hold, one of them at least; without marks nothing is replaced.

    Raises
    ------
    OSError
        There is no folder for it, or no permission; a folder, a named pipe, or a file without the marks lies there.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> place = pathlib.Path(tempfile.mkdtemp()) / "rows.csv"
    >>> require_replaceable(place, b"path,")
    >>> _ = place.write_bytes(b"RIFF")
    >>> require_replaceable(place, b"path,")
    Traceback (most recent call last):
    FileExistsError: [Errno 17] a file of another kind lies there, and is not replaced: give another name...
    """
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if place.is_file():
        with open(place, "rb") as file:
            head = file.read(512)
        if head and not any(mark in head for mark in marks):
            why = "a file of another kind lies there, and is not replaced: give another name, or remove it first"
            raise FileExistsError(errno.EEXIST, why, str(path))
    elif place.is_fifo() and not str(place).startswith(("/proc/", "/dev/")):
        raise FileExistsError(errno.EEXIST, "it is a pipe: use the standard output instead", str(path))
    if not place.exists() and not place.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {place.parent}", str(path))
    if not os.access(place.parent if not place.exists() or place.is_file() else place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


@contextmanager
def replace_file(path: str | PathLike[str], mode: str = "w", **options: Any) -> Iterator[IO[Any]]:
    r"""Open a file that takes the place of ``path`` when the block ends without an error.

    Readers see the old content or the new one, whole; a full disk, an error or a kill leaves the old one.

    Parameters
    ----------
    path : path-like
        What is written or replaced; a symbolic link stays one, and what it leads to is replaced.
    mode : {"w", "wb"}
        Text (UTF-8 unless ``encoding`` is given) or bytes.
    **options
        For `open`, such as ``newline``.

    Yields
    ------
    file

    Raises
    ------
    OSError
        It cannot be written; what was there is kept.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> place = pathlib.Path(tempfile.mkdtemp()) / "rows.csv"
    >>> with replace_file(place) as file:
    ...     _ = file.write("path,label\n")
    >>> place.read_text()
    'path,label\n'
    """
    place = Path(os.path.realpath(path))
    if "b" not in mode:
        options.setdefault("encoding", "utf-8")
    if place.exists() and not place.is_file():  # a pipe or /dev/stdout: nothing to replace
        with open(place, mode, **options) as file:
            yield file
        return
    draft = place.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with open(draft, mode.replace("w", "x"), **options) as file:
            with suppress(OSError):
                shutil.copymode(place, draft)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, place)
        sync_folder(place.parent)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def replace_folder(draft: str | PathLike[str], folder: str | PathLike[str]) -> None:
    """Put a finished folder in the place of another in one step, and remove the other.

    Every file of it is on disk first. Readers find the old folder or the new one, at no moment none.

    Parameters
    ----------
    draft : path-like
        The new folder, beside ``folder`` on the same file system.
    folder : path-like
        The place it takes, whether there is a folder or not.

    Raises
    ------
    OSError
        It cannot be done; ``folder`` is as it was.
    """
    draft, folder = Path(draft), Path(folder)
    for parent, _, names in os.walk(draft):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(parent))
    if not folder.exists():
        os.rename(draft, folder)
    elif _exchange(draft, folder):
        shutil.rmtree(draft, ignore_errors=True)
    else:  # a file system without the exchange: two renames, the old one comes back if the second fails
        old = draft.with_name(draft.name + ".old")
        os.rename(folder, old)
        try:
            os.rename(draft, folder)
        except BaseException:
            os.rename(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync_folder(folder.parent)


def sync_folder(folder: str | PathLike[str]) -> None:
    """Make the names in a folder durable."""
    handle = open_folder(folder)
    if handle is None:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step (renameat2); False where the system cannot."""
    if sys.platform == "win32":
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0
