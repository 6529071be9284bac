"""The folder where recordings lie while they are answered for; what a kill left of another service is removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from embedx.file_locks import lock_file, open_folder

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
        if _is_mine(folder, stack):  # before it has the name of those that are removed when nobody holds them
            folder = folder.rename(folder.with_name(folder.name.replace("embedx-serve-", _HELD, 1)))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _remove_left() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_HELD}*"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            facts = os.lstat(folder)
            if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and _is_mine(folder, stack):
                shutil.rmtree(folder, ignore_errors=True)


def _is_mine(folder: Path, stack: contextlib.ExitStack) -> bool:
    """Lock a folder until the end of a block; False where another holds it, or where no folder can be locked."""
    handle = open_folder(folder)
    if handle is None:
        return False
    stack.callback(os.close, handle)
    try:
        return lock_file(handle, wait=False)
    except OSError:
        return False
