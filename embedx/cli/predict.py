"""``embedx predict``: label new audio with a saved model."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from embedx.cli.labels import add_segment_arguments, named_columns
from embedx.cli.progress import ProgressBar
from embedx.errors import ManifestError, ParameterError

if TYPE_CHECKING:
    from embedx.manifest import Manifest
    from embedx.model import Predictions

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="folder that embedx fit -o wrote")
    parser.add_argument(
        "clips", nargs="+", metavar="FILES|FOLDER|CSV|-", help="audio; - reads one path a line from standard input"
    )
    parser.add_argument("--path-column", metavar="NAME", help="column of the CSV that holds the path")
    add_segment_arguments(parser)
    parser.add_argument("--csv", metavar="FILE", help="write the rows to a CSV file")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of CSV")
    parser.add_argument("--proba", action="store_true", help="add the probability of every class")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--batch-seconds", type=float, default=120.0, metavar="SECONDS", help="audio in a batch (default 120)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="decoding processes (default: by the cores)")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="TYPE", help="a type of your own classifier that may be loaded"
    )


def run(args: argparse.Namespace) -> int:
    """Predict and print a row a clip; 3 when clips failed."""
    from embedx.model import Model
    from embedx.recipe import Resources

    model = Model.load(args.model, trusted=args.trust)
    _require_writable(args.csv)
    manifest, shown_below = _read_clips(args.clips, named_columns(args, "path"))
    resources = Resources(device=args.device, batch_seconds=args.batch_seconds, workers=args.workers)
    with ProgressBar("predict", unit="clips") as bar:
        predictions = model.predictions(manifest, resources=resources, progress=bar)
    _write(args, list(_rows(predictions, shown_below, args.proba)))
    if predictions.n_failed:
        print(f"{predictions.n_failed} of {len(predictions)} clips failed: see column 'error'", file=sys.stderr)
    return 3 if predictions.n_failed or manifest.n_bad_names else 0


def _require_writable(place: str | None) -> None:
    """Say now, not after the work, that the rows cannot be written."""
    if place is None:
        return
    try:
        Path(place).open("a").close()
    except OSError as error:
        raise ParameterError(f"--csv {place} cannot be written: {error.strerror}") from error


def _read_clips(places: list[str], columns: dict[str, Any]) -> tuple[Manifest, Path | None]:
    """Return what to label, and the folder that its paths are shown below."""
    from embedx.manifest import Manifest, read_manifest

    if places == ["-"]:
        listed = [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        if not listed:
            raise ManifestError("standard input holds no path: give one path a line")
        return Manifest.from_paths(listed), None
    if len(places) == 1 and Path(places[0]).is_dir():
        return read_manifest(places[0], **columns), Path(places[0])
    if len(places) == 1 and Path(places[0]).suffix.lower() in (".csv", ".tsv", ".txt"):
        nothing = dict.fromkeys(("label_column", "group_column", "split_column"), "")
        return read_manifest(places[0], **columns, **nothing, must_exist=False), None
    missing = [place for place in places if not Path(place).is_file()]
    if missing:
        what = "is a folder: give one folder alone" if Path(missing[0]).is_dir() else "does not exist"
        raise ManifestError(f"{missing[0]} {what} ({len(missing)} of {len(places)} arguments are no files)")
    return Manifest.from_paths(places), None


def _rows(predictions: Predictions, folder: Path | None, with_proba: bool) -> Iterator[dict[str, Any]]:
    segments = any(s.start_seconds or s.stop_seconds is not None for s in predictions.sources)
    rows = zip(predictions.sources, predictions.labels, predictions.proba, predictions.errors, strict=True)
    for source, label, proba, error in rows:
        row: dict[str, Any] = {"path": source.uri if folder is None else str(folder / source.uri)}
        if segments:
            row |= {"start": source.start_seconds, "stop": source.stop_seconds}
        row |= {"label": label, "probability": None if error else round(float(proba.max()), 6)}
        if with_proba:
            values = [None if error else round(float(value), 6) for value in proba]
            row |= dict(zip((f"p_{name}" for name in predictions.classes), values, strict=True))
        yield row | {"error": error}


def _write(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    if args.csv:
        with open(args.csv, "w", newline="", encoding="utf-8") as stream:
            _write_csv(rows, stream)
        print(f"{len(rows)} rows written to {args.csv}", file=sys.stderr)
    if args.json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    elif not args.csv:
        _write_csv(rows, sys.stdout)


def _write_csv(rows: list[dict[str, Any]], stream: TextIO) -> None:
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
