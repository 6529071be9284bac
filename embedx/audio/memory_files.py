"""Bytes in memory that whatever reads files can read, in this process and in those that it starts."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence

__all__ = ["MemoryFiles"]

_OWN_HANDLES = "/proc/self/fd"


class MemoryFiles:
    """Files without a name on any disk, gone with the block that they were made for.

    On Linux each is memory of this process that others open through ``/proc``; elsewhere it is a temporary file.

    Parameters
    ----------
    contents : sequence of bytes or None
        What each holds; None makes no file.

    Attributes
    ----------
    paths : list of (str or None)
        How any process of this user opens each.

    Examples
    --------
    >>> with MemoryFiles([b"one", None]) as files:
    ...     os.path.getsize(files.paths[0]), files.paths[1]
    (3, None)
    """

    def __init__(self, contents: Sequence[bytes | None]) -> None:
        self._open = contextlib.ExitStack()
        try:
            self.paths = [None if content is None else self._write(content) for content in contents]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> MemoryFiles:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the memory go; whoever has a file open reads it to its end."""
        self._open.close()

    def _write(self, content: bytes) -> str:
        if hasattr(os, "memfd_create") and os.path.isdir(_OWN_HANDLES):
            handle = os.memfd_create("embedx")
            self._open.callback(os.close, handle)
            with open(handle, "wb", closefd=False) as file:
                file.write(content)
            return f"/proc/{os.getpid()}/fd/{handle}"
        named = self._open.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115
        named.write(content)
        named.flush()
        return named.name
