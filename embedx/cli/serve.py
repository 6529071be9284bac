"""``embedx serve``: a page to try a saved model on, and the same as HTTP."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING, Any

from embedx.cli.argument_types import add_trust_argument, number
from embedx.cli.http_server import add_listen_arguments, address_of, listen, serve_app, who_may_ask
from embedx.cli.terminal import show

if TYPE_CHECKING:
    from embedx.model import Model

__all__ = ["add_arguments", "run"]

_UPLOADS = 200
"""So many requests may be sending their recording or reading their answer, beside those that wait; beyond it: 503."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="folder that embedx fit -o wrote")
    parser.add_argument(
        "--store", metavar="EMB.h5", help="embeddings that it was trained on: the nearest of its clips are shown"
    )
    add_listen_arguments(parser, port=8000)
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
    place, asking = who_may_ask(args)
    model = Model.load(args.model, trusted=args.trust)
    app = create_app(model, store=args.store, limits=limits, **asking)
    with contextlib.closing(listen(args.host, args.port)) as listener:
        _warm_up(model)
        show(f"{args.model} answers at {address_of(listener, place, asking['token'])} (Ctrl-C stops it)")
        if sys.stdout is not None:
            sys.stdout.flush()
        most = _UPLOADS + limits.most_waiting
        serve_app(app, listener, command="serve", seconds=limits.timeout_seconds, most_requests=most)
    show("stopped")
    return 0


def _warm_up(model: Model) -> None:
    """Load the weights now: the first request does not wait for them."""
    import numpy as np

    quiet = np.zeros(model.recipe.sample_rate, np.float32)
    model.predictions(quiet, sampling_rate=model.recipe.sample_rate)
