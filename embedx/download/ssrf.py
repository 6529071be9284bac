"""Connections that reach only public hosts, pages that cannot fill the memory, and a way to cut them off.

Written for ``urllib.request`` handlers; the one that uses them stands in ``fetch``.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import threading
import weakref
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from embedx.download.links import is_private_host

__all__ = ["GuardedConnections", "PrivateAddressError", "Watch"]

_MAX_PAGE_BYTES = 64 * 2**20


class PrivateAddressError(OSError):
    """A connection to this machine or a private network was about to be made."""


class Watch:
    """Knows the open sockets of one thread, so that another can end what it waits for."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_cut = False

    def begin(self) -> None:
        """Allow connections again."""
        with self._lock:
            self._is_cut = False

    def add(self, one: socket.socket) -> None:
        """Remember a socket as long as it lives; one that comes after the cut is shut at once."""
        with self._lock:
            self._sockets.add(one)
            if self._is_cut:
                _shut(one)

    def cut(self) -> None:
        """Shut every socket; whoever reads from one sees its end."""
        with self._lock:
            self._is_cut = True
            for one in list(self._sockets):
                _shut(one)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


class GuardedConnections:
    """Mixed into an HTTP handler of urllib: checks every address when the connection is made.

    Neither redirects nor names that resolve to something else the second time pass. Where a proxy
    makes the connection, only the name can be checked.
    """

    allow_private = False
    watch: Watch
    _context: Any
    _source_address: Any
    _make_conn_class: Any
    do_open: Any

    def http_open(self, req: Any) -> Any:
        """Open a plain connection."""
        return self._open(http.client.HTTPConnection, req)

    def https_open(self, req: Any) -> Any:
        """Open an encrypted connection."""
        return self._open(http.client.HTTPSConnection, req, context=self._context)

    def _open(self, base: Any, req: Any, **kwargs: Any) -> Any:
        host = urlsplit(req.get_full_url()).hostname or ""
        if not self.allow_private and is_private_host(host):
            raise PrivateAddressError(f"{host} is a private address")
        kind = self._make_conn_class(base, req)
        is_free = self.allow_private or req.has_proxy()
        return self.do_open(functools.partial(self._connection, kind, is_free), req, **kwargs)

    def _connection(self, kind: Any, is_free: bool, *args: Any, **kwargs: Any) -> Any:
        connection = kind(*args, **kwargs)
        if not is_free:
            connection._create_connection = _connect_public
        connect = connection.connect

        def connect_watched() -> None:
            connect()
            self.watch.add(connection.sock)

        connection.connect = connect_watched
        return connection

    @staticmethod
    def gz(data: bytes) -> bytes:
        """Unpack gzip, to a limit."""
        return _inflate(data, zlib.MAX_WBITS | 16)

    @staticmethod
    def deflate(data: bytes) -> bytes:
        """Unpack deflate, to a limit."""
        try:
            return _inflate(data, -zlib.MAX_WBITS)
        except zlib.error:
            return _inflate(data, zlib.MAX_WBITS)

    @staticmethod
    def brotli(data: bytes) -> bytes:
        """Refuse: it is never asked for, and has no limit."""
        raise OSError("the server compressed its page with brotli, which was not asked for")

    def http_response(self, req: Any, resp: Any) -> Any:
        """Bound what a page may fill before anyone reads it."""
        resp.read = functools.partial(_bounded, resp.read)
        return super().http_response(req, resp)  # type: ignore[misc]

    https_response = http_response


def _connect_public(address: tuple[str, int], timeout: Any = None, source_address: Any = None, **_: Any) -> Any:
    """Connect like ``socket.create_connection``, but only to addresses of the public network."""
    error: OSError | None = None
    for family, kind, protocol, _name, place in socket.getaddrinfo(*address, 0, socket.SOCK_STREAM):
        if is_private_host(str(place[0])):
            raise PrivateAddressError(f"{address[0]} is {place[0]}, a private address")
        one = socket.socket(family, kind, protocol)
        try:
            if isinstance(timeout, (int, float)):
                one.settimeout(timeout)
            if source_address:
                one.bind(source_address)
            one.connect(place)
            return one
        except OSError as problem:
            one.close()
            error = problem
    raise error or OSError(f"{address[0]} has no address")


def _bounded(read: Callable[..., bytes], amount: int | None = None) -> bytes:
    if amount is not None:
        return read(amount)
    data = read(_MAX_PAGE_BYTES + 1)
    if len(data) > _MAX_PAGE_BYTES:
        raise OSError(f"a page of more than {_MAX_PAGE_BYTES} bytes")
    return data


def _inflate(data: bytes, wbits: int) -> bytes:
    engine = zlib.decompressobj(wbits)
    text = engine.decompress(data, _MAX_PAGE_BYTES)
    if engine.unconsumed_tail:
        raise OSError(f"a page that unpacks to more than {_MAX_PAGE_BYTES} bytes")
    return text
