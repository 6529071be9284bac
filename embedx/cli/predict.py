"""``embedx predict``: label new audio, or a store of embeddings, with a saved model."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from embedx.cli.argument_types import add_compute_arguments, add_trust_argument, number
from embedx.cli.clips_to_label import Clips, read_clips
from embedx.cli.manifest_options import add_segment_arguments, named_columns
from embedx.cli.predict_timeline import require_options, run_timeline
from embedx.cli.progress import ProgressBar
from embedx.cli.terminal import encodable, show
from embedx.cli.timeline_options import add_timeline_arguments
from embedx.errors import EmbedxError, Interrupted, ParameterError
from embedx.files import replace_file, require_replaceable
from embedx.text import count, printable

if TYPE_CHECKING:
    from embedx.manifest import Source
    from embedx.model import Model, Predictions

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="folder that embedx fit -o wrote, or hf:OWNER/NAME[@REVISION]")
    parser.add_argument(
        "clips",
        nargs="+",
        metavar="FILES|FOLDER|CSV|STORE|-",
        help="audio (tar archives and Parquet files of clips, too), or one store of the model's recipe; - reads one "
        "path a line from standard input. A CSV with the columns path, start and stop (seconds) gets a label for each "
        "piece of a file",
    )
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help="write the rows to a CSV file (UTF-8; names and labels stay as they are: a spreadsheet takes one that "
        "begins with = + - or @ for a formula unless the column is imported as text)",
    )
    parser.add_argument("--path-column", metavar="NAME", help="column of the CSV that holds the path")
    add_segment_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of CSV")
    parser.add_argument("--proba", action="store_true", help="add the probability of every class")
    parser.add_argument(
        "--unknown-at",
        type=_rate_or_off,
        metavar="RATE",
        help="share of known clips that column 'known' may call unknown (default 0.05); the label stays. "
        "off leaves the columns 'novelty' and 'known' out",
    )
    add_compute_arguments(parser, workers="decoding processes (default: by the cores)")
    parser.add_argument(
        "--timeline",
        action="store_true",
        help="say what is heard when in long recordings: onset, offset, label, mean and peak probability of each "
        "segment",
    )
    parser.add_argument(
        "--format",
        choices=("csv", "json", "audacity", "raven", "textgrid", "rttm"),
        help="of the files of --timeline (default csv)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FOLDER",
        help="write a file for each recording of --timeline; the same command goes on where it was stopped",
    )
    add_timeline_arguments(parser)
    add_trust_argument(parser)


def _rate_or_off(text: str) -> float:
    """Return the share, 0 for off."""
    return 0.0 if text == "off" else float(number(0, 1, open_low=True, open_high=True)(text))


def _require_novelty(args: argparse.Namespace, model: Model) -> None:
    if args.unknown_at and model.novelty is None:
        raise ParameterError(
            f"--unknown-at {args.unknown_at:g}: {args.model} does not tell unknown sounds (embedx info {args.model} "
            "says why): leave the option out, or fit a model that does"
        )


def run(args: argparse.Namespace) -> int:
    """Predict and print a row a clip as it comes; 3 when clips failed."""
    from embedx.model import Model
    from embedx.recipe import Resources

    require_options(args)
    _require_writable(args)
    model = Model.load(args.model, trusted=args.trust)
    _require_novelty(args, model)
    clips = read_clips(args.clips, model, named_columns(args, "path"))
    if args.timeline:
        return run_timeline(args, model, clips, _say)
    resources = Resources(device=args.device, batch_seconds=args.batch_seconds, workers=args.workers)
    output = _Output(args, clips)
    told = _Told(proba=args.proba, novelty=model.novelty is not None and args.unknown_at != 0)
    rate = {"unknown_at": args.unknown_at} if args.unknown_at else {}
    rows_are_seen = not args.csv and sys.stdout is not None and sys.stdout.isatty()
    with ProgressBar("predict", unit="clips") as bar, output.opened():
        progress = None if rows_are_seen else bar
        choices: dict[str, Any] = {"resources": resources, "progress": progress, "in_process": False, **rate}
        for part in model.stream(clips.sources, **choices):
            output.write(_rows(part, clips, told), part.mixed)
        output.write(_failed_rows(clips, model, told))
    return output.end()


def _require_writable(args: argparse.Namespace) -> None:
    """Say now, not after the work, that the rows cannot be written, or would replace something else."""
    if args.csv is None:
        return
    try:
        require_replaceable(args.csv, b",label,probability", b",labels,probability")
    except OSError as error:
        raise ParameterError(f"--csv {args.csv} cannot be written: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _Told:
    """Which columns beside label, probability and error are written."""

    proba: bool
    novelty: bool


def _rows(part: Predictions, clips: Clips, told: _Told) -> Iterator[dict[str, Any]]:
    several = part.label_separator is not None
    unlike = part.novelty if part.novelty is not None else [None] * len(part)
    known = part.known if part.known is not None else [None] * len(part)
    rows = zip(part.sources, part.labels, part.proba, part.errors, unlike, known, strict=True)
    for source, label, proba, error, novelty, is_known in rows:
        values = None if error else proba
        row = _row(clips.path(source), source, label, values, error, part.classes if told.proba else (), several)
        yield row | (_novelty_columns(None if error else novelty, is_known) if told.novelty else {})


def _novelty_columns(novelty: Any, is_known: Any) -> dict[str, Any]:
    """Return the last columns of a row, so that whoever reads the others by their place finds them there."""
    if novelty is None:
        return {"novelty": None, "known": None}
    return {"novelty": round(float(novelty), 4), "known": bool(is_known)}


def _failed_rows(clips: Clips, model: Model, told: _Told) -> Iterator[dict[str, Any]]:
    several = model.label_separator is not None
    for source, error in clips.failed:
        row = _row(clips.path(source), source, None, None, error, model.classes if told.proba else (), several)
        yield row | (_novelty_columns(None, None) if told.novelty else {})


def _row(
    path: str, source: Source, label: str | None, proba: Any, error: str | None, classes: tuple[str, ...], several: bool
) -> dict[str, Any]:
    row: dict[str, Any] = {"path": path, "start": source.start_seconds, "stop": source.stop_seconds}
    row["labels" if several else "label"] = label
    row["probability"] = None if proba is None else round(float(proba.max()), 6)
    for i, name in enumerate(classes):
        row[f"p_{name}"] = None if proba is None else round(float(proba[i]), 6)
    return row | {"error": error}


class _Output:
    """Rows on their way out, and what is said when all are."""

    def __init__(self, args: argparse.Namespace, clips: Clips) -> None:
        self.args, self.clips = args, clips
        self.has_segments = any(s.start_seconds or s.stop_seconds is not None for s in clips.all_sources())
        self.n, self.n_failed = 0, 0
        self.mixed: list[str] = []
        self.writers: list[Callable[[dict[str, Any]], None]] = []

    @contextlib.contextmanager
    def opened(self) -> Iterator[_Output]:
        """Open the CSV file, which takes its place when all rows are written, and the standard output."""
        with contextlib.ExitStack() as files:
            if self.args.csv:
                stream = files.enter_context(_replaced(self.args.csv))
                self.writers.append(_csv_writer(lambda text: stream.write(encodable(text, "utf-8"))))
            if self.args.json:
                self.writers.append(lambda row: _say(printable(json.dumps(row, ensure_ascii=False)) + "\n"))
            elif not self.args.csv:
                self.writers.append(_csv_writer(_say))
            yield self

    def write(self, rows: Iterable[dict[str, Any]], mixed: tuple[str, ...] = ()) -> None:
        """Write rows; ``mixed`` says of which clips the windows disagree."""
        for row in rows:
            self.n += 1
            self.n_failed += row["error"] is not None
            shown = {name: row[name] for name in row if self.has_segments or name not in ("start", "stop")}
            for writer in self.writers:
                writer(shown)
        self.mixed += mixed
        if sys.stdout is not None:
            sys.stdout.flush()

    def end(self) -> int:
        """Say what was written and what failed; return the exit code."""
        if self.args.csv:
            show(f"{count(self.n, 'row')} written to {self.args.csv}", file=sys.stderr)
        if self.mixed:
            more = f" (and {count(len(self.mixed) - 1, 'more file')})" if len(self.mixed) > 1 else ""
            show(
                f"one label may be too few for {self.mixed[0]}{more}: --timeline says what is heard when, and a CSV "
                "with the columns path, start and stop (seconds) gets a label for each piece",
                file=sys.stderr,
            )
        if self.n_failed:
            show(f"{self.n_failed} of {count(self.n, 'clip')} failed: see column 'error'", file=sys.stderr)
        return 3 if self.n_failed or getattr(self.clips.sources, "n_bad_names", 0) else 0


@contextlib.contextmanager
def _replaced(place: str) -> Iterator[IO[Any]]:
    """Open the CSV file; when the work is ended by Ctrl-C or an error, the rows so far are kept beside it."""
    try:
        with replace_file(place, newline="") as stream:
            try:
                yield stream
            except BaseException as stop:
                kept = _kept(stream, f"{place}.partial")
                told = f"the rows so far are in {kept}, and {place} is as it was" if kept else "there are no rows yet"
                if isinstance(stop, KeyboardInterrupt):
                    raise Interrupted(told) from stop
                if kept:
                    show(f"embedx: {told}", file=sys.stderr)
                raise
    except (BrokenPipeError, EmbedxError):
        raise
    except OSError as error:  # a full disk, say
        raise ParameterError(f"--csv {place} cannot be written, and is as it was: {error.strerror or error}") from error


def _kept(stream: IO[Any], place: str) -> str | None:
    """Keep what was written so far under another name, if there is anything and the disk takes it."""
    try:
        stream.flush()
        if not os.path.isfile(stream.name) or not os.path.getsize(stream.name):
            return None
        shutil.copyfile(stream.name, place)
    except OSError:
        return None
    return place


def _csv_writer(write: Callable[[str], object]) -> Callable[[dict[str, Any]], None]:
    """Return what writes rows as CSV, the names of the columns first."""
    lines = csv.writer(_Sink(write), lineterminator="\n")
    is_first = True

    def write_row(row: dict[str, Any]) -> None:
        nonlocal is_first
        if is_first:
            lines.writerow(row)
        is_first = False
        lines.writerow(row.values())

    return write_row


@dataclass(frozen=True, slots=True)
class _Sink:
    """A file to the csv module."""

    write: Callable[[str], object]


def _say(line: str) -> None:
    """Print a row: as it is into a pipe or a file, with what a terminal would obey escaped on a terminal."""
    if sys.stdout is None:  # a process without one
        return
    if sys.stdout.isatty():
        show(line.removesuffix("\n"))
    else:
        sys.stdout.write(encodable(line, sys.stdout.encoding or "utf-8"))
