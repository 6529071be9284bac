"""``embedx search``: the clips of a store that sound most like one clip, or like those of a label."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from typing import TYPE_CHECKING, Any

from embedx.cli.argument_types import number, read_layers
from embedx.cli.manifest_options import add_labels_arguments, read_labels
from embedx.cli.terminal import encodable, show
from embedx.errors import ParameterError
from embedx.files import replace_file
from embedx.text import count, printable

if TYPE_CHECKING:
    from embedx.search import Hit

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", metavar="EMB.h5", help="store that `embedx extract` wrote")
    parser.add_argument(
        "path", nargs="?", metavar="QUERY", help="an audio file: one of the store's, or any other, which is embedded"
    )
    parser.add_argument(
        "--label", help="instead of a file: clips near those of this label that are not labelled so, unlabelled first"
    )
    parser.add_argument(
        "-k", type=number(1, whole=True), default=20, metavar="N", help="clips that are shown (default: %(default)s)"
    )
    parser.add_argument("--layers", metavar="N,N", help="layers whose mean is compared (default: all of the store)")
    parser.add_argument(
        "--plain", action="store_true", help="plain cosine, without standardizing each column over the store's clips"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--csv", metavar="FILE", help="write the rows to a CSV file")
    add_labels_arguments(parser)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")


def run(args: argparse.Namespace) -> int:
    """Search, and print a row a clip."""
    from embedx.recipe import Resources
    from embedx.search import search_store

    hits = search_store(
        args.store,
        args.path,
        label=args.label,
        k=args.k,
        layers=read_layers(args.layers),
        labels=read_labels(args),
        standardized=not args.plain,
        resources=Resources(device=args.device),
    )
    rows = [_row(hit) for hit in hits]
    if args.csv:
        _write(args.csv, rows)
    if args.json:
        for row in rows:
            show(printable(json.dumps(row, ensure_ascii=False)))
    elif not args.csv:
        _show_table(rows)
    return 0


def _row(hit: Hit) -> dict[str, Any]:
    source = hit.source
    times = {"start": source.start_seconds, "stop": source.stop_seconds}
    return {"rank": hit.rank, "similarity": round(hit.similarity, 4), "path": hit.path, **times, "label": source.label}


def _write(place: str, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        with replace_file(place, newline="") as file:
            file.write(encodable(text.getvalue(), "utf-8"))
    except OSError as error:
        raise ParameterError(f"--csv {place} cannot be written: {error.strerror or error}") from error
    show(f"{count(len(rows), 'row')} written to {place}", file=sys.stderr)


_COLUMNS = ("rank", "similarity", "path", "start", "stop", "label")


def _show_table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        show("no other clip")
        return
    cut = any(row["start"] or row["stop"] is not None for row in rows)
    columns = [name for name in _COLUMNS if cut or name not in ("start", "stop")]
    lines = [columns, *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        show("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
