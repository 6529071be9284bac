"""What the commands that answer HTTP share: where they listen, who may ask, and a quiet end."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import socket
from typing import Any

from embedx.cli.argument_types import number
from embedx.errors import MissingExtraError, ParameterError

__all__ = ["add_listen_arguments", "address_of", "listen", "serve_app", "who_may_ask"]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def add_listen_arguments(parser: argparse.ArgumentParser, *, port: int) -> None:
    """Declare where a command listens, and the token that is asked for."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine)")
    parser.add_argument(
        "--port",
        type=number(0, 65_535, whole=True),
        default=port,
        help="port to listen at (default: %(default)s; 0: any)",
    )
    parser.add_argument(
        "--token",
        metavar="TEXT",
        help="what requests have to show (default: none on this machine, else EMBEDX_TOKEN or a new one)",
    )


def who_may_ask(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Return the host as it stands in an address, and the token and the host names that an application is given."""
    place = f"[{args.host}]" if ":" in args.host else args.host
    is_local = place in LOOPBACK
    token = args.token or os.environ.get("EMBEDX_TOKEN") or (None if is_local else secrets.token_urlsafe(24))
    return place, {"token": token, "hosts": LOOPBACK if is_local else None}


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    ParameterError
        The port is taken, or there is no such address.
    """
    try:
        kind = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(kind[0], kind[1])
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(kind[4])
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ParameterError(f"--host {host} --port {port}: {why}. Give another --port, or 0 for any") from error
    return listener


def address_of(listener: socket.socket, place: str, token: str | None) -> str:
    """Return the address of the page, with the token."""
    return f"http://{place}:{listener.getsockname()[1]}/{f'#token={token}' if token else ''}"


def serve_app(app: Any, listener: socket.socket, *, command: str, seconds: float, most_requests: int) -> None:
    """Answer until Ctrl-C or SIGTERM; requests that have begun are given some seconds.

    Raises
    ------
    MissingExtraError
        uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError.for_extra("uvicorn", "serve", f"embedx {command}") from error
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(seconds),
        limit_concurrency=most_requests,
        lifespan="on",
    )
    with contextlib.suppress(KeyboardInterrupt):  # raised again when all is answered
        uvicorn.Server(config).run(sockets=[listener])
