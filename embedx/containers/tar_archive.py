"""Tar archives: where each member lies, found in one pass over the headers."""

from __future__ import annotations

import array
import errno
import functools
import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from embedx.containers.members import SliceMember, as_error, no_member, plain_name
from embedx.files import BINARY, read_at

__all__ = ["OnMember", "TarArchive"]

OnMember = Callable[[str, int, Callable[[], bytes]], None]
"""Called with a member's name, its size and a function that reads it."""

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}
_ADVICE = "which cannot be read at random: unpack it, or write the archive without compression (sound hardly shrinks)"
_BLOCK = 512
_STEP = 1_000


class TarArchive:
    """What an archive holds: 24 bytes of memory a member, whatever its name.

    Parameters
    ----------
    path : str
        The archive; not compressed.
    on_member : callable, optional
        Called at every member on the way.
    on_step : callable, optional
        Called at every thousandth.

    Attributes
    ----------
    n_members : int
        Regular files in it.
    n_links : int
        Links and sparse files, which are not read.
    fault : str
        What is wrong with its end; empty where it is whole.

    Raises
    ------
    OSError
        It is no tar archive, is compressed, or a member's name leads out of it.
    """

    def __init__(self, path: str, on_member: OnMember | None = None, on_step: Callable[[], None] | None = None) -> None:
        import numpy as np

        self.path, self.fault, self.n_links = path, "", 0
        marks, begins, sizes = array.array("Q"), array.array("q"), array.array("q")
        with open(path, "rb") as file:
            facts = os.fstat(file.fileno())
            self.identity = _identity(facts)
            for name, begin, size in self._walk(file, facts.st_size):
                missing = begin + size - facts.st_size
                if missing > 0:
                    self.fault = f"it is cut off in its member {name!r}, {missing:,} bytes are missing"
                marks.append(_mark(name))
                if on_step is not None and len(marks) % _STEP == 0:
                    on_step()
                begins.append(begin)
                sizes.append(size)
                if on_member is not None and missing <= 0:
                    on_member(name, size, functools.partial(read_at, file.fileno(), size, begin))
        self.n_members = len(marks)
        values = np.array(marks, np.uint64)
        order = np.argsort(values, kind="stable")
        self._marks = values[order]
        self._begins, self._sizes = np.array(begins, np.int64)[order], np.array(sizes, np.int64)[order]

    def size_of(self, name: str) -> int:
        """Return the bytes of a member."""
        return self._place(name)[1]

    def open(self, name: str) -> SliceMember:
        """Open a member.

        Raises
        ------
        FileNotFoundError
            There is none of that name.
        OSError
            The archive ends in it.
        """
        begin, size = self._place(name)
        handle = os.open(self.path, os.O_RDONLY | BINARY)
        facts = os.fstat(handle)
        if _identity(facts) != self.identity or begin + size > facts.st_size:
            os.close(handle)
            why = "was replaced while it was read" if _identity(facts) != self.identity else f"is damaged: {self.fault}"
            raise as_error(f"{os.path.basename(self.path)} {why}", self.path)
        return SliceMember(handle, begin, size, name=f"{self.path}/{name}", mtime_ns=facts.st_mtime_ns)

    def _place(self, name: str) -> tuple[int, int]:
        """Return where a member begins and its size; of several of one name the last, as tar unpacks them."""
        import numpy as np

        mark = np.uint64(_mark(name))
        row = int(np.searchsorted(self._marks, mark, side="right")) - 1
        if row < 0 or self._marks[row] != mark:
            raise no_member(self.path, name)
        return int(self._begins[row]), int(self._sizes[row])

    def _walk(self, file: BinaryIO, n_bytes: int) -> Iterator[tuple[str, int, int]]:
        """Yield name, place and size of each regular file, and note where the archive ends too early."""
        _refuse_compressed(file, self.path)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                    if member.isreg() and member.sparse is None:
                        yield plain_name(member.name), member.offset_data, member.size
                    else:
                        self.n_links += not member.isdir()
                self._require_end(file, tar.offset, n_bytes)
        except tarfile.ReadError as error:
            if "unexpected end" not in str(error):
                raise as_error(f"it is no tar archive ({error})", self.path) from error
            self.fault = self.fault or "it is cut off"
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise as_error(f"it cannot be read as a tar archive ({error})", self.path) from error

    def _require_end(self, file: BinaryIO, at: int, n_bytes: int) -> None:
        """Note an archive that ends without the block of zeros that ends one, or in which something else follows."""
        block = read_at(file.fileno(), _BLOCK, at)
        if block and not block.strip(b"\0") and len(block) == _BLOCK:
            return
        what = f"a header is damaged at byte {at:,} of {n_bytes:,}" if len(block) == _BLOCK else "it is cut off"
        self.fault = self.fault or what


def _identity(facts: os.stat_result) -> tuple[int, int, int, int]:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _mark(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


def _refuse_compressed(file: BinaryIO, path: str) -> None:
    head = read_at(file.fileno(), 8, 0)
    kind = next((kind for first, kind in _COMPRESSED.items() if head.startswith(first)), None)
    if kind is not None:
        raise OSError(errno.EIO, f"it is compressed ({kind}), {_ADVICE}", path)
