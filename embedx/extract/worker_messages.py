"""How an encoder worker answers: messages through its connection, and large arrays behind them as they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.store.rows import Embedded

__all__ = ["read_message", "write_message"]

_LARGE_BYTES = 1 << 20
"""Rows from here on are copied neither into a message nor out of it: those of ten hours are hundreds of megabytes."""


@dataclass(frozen=True, slots=True)
class _Behind:
    """Stands for rows that follow their message."""

    shape: tuple[int, ...]


def write_message(connection: Connection, words: tuple[Any, ...]) -> None:
    """Send one message."""
    behind: list[NDArray[np.float32]] = []

    def take(rows: Any) -> Any:
        if rows.nbytes < _LARGE_BYTES:
            return rows
        behind.append(np.ascontiguousarray(rows, dtype=np.float32))
        return _Behind(rows.shape)

    connection.send(_with_rows(words, take))
    for rows in behind:
        view = rows.data.cast("B")
        while view.nbytes:
            view = view[os.write(connection.fileno(), view) :]


def read_message(connection: Connection) -> tuple[Any, ...]:
    """Receive one message.

    Raises
    ------
    EOFError
        The other side is gone.
    """

    def fetch(rows: Any) -> Any:
        return _read(connection.fileno(), rows.shape) if isinstance(rows, _Behind) else rows

    return _with_rows(connection.recv(), fetch)


def _with_rows(words: tuple[Any, ...], change: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Change the rows of all results among the words, in their order."""
    return tuple(
        [replace(x, embeddings=change(x.embeddings)) if isinstance(x, Embedded) else x for x in word]
        if isinstance(word, list)
        else word
        for word in words
    )


def _read(handle: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    rows = np.empty(shape, np.float32)
    view = rows.data.cast("B")
    while view.nbytes:
        n = os.readv(handle, [view])
        if not n:
            raise EOFError
        view = view[n:]
    return rows
