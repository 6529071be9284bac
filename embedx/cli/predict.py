"""embedx predict: label new audio with a saved model."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any, TextIO

from embedx.cli.progress import ProgressBar
from embedx.errors import ManifestError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of embedx predict."""
    parser.add_argument("model", help="folder that embedx fit -o wrote")
    parser.add_argument("clips", nargs="+", metavar="FILES|FOLDER|CSV|-", help="audio; - reads paths from stdin")
    parser.add_argument("--csv", metavar="FILE", help="write a CSV (- is standard output)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--proba", action="store_true", help="add the probability of every class")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--batch-seconds", type=float, default=120.0, metavar="S", help="audio in one batch")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="decoding workers")


def run(args: argparse.Namespace) -> int:
    """Predict and print a row a clip; 3 when some clips failed."""
    from embedx.model import Model
    from embedx.recipe import Resources

    model = Model.load(args.model)
    manifest = _manifest(args.clips)
    resources = Resources(device=args.device, batch_seconds=args.batch_seconds, workers=args.workers)
    with ProgressBar("predict", unit="clips") as bar:
        predictions = model.predictions(manifest, resources=resources, progress=bar)
    rows = list(_rows(predictions, args.proba))
    if args.csv and args.csv != "-":
        with open(args.csv, "w", newline="", encoding="utf-8") as stream:
            _write_csv(rows, stream)
    elif args.json:
        for row in rows:
            print(json.dumps(row))
    else:
        _write_csv(rows, sys.stdout)
    if predictions.n_failed:
        print(f"{predictions.n_failed} of {len(predictions)} clips failed", file=sys.stderr)
    return 3 if predictions.n_failed else 0


def _manifest(places: list[str]) -> Any:
    from embedx.manifest import Manifest, read_manifest

    if places == ["-"]:
        places = [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        if not places:
            raise ManifestError("standard input holds no path: give one path a line")
    elif len(places) == 1 and (Path(places[0]).is_dir() or places[0].lower().endswith(".csv")):
        return read_manifest(places[0], must_exist=False)
    missing = [place for place in places if not Path(place).is_file()]
    if missing:
        raise ManifestError(f"no such file: {missing[0]} ({len(missing)} of {len(places)} are missing)")
    return Manifest.from_paths(places)


def _rows(predictions: Any, with_proba: bool) -> Any:
    triples = zip(predictions.sources, predictions.labels, predictions.proba, predictions.errors, strict=True)
    for source, label, proba, error in triples:
        row = {"path": source.uri, "start": source.start_seconds, "stop": source.stop_seconds}
        row |= {"label": label, "probability": None if error else round(float(proba.max()), 6)}
        if with_proba:
            row |= {
                f"p_{name}": None if error else round(float(value), 6)
                for name, value in zip(predictions.classes, proba, strict=True)
            }
        yield row | {"error": error}


def _write_csv(rows: list[dict[str, Any]], stream: TextIO) -> None:
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
