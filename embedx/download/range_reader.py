"""A remote file that can be read anywhere: small, checked ``Range`` requests behind ``read`` and ``seek``."""

from __future__ import annotations

import re
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Protocol

from embedx.download.status import StatusError, classify_http

__all__ = ["Answer", "Budget", "RangeReader"]

PAGE_BYTES = 64 * 1024
_MAX_RUN_PAGES = 8
_MAX_CACHED_PAGES = 256
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Answer(Protocol):
    """What an HTTP request gave; ``read`` returns fewer bytes only at the end."""

    status: int

    def get_header(self, name: str) -> str | None:
        """Return one header of the answer."""

    def read(self, amount: int) -> bytes:
        """Read at most ``amount`` bytes."""

    def close(self) -> None:
        """Drop the connection."""


@dataclass(slots=True)
class Budget:
    """What one clip may cost.

    Parameters
    ----------
    max_bytes : int
        Bytes over the network.
    deadline : float
        ``time.monotonic()`` after which nothing more is read.
    is_stopped : callable
        Says whether the run is being ended.
    n_bytes : int
        Spent so far.
    """

    max_bytes: int
    deadline: float
    is_stopped: Callable[[], bool] = field(default=lambda: False)
    n_bytes: int = 0

    def spend(self, n_bytes: int) -> None:
        """Count bytes; raise `StatusError` when bytes or time are used up."""
        self.n_bytes += n_bytes
        if self.n_bytes > self.max_bytes:
            raise StatusError("too_large", f"more than {self.max_bytes} bytes would be needed (--max-bytes)")
        self.check()

    def check(self) -> None:
        """Raise `StatusError` when the time is up or the run is being ended."""
        if self.is_stopped():
            raise StatusError("not_tried", "the run was ended")
        if time.monotonic() > self.deadline:
            raise StatusError("network", "the deadline of one clip passed (--deadline-seconds)")


class RangeReader:
    """A seekable, read-only file over HTTP that never splices two versions of a file.

    FFmpeg drops exceptions raised in its callbacks, so an error is kept in ``error`` and the file
    seems to end there; whoever decodes must look at it.

    Parameters
    ----------
    request : callable
        ``request(first, last) -> Answer`` asks for the bytes ``first`` to ``last``, both included.
    budget : Budget
        Bytes and time.

    Attributes
    ----------
    error : StatusError or None
        The first thing that went wrong.
    size : int or None
        Bytes of the file; None before ``open``.
    """

    def __init__(self, request: Callable[[int, int], Answer], *, budget: Budget) -> None:
        self._request = request
        self.budget = budget
        self.error: StatusError | None = None
        self.size: int | None = None
        self._pinned: tuple[str | None, str | None] = (None, None)
        self._pages: OrderedDict[int, bytes] = OrderedDict()
        self._spool: IO[bytes] | None = None
        self._position = 0
        self._run_pages, self._next_page = 1, 0

    def open(self) -> None:
        """Make the first request; raise `StatusError` when there is nothing to read."""
        self._load(0)

    def head(self) -> bytes:
        """Return the first bytes of the file."""
        if self._spool is not None:
            self._spool.seek(0)
            return self._spool.read(PAGE_BYTES)
        return self._pages.get(0, b"")

    def read(self, amount: int = -1) -> bytes:
        """Return up to ``amount`` bytes from the current position; ``b""`` at the end or after an error."""
        if self.error is not None or self.size is None:
            return b""
        wanted = self.size - self._position if amount < 0 else min(amount, self.size - self._position)
        if wanted <= 0:
            return b""
        try:
            self.budget.check()
            data = self._take(wanted)
        except StatusError as error:
            self.error = error
            return b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move; like every file's ``seek``."""
        base = {0: 0, 1: self._position, 2: self.size or 0}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Forget what was read."""
        self._pages.clear()
        if self._spool is not None:
            self._spool.close()

    def _take(self, wanted: int) -> bytes:
        if self._spool is not None:
            self._spool.seek(self._position)
            return self._spool.read(wanted)
        page, inside = divmod(self._position, PAGE_BYTES)
        if page not in self._pages:
            self._load(page)
            if self._spool is not None:
                return self._take(wanted)
        self._pages.move_to_end(page)
        return self._pages[page][inside : inside + wanted]

    def _load(self, page: int) -> None:
        """Fetch a run of pages, longer while the reading goes straight on."""
        self._run_pages = min(_MAX_RUN_PAGES, self._run_pages * 2) if page == self._next_page and page else 1
        first = page * PAGE_BYTES
        last = first + self._run_pages * PAGE_BYTES - 1
        if self.size is not None:
            last = min(last, self.size - 1)
        answer = self._request(first, last)
        try:
            if answer.status == 200 and self.size is None:
                self._read_all(answer)
                return
            last = self._check(answer, first, last)
            data = self._body(answer, last - first + 1)
        finally:
            answer.close()
        for offset in range(0, len(data), PAGE_BYTES):
            self._pages[page + offset // PAGE_BYTES] = data[offset : offset + PAGE_BYTES]
        self._next_page = page + -(-len(data) // PAGE_BYTES)
        while len(self._pages) > _MAX_CACHED_PAGES:
            self._pages.popitem(last=False)

    def _check(self, answer: Answer, first: int, last: int) -> int:
        """Require the asked bytes of the same file; return the last byte that comes."""
        if answer.status == 416 and self.size is None:
            raise StatusError("corrupt", "the file is empty", http_status=416)
        if answer.status != 206:
            word = "corrupt" if answer.status < 400 else classify_http(answer.status)
            raise StatusError(word, f"HTTP {answer.status} instead of 206 for a range", http_status=answer.status)
        if (answer.get_header("Content-Encoding") or "identity") != "identity":
            raise StatusError("corrupt", "the server compresses ranges, which makes their offsets meaningless")
        match = _CONTENT_RANGE.fullmatch((answer.get_header("Content-Range") or "").strip())
        if not match:
            raise StatusError("corrupt", f"no usable Content-Range: {answer.get_header('Content-Range')!r}")
        got_first, got_last, size = map(int, match.groups())
        if got_first != first or got_last > last or got_last != min(last, size - 1):
            raise StatusError("corrupt", f"asked for bytes {first}-{last}, got {got_first}-{got_last} of {size}")
        self._pin(answer, size)
        return got_last

    def _pin(self, answer: Answer, size: int) -> None:
        marks = (answer.get_header("ETag"), answer.get_header("Last-Modified"))
        if self.size is None:
            self.size, self._pinned = size, marks
        elif self.size != size or self._pinned != marks:
            raise StatusError("corrupt", "the file was changed at its source while it was read")

    def _body(self, answer: Answer, wanted: int) -> bytes:
        pieces, missing = [], wanted
        while missing > 0 and (piece := answer.read(min(missing, PAGE_BYTES))):
            self.budget.spend(len(piece))
            pieces.append(piece)
            missing -= len(piece)
        if missing:
            raise StatusError("truncated", f"the connection ended {missing} bytes before the end of {wanted}")
        return b"".join(pieces)

    def _read_all(self, answer: Answer) -> None:
        """The server knows no ranges: read the whole file under the cap."""
        declared = answer.get_header("Content-Length")
        if declared and declared.isdigit() and int(declared) > self.budget.max_bytes:
            raise StatusError("too_large", f"{declared} bytes, and the server sends no parts of it (--max-bytes)")
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the reader
        try:
            size = self._spool_body(answer, spool)
            if declared and declared.isdigit() and size != int(declared):
                raise StatusError("truncated", f"the connection ended after {size} of {declared} bytes")
        except BaseException:
            spool.close()
            raise
        self._spool, self.size = spool, size

    def _spool_body(self, answer: Answer, spool: IO[bytes]) -> int:
        size = 0
        while piece := answer.read(PAGE_BYTES):
            self.budget.spend(len(piece))
            spool.write(piece)
            size += len(piece)
        return size
