"""``embedx serve``: a page to try a saved model on, and the same as HTTP."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import socket
import sys
from typing import TYPE_CHECKING, Any

from embedx.cli.argument_types import add_trust_argument, number
from embedx.cli.terminal import show
from embedx.errors import MissingExtraError, ParameterError

if TYPE_CHECKING:
    from embedx.model import Model
    from embedx.serve import ServiceLimits

__all__ = ["add_arguments", "run"]

_UPLOADS = 200
"""So many requests may be sending their recording or reading their answer, beside those that wait; beyond it: 503."""

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="folder that embedx fit -o wrote")
    parser.add_argument(
        "--store", metavar="EMB.h5", help="embeddings that it was trained on: the nearest of its clips are shown"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine)")
    parser.add_argument(
        "--port",
        type=number(0, 65_535, whole=True),
        default=8000,
        help="port to listen at (default: %(default)s; 0: any)",
    )
    parser.add_argument(
        "--token",
        metavar="TEXT",
        help="what requests have to show (default: none on this machine, else EMBEDX_TOKEN or a new one)",
    )
    positive: Any = {"type": number(0, open_low=True), "metavar": "N"}
    parser.add_argument("--most-mb", default=50.0, help="largest body, MB (default: %(default)g)", **positive)
    parser.add_argument("--most-seconds", default=600.0, help="longest recording, s (default: %(default)g)", **positive)
    parser.add_argument("--timeout", default=60.0, help="seconds a request may take (default: %(default)g)", **positive)
    parser.add_argument(
        "--most-waiting", type=number(1, whole=True), default=64, metavar="N", help="waiting requests (default: 64)"
    )
    add_trust_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; requests that have begun are answered."""
    from embedx.model import Model
    from embedx.serve import ServiceLimits, create_app

    limits = ServiceLimits(
        most_bytes=max(1, round(args.most_mb * 1e6)),
        most_seconds=args.most_seconds,
        most_waiting=args.most_waiting,
        timeout_seconds=args.timeout,
    )
    place = f"[{args.host}]" if ":" in args.host else args.host
    is_local = place in LOOPBACK
    token = args.token or os.environ.get("EMBEDX_TOKEN") or (None if is_local else secrets.token_urlsafe(24))
    model = Model.load(args.model, trusted=args.trust)
    app = create_app(model, store=args.store, limits=limits, token=token, hosts=LOOPBACK if is_local else None)
    with contextlib.closing(_listen(args.host, args.port)) as listener:
        _warm_up(model)
        url = f"http://{place}:{listener.getsockname()[1]}/"
        show(f"{args.model} answers at {url}{f'#token={token}' if token else ''} (Ctrl-C stops it)")
        if sys.stdout is not None:
            sys.stdout.flush()
        _serve(app, listener, limits)
    show("stopped")
    return 0


def _serve(app: Any, listener: socket.socket, limits: ServiceLimits) -> None:
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError.for_extra("uvicorn", "serve", "embedx serve") from error
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(limits.timeout_seconds),
        limit_concurrency=_UPLOADS + limits.most_waiting,
        lifespan="on",
    )
    with contextlib.suppress(KeyboardInterrupt):  # raised again when all is answered
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; the port is refused before weights are loaded."""
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


def _warm_up(model: Model) -> None:
    """Load the weights now: the first request does not wait for them."""
    import numpy as np

    quiet = np.zeros(model.recipe.sample_rate, np.float32)
    model.predictions(quiet, sampling_rate=model.recipe.sample_rate)
