"""The folder where recordings lie while they are answered for; what a kill left of another service is removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["scratch_folder"]

_HELD = "embedx-serve-held-"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder in the temporary one, locked while this process lives, and remove it in the end.

    A process that is killed cannot remove its folder, but loses its lock: the next service takes such folders away.

    Yields
    ------
    Path

    Examples
    --------
    >>> with scratch_folder() as folder:
    ...     folder.is_dir()
    True
    >>> folder.exists()
    False
    """
    _remove_left()
    folder = Path(tempfile.mkdtemp(prefix="embedx-serve-"))
    with contextlib.ExitStack() as stack:
        handle = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, handle)
        if _try_lock(handle):  # before it has the name of those that are removed when nobody holds them
            folder = folder.rename(folder.with_name(folder.name.replace("embedx-serve-", _HELD, 1)))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _remove_left() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_HELD}*"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, handle)
            if os.fstat(handle).st_uid == os.getuid() and _try_lock(handle):
                shutil.rmtree(folder, ignore_errors=True)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
