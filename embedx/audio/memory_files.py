"""Bytes in memory that whatever reads files can read, in this process and in those that it starts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

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
        self._open: list[Any] = []
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
        while self._open:
            self._open.pop().close()

    def _write(self, content: bytes) -> str:
        in_memory = hasattr(os, "memfd_create") and os.path.isdir(_OWN_HANDLES)
        file: Any = open(os.memfd_create("embedx"), "wb") if in_memory else tempfile.NamedTemporaryFile()  # noqa: SIM115
        self._open.append(file)
        file.write(content)
        file.flush()
        return f"/proc/{os.getpid()}/fd/{file.fileno()}" if in_memory else str(file.name)
