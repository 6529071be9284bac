"""How an encoder worker answers: pickled words, and their large arrays behind them as they lie in memory."""

from __future__ import annotations

import os
import pickle
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["read_words", "write_words"]

_LARGE_BYTES = 1 << 20
"""Arrays from here on are not copied into a pickle, nor out of it: the rows of ten hours are hundreds of megabytes."""


def write_words(connection: Connection, words: tuple[Any, ...]) -> None:
    """Send one message."""
    large: list[memoryview] = []

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes >= _LARGE_BYTES:
            large.append(view)
        return view.nbytes < _LARGE_BYTES

    text = pickle.dumps(words, protocol=5, buffer_callback=is_small)
    connection.send(([view.nbytes for view in large], text))
    for view in large:
        while view.nbytes:
            view = view[os.write(connection.fileno(), view) :]


def read_words(connection: Connection) -> tuple[Any, ...]:
    """Receive one message; its arrays may be written to.

    Raises
    ------
    EOFError
        The other side is gone.
    """
    sizes, text = connection.recv()
    large = [_read(connection.fileno(), n) for n in sizes]
    return pickle.loads(text, buffers=large)


def _read(handle: int, n_bytes: int) -> bytearray:
    body = bytearray(n_bytes)
    view = memoryview(body)
    while view.nbytes:
        n = os.readv(handle, [view])
        if not n:
            raise EOFError
        view = view[n:]
    return body
