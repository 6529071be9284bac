"""Forbids every connection that leaves this machine, in the test process and in each process that it starts."""

import ipaddress
import socket


class NetworkForbiddenError(OSError):
    """A test, or something that it started, tried to reach another machine."""


def _check(address: object) -> None:
    host = address[0] if isinstance(address, tuple) else None
    if not isinstance(host, str):  # a unix socket
        return
    try:
        local = ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        local = host in ("localhost", "")
    if not local:
        raise NetworkForbiddenError(f"a test tried to connect to {host}")


def install() -> None:
    """Wrap the calls that open connections or look names up; installing twice is once."""
    if getattr(socket.socket.connect, "guarded", False):
        return
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self, address):  # type: ignore[no-untyped-def]
        _check(address)
        return connect(self, address)

    def guarded_connect_ex(self, address):  # type: ignore[no-untyped-def]
        _check(address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host, *args, **kwargs):  # type: ignore[no-untyped-def]
        name = host.decode() if isinstance(host, bytes) else host
        _check((name or "",))
        return getaddrinfo(host, *args, **kwargs)

    guarded_connect.guarded = True  # type: ignore[attr-defined]
    socket.socket.connect = guarded_connect  # type: ignore[method-assign]
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign]
    socket.getaddrinfo = guarded_getaddrinfo  # type: ignore[assignment]


install()
