"""``embedx label``: a page to label clips on, which asks for those that teach most."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from embedx.cli.argument_types import MOST_BYTES, names
from embedx.cli.http_server import add_listen_arguments, address_of, listen, serve_app, who_may_ask
from embedx.cli.manifest_options import add_labels_arguments, read_labels
from embedx.cli.terminal import show
from embedx.errors import EmbedxWarning, ParameterError
from embedx.text import count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedx.dataset import Dataset

__all__ = ["add_arguments", "run"]

_GRACE_SECONDS, _MOST_REQUESTS = 5.0, 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", metavar="EMB.h5", help="store that `embedx extract` wrote")
    parser.add_argument(
        "-o", "--output", metavar="FILE.csv", required=True, help="labels go there, and those in it are gone on from"
    )
    parser.add_argument(
        "--classes",
        type=names,
        default=(),
        metavar="A,B",
        help="names for the keys 1 to 9 and 0 (new ones can be typed)",
    )
    parser.add_argument("--root", metavar="FOLDER", help="where the audio lies (default: where it was)")
    parser.add_argument(
        "--strategy",
        default="uncertain+diverse",
        help="how clips are chosen: uncertain+diverse (default), uncertain or random",
    )
    add_labels_arguments(parser)
    add_listen_arguments(parser, port=8001)


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C or SIGTERM; an answer that has begun is written."""
    from embedx.dataset import load_embeddings
    from embedx.labelling import LabelFile, LabellingSession
    from embedx.serve import create_label_app

    place, asking = who_may_ask(args)
    dataset = load_embeddings(args.store, labels=read_labels(args), most_bytes=MOST_BYTES)
    dataset = dataset if args.root is None else dataset.located_at(args.root)
    playable = _playable(dataset, args.store)
    with LabelFile(args.output, dataset) as file, contextlib.closing(listen(args.host, args.port)) as listener:
        session = LabellingSession(dataset, file, classes=args.classes, playable=playable, strategy=args.strategy)
        app = create_label_app(session, store=Path(args.store).name, file=args.output, **asking)
        n_labels = session.progress().n_labels
        url = address_of(listener, place, asking["token"])
        show(
            f"{args.store} is labelled at {url} ({n_labels:,} of {count(len(dataset), 'clip')} so far; Ctrl-C stops it)"
        )
        if sys.stdout is not None:
            sys.stdout.flush()
        serve_app(app, listener, command="label", seconds=_GRACE_SECONDS, most_requests=_MOST_REQUESTS)
        n_given = session.progress().n_labels - n_labels
    show(f"stopped: {count(n_given, 'label')} more, {n_labels + n_given:,} in {args.output}")
    return 0


def _playable(dataset: Dataset, store: str) -> NDArray[np.bool_]:
    """Return which clips have audio.

    Raises
    ------
    ParameterError
        None of them has.
    """
    import warnings

    import numpy as np

    from embedx.containers.clip_files import is_clip

    root = Path(dataset.root)
    here = {uri: is_clip(root / uri) for uri in {source.uri for source in dataset.sources}}
    playable = np.array([here[source.uri] for source in dataset.sources])
    if not playable.any():
        raise ParameterError(
            f"no audio of {store} lies below {root} (the first clip is {dataset.sources[0].uri}): nothing could be "
            "listened to; say where it lies with --root"
        )
    n_missing = int((~playable).sum())
    if n_missing:
        text = f"the audio of {n_missing:,} of {count(len(dataset), 'clip')} was not found: they are not asked for"
        warnings.warn(text, EmbedxWarning, stacklevel=2)
    return playable
