"""``embedx predict --timeline``: recordings become segments, a file each and a table for all."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedx.cli.argument_types import is_store
from embedx.cli.output_paths import require_output
from embedx.cli.progress import ProgressBar
from embedx.cli.terminal import show
from embedx.cli.timeline_options import named_options, reader_options
from embedx.containers.clip_files import is_clip
from embedx.errors import DecodeError, Interrupted, ParameterError, SourceError
from embedx.text import count, printable

if TYPE_CHECKING:
    from embedx.cli.clips_to_label import Clips
    from embedx.manifest import Source
    from embedx.model import Model
    from embedx.model.recording_reader import RecordingReader
    from embedx.timeline import TimeLine
    from embedx.timeline.output_folder import OutputFolder

__all__ = ["read_all", "require_options", "run_timeline"]

Say = Callable[[str], None]


def require_options(args: argparse.Namespace) -> None:
    """Refuse options that do nothing, or that contradict each other.

    Raises
    ------
    ParameterError
        Which.
    """
    if not args.timeline:
        lost = [*named_options(args), *(["--format"] if args.format else []), *(["-o"] if args.output else [])]
        if lost:
            raise ParameterError(f"{lost[0]} needs --timeline" + ("; --csv FILE takes rows" if lost == ["-o"] else ""))
        return
    if args.csv is not None:
        raise ParameterError("--csv does not go with --timeline: -o FOLDER takes a file for each recording")
    if args.proba and args.format != "json":
        raise ParameterError("--proba needs --format json with --timeline: no other format holds the windows")
    if any(is_store(place) for place in args.clips):
        raise ParameterError(
            "--timeline needs audio: a store holds one row a clip or a window, not the time in between"
        )
    if args.output is None:
        return
    require_output(args.output, "folder", option="-o")
    place, model = os.path.realpath(args.output), os.path.realpath(args.model)
    if place == model or place.startswith(model + os.sep):
        raise ParameterError(f"-o {args.output} lies in the model that is read: give another folder")


def run_timeline(args: argparse.Namespace, model: Model, clips: Clips, say: Say) -> int:
    """Make the time lines, write and print them; 3 when recordings failed."""
    from embedx.model.recording_reader import RecordingReader
    from embedx.recipe import Resources

    format = args.format or "csv"
    sources = tuple(clips.all_sources())
    if args.output is None and format not in ("csv", "json") and len(sources) > 1:
        raise ParameterError(f"--format {format} holds one recording: give -o FOLDER for {len(sources)} of them")
    resources = Resources(device=args.device, batch_seconds=args.batch_seconds, workers=args.workers)
    table = _Table(args, say, format)
    with RecordingReader(model, **reader_options(args, model), resources=resources) as reader:
        output = None if args.output is None else _Output(args, reader, sources, clips.full_path, format)
        todo = [source for source in sources if output is None or not output.is_done(source, clips.full_path(source))]
        if len(todo) < len(sources):
            show(f"{count(len(sources) - len(todo), 'recording')} of {len(sources):,} done before", file=sys.stderr)

        def take(source: Source, line: TimeLine) -> None:
            if output is not None:
                output.put(source, line)
            table.put(clips.path(source), line)

        try:
            n_failed = read_all(reader, todo, clips.full_path, take)
        except KeyboardInterrupt as stop:
            if output is None:
                raise
            raise Interrupted(f"what is done is in {args.output}: the same command goes on") from stop
    table.end()
    if output is not None:
        show(f"{count(len(sources) - n_failed, 'time line')} in {args.output}", file=sys.stderr)
    if n_failed:
        show(f"{n_failed} of {count(len(sources), 'recording')} failed", file=sys.stderr)
    return 3 if n_failed or getattr(clips.sources, "n_bad_names", 0) else 0


def read_all(
    reader: RecordingReader,
    sources: Sequence[Source],
    path_of: Callable[[Source], str],
    take: Callable[[Source, TimeLine], None],
) -> int:
    """Read recordings with a bar that counts their seconds; return how many failed, each said with its reason."""
    from embedx.audio.headers import read_duration

    lengths = [_seconds_of(source, read_duration(path_of(source))) for source in sources]
    total = None if None in lengths else round(sum(filter(None, lengths)))
    done, n_failed = 0.0, 0
    with ProgressBar("time line", unit="s of audio") as bar:
        for source, seconds in zip(sources, lengths, strict=True):
            before, first = done, source.start_seconds

            def report(now: float, before: float = before, first: float = first) -> None:
                bar(round(before + now - first), total)

            try:
                line = reader.read(path_of(source), source.start_seconds, source.stop_seconds, progress=report)
                take(source, line)
                done += seconds or line.seconds - first
            except SourceError as error:
                n_failed += 1
                show(f"embedx: {source.id} failed: {error}", file=sys.stderr)
                done += seconds or 0.0
    return n_failed


def _seconds_of(source: Source, whole: float | None) -> float | None:
    """Return how much of a file is read, as far as its header is right."""
    stop = source.stop_seconds if whole is None else min(whole, source.stop_seconds or whole)
    return None if stop is None else max(0.0, stop - source.start_seconds)


class _Output:
    """The folder of the files."""

    def __init__(
        self,
        args: argparse.Namespace,
        reader: RecordingReader,
        sources: Sequence[Source],
        path_of: Callable[[Source], str],
        format: str,
    ) -> None:
        from embedx.files import hash_file
        from embedx.timeline.output_folder import OutputFolder, output_names

        self.format, self.with_windows = format, args.proba
        options = {
            "model": hash_file(Path(args.model) / "model.json").hex()[:16],
            "window_seconds": reader.window_seconds,
            "hop_seconds": reader.hop_seconds,
            "one_pass": reader.one_pass,
            "format": format,
            "proba": args.proba,
            **asdict(reader.options),
        }
        self.names = output_names(sources, format)
        try:
            self.folder: OutputFolder = OutputFolder(args.output, options)
        except OSError as error:
            raise ParameterError(f"-o {args.output} cannot be written: {error.strerror}") from error
        self.folder.require_free({name: path_of(source) for source, name in self.names.items()})

    def is_done(self, source: Source, path: str) -> bool:
        return is_clip(path) and self.folder.is_done(self.names[source], path)

    def put(self, source: Source, line: TimeLine) -> None:
        try:
            self.folder.put(self.names[source], line, format=self.format, with_windows=self.with_windows)
        except FileNotFoundError as error:  # the recording was taken away while it was read
            raise DecodeError(f"{line.path}: {error.strerror}") from error


@dataclass(slots=True)
class _Table:
    """What goes to the standard output: rows of all recordings, or the one file that was asked for."""

    args: argparse.Namespace
    say: Say
    format: str
    held: list[str] | None = None
    is_first: bool = True

    def __post_init__(self) -> None:
        if sys.stdout is not None and sys.stdout.isatty():
            self.held = []  # the bar has the terminal until all is read

    def put(self, path: str, line: TimeLine) -> None:
        """Say the segments of a recording."""
        text = self._text(path, line)
        self.is_first = False
        if self.held is None:
            self.say(text)
            if sys.stdout is not None:
                sys.stdout.flush()
        else:
            self.held.append(text)

    def end(self) -> None:
        """Say what was held."""
        for row in "".join(self.held or ()).splitlines(keepends=True):
            self.say(row)

    def _text(self, path: str, line: TimeLine) -> str:
        from embedx.timeline.segment_writers import COLUMNS, csv_rows, csv_text, format_segments

        if self.args.json:
            rows = [{"filename": path, **asdict(segment)} for segment in line.segments]
            return "".join(printable(json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
        if self.format != "csv" and self.args.output is None:
            return format_segments(line, format=self.format, with_windows=self.args.proba)
        header: list[Any] = [COLUMNS] if self.is_first else []
        return csv_text([*header, *csv_rows(line.segments, path)])
