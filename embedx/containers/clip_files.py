"""Opens the bytes that a path names: a file's, or those of a member, written as ``shards/a.tar/key.wav``."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from embedx.containers.parquet_table import ParquetTable
from embedx.containers.tar_archive import OnMember, TarArchive

__all__ = [
    "SHARD_ENDINGS",
    "ClipFacts",
    "hash_clip",
    "is_clip",
    "open_clip",
    "open_member",
    "open_shard",
    "split_member",
    "stamp_clip",
    "stat_clip",
]

SHARD_ENDINGS = (".tar", ".parquet")
"""Files that hold clips."""

_INSIDE = re.compile(r"\.(?:tar|parquet)/", re.IGNORECASE)
_HASHED_BYTES = 1 << 18  # one sign of life each: half a minute even at 10 kB/s
_MOST_MEMBERS = 4_000_000  # of archives whose places are kept: 100 MB
_MOST_TABLES = 2  # each keeps a row group

Shard = TarArchive | ParquetTable


class ClipFacts(NamedTuple):
    """Size in bytes (None: not known before it is read), time of change in ns, and what tells the file from others."""

    size: int | None
    mtime_ns: int
    identity: tuple[Any, ...]


def split_member(path: str | os.PathLike[str]) -> tuple[str, str] | None:
    """Return the container and the name of a member; None where the path means a file.

    Examples
    --------
    >>> split_member("clips/a.wav") is None
    True
    """
    text = os.fspath(path)
    for found in _INSIDE.finditer(text):
        container = text[: found.end() - 1]
        if os.path.isfile(container):
            return container, text[found.end() :]
    return None


def open_clip(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a clip for reading, at its first byte.

    Raises
    ------
    OSError
        As `open` does; `FileNotFoundError` where the container has no such member.
    """
    return open_member(path) or open(path, "rb")


def open_member(path: str | os.PathLike[str]) -> Any:
    """Open a member of a container; None where the path means a file."""
    inside = split_member(path)
    return None if inside is None else open_shard(inside[0]).open(inside[1])


def stat_clip(path: str | os.PathLike[str]) -> ClipFacts:
    """Return what is known of a clip without reading it.

    Raises
    ------
    OSError
        As `os.stat` does; `FileNotFoundError` where the container has no such member.
    """
    inside = split_member(path)
    facts = os.stat(path if inside is None else inside[0])
    size: int | None = facts.st_size
    if inside is not None:
        size = open_shard(inside[0]).size_of(inside[1])
    return ClipFacts(size, facts.st_mtime_ns, (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns))


def is_clip(path: str | os.PathLike[str]) -> bool:
    """Say whether there is a regular file, or a member, of that name."""
    try:
        inside = split_member(path)
        if inside is None:
            return os.path.isfile(path)
        open_shard(inside[0]).size_of(inside[1])
    except (OSError, ValueError):
        return False
    return True


def stamp_clip(path: str | os.PathLike[str], on_block: Callable[[], None] | None = None) -> tuple[bytes, int, int]:
    """Return the sha256 of a clip's bytes (32 bytes), their number, and when they were changed last, in ns.

    Parameters
    ----------
    path : path-like
        A file, or a member of a container.
    on_block : callable, optional
        Called at every block that is hashed.
    """
    digest, size = hashlib.sha256(), 0
    inside = split_member(path)
    if inside is not None:
        open_shard(inside[0], on_step=on_block)
    with open_clip(path) as file:
        known = getattr(file, "mtime_ns", None)
        mtime_ns = os.fstat(file.fileno()).st_mtime_ns if known is None else int(known)
        while block := file.read(_HASHED_BYTES):
            digest.update(block)
            size += len(block)
            if on_block is not None:
                on_block()
    return digest.digest(), size, mtime_ns


def hash_clip(path: str | os.PathLike[str]) -> bytes:
    """Return the sha256 of a clip's bytes, 32 bytes."""
    return stamp_clip(path)[0]


def open_shard(path: str, on_member: OnMember | None = None, on_step: Callable[[], None] | None = None) -> Shard:
    """Return what a container holds, as it is now; what was found of it is kept.

    Parameters
    ----------
    path : str
        A tar archive or a Parquet file.
    on_member : callable, optional
        Called at every member of a tar archive, which is read anew for it.
    on_step : callable, optional
        Called now and then while an archive of many members is looked through: a sign of life.

    Raises
    ------
    OSError
        It cannot be read.
    MissingExtraError
        pyarrow is not installed.
    """
    return _kept.get(path, on_member, on_step)


class _Kept:
    """The containers that this process read last."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._shards: OrderedDict[str, Shard] = OrderedDict()

    def get(self, path: str, on_member: OnMember | None, on_step: Callable[[], None] | None) -> Shard:
        key = os.path.abspath(path)
        facts = os.stat(path)
        identity = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        with self._guard:
            shard = self._shards.pop(key, None)
            is_known = shard is not None and shard.identity == identity and on_member is None
            if shard is None or not is_known:
                is_tar = path.lower().endswith(".tar")
                shard = TarArchive(path, on_member, on_step) if is_tar else ParquetTable(path)
            self._shards[key] = shard
            if not is_known:
                self._forget()
            return shard

    def _forget(self) -> None:
        tables = [key for key, shard in self._shards.items() if isinstance(shard, ParquetTable)]
        for key in tables[:-_MOST_TABLES]:
            del self._shards[key]
        n_members = sum(shard.n_members for shard in self._shards.values())
        while len(self._shards) > 1 and n_members > _MOST_MEMBERS:
            n_members -= self._shards.popitem(last=False)[1].n_members


_kept = _Kept()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_kept.__init__)  # type: ignore[misc]  # what is open is the parent's
