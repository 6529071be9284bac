"""Members of containers as open files, whatever the container."""

from __future__ import annotations

import errno
import io
import os
import posixpath
from typing import Any

from embedx.files import read_at

__all__ = ["BytesMember", "SliceMember", "as_error", "no_member", "plain_name"]


class SliceMember(io.RawIOBase):
    """A stretch of a file, read as if it were one: nothing is copied, and nothing beyond it can be read.

    Parameters
    ----------
    handle : int
        Descriptor of the whole file; closed with the member.
    begin, size : int
        Where the stretch lies, in bytes.
    name : str
        What the member is called; readers look at its ending.
    mtime_ns : int
        When the container was changed last.
    """

    def __init__(self, handle: int, begin: int, size: int, *, name: str, mtime_ns: int) -> None:
        self._handle, self._begin, self._size, self._at = handle, begin, size, 0
        self.name, self.mtime_ns = name, mtime_ns

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; return how many bytes there were."""
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        found = read_at(self._handle, len(view), self._begin + self._at)
        view[: len(found)] = found
        self._at += len(found)
        return len(found)

    def close(self) -> None:
        """Let the file go."""
        if not self.closed:
            os.close(self._handle)
        super().close()


class BytesMember(io.BytesIO):
    """A member that was read whole.

    Parameters
    ----------
    content : bytes-like
        All of it.
    name : str
        What the member is called.
    mtime_ns : int
        When the container was changed last.
    """

    def __init__(self, content: Any, *, name: str, mtime_ns: int) -> None:
        super().__init__(content)
        self.name, self.mtime_ns = name, mtime_ns


def plain_name(name: str) -> str:
    """Return a member's name as a path below its container: no ``./`` and no ``/`` at its beginning.

    Raises
    ------
    OSError
        It has ``..`` in it, would name something outside, or is none.

    Examples
    --------
    >>> plain_name("./dog/1.wav"), plain_name("/data/1.wav")
    ('dog/1.wav', 'data/1.wav')
    """
    plain = posixpath.normpath(name).lstrip("/")
    if ".." in name.split("/") or plain in ("", ".") or "\0" in name:
        raise OSError(errno.EINVAL, f"the member {name[:200]!r} has a name that leads out of the archive")
    return plain


def no_member(container: str, name: str) -> FileNotFoundError:
    """Return the error for a member that is not there."""
    return FileNotFoundError(errno.ENOENT, f"{os.path.basename(container)} has no such member", f"{container}/{name}")


def as_error(why: str, container: str) -> OSError:
    """Return the error for a container that cannot be read."""
    return OSError(errno.EIO, why, container)
