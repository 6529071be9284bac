"""``embedx evaluate``: what a time line is worth beside the truth."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embedx.cli.argument_types import add_compute_arguments, add_trust_argument, number
from embedx.cli.manifest_options import add_segment_arguments, named_columns
from embedx.cli.terminal import show
from embedx.cli.timeline_options import add_timeline_arguments, named_options, reader_options
from embedx.errors import EmbedxWarning, ManifestError, ParameterError
from embedx.text import count

if TYPE_CHECKING:
    from embedx.model.recording_reader import RecordingReader
    from embedx.timeline import Segment, SegmentOptions, TimeLine
    from embedx.timeline.segment_readers import NamedSegment

__all__ = ["add_arguments", "run"]

_FEW_EVENTS = 20
"""Of a class: options that are chosen by fewer are likely to fit the noise of these."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="MODEL RECORDINGS",
        help="the folder that embedx fit -o wrote, then files, a folder or a CSV of recordings; none with --timeline",
    )
    parser.add_argument(
        "--truth",
        nargs="+",
        required=True,
        metavar="FILE",
        help="what is there: labels of Audacity, selections of Raven, a TextGrid of Praat, RTTM, or a table with "
        "onset, offset and event_label (or start, stop, label). One file may name several recordings; one that names "
        "none belongs to the recording of its name",
    )
    parser.add_argument(
        "--timeline",
        nargs="+",
        dest="found",
        metavar="FILE",
        help="segments that were found before, in any of these formats, instead of a model and recordings",
    )
    scores = parser.add_argument_group("scores")
    scores.add_argument(
        "--resolution",
        type=number(0, open_low=True),
        default=1.0,
        metavar="SECONDS",
        help="length of the pieces of segment-based scores (default 1)",
    )
    scores.add_argument(
        "--collar",
        type=number(0),
        default=0.2,
        metavar="SECONDS",
        help="how far an event's onset may be off (default 0.2)",
    )
    scores.add_argument(
        "--offset-share",
        type=number(0),
        default=0.5,
        metavar="SHARE",
        help="an event's offset may be off by the collar, or by this share of its length (default 0.5)",
    )
    scores.add_argument("--onset-only", action="store_true", help="judge no offsets")
    scores.add_argument(
        "--choose",
        metavar="FILE",
        help="choose thresholds, lengths and smoothing on these recordings and write them to FILE, which "
        "--timeline-options reads. Recordings that are chosen on are not judged with them: keep others for that",
    )
    scores.add_argument("--choose-by", default="events", metavar="KIND", help="F1 of events (default) or of segments")
    scores.add_argument("--json", action="store_true", help="print all scores as one JSON object")
    add_timeline_arguments(parser)
    parser.add_argument("--path-column", metavar="NAME", help="column of a CSV of recordings that holds the path")
    add_segment_arguments(parser)
    add_compute_arguments(parser, workers="0 decodes in this process (default: in another)")
    add_trust_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Score and print; 3 when recordings failed."""
    from embedx.timeline import score_events, score_segments
    from embedx.timeline.recordings import by_recording, name_recordings

    truth = _read(args.truth)
    n_failed = 0
    if args.choose is not None:
        if args.found or args.timeline_options:
            raise ParameterError("--choose needs a model and recordings, and chooses the options itself")
        return _choose(args, truth)
    if args.found:
        if args.inputs or [*named_options(args)]:
            lost = args.inputs or [*named_options(args)]
            raise ParameterError(f"{lost[0]} does nothing with --timeline: what was found stands in its files")
        found = _read(args.found)
        recordings = name_recordings([*truth, *found])
        lines: dict[str, Sequence[Segment]] = {**by_recording(recordings, found, what="--timeline")}
    else:
        heard, n_failed, reader = _listen(args)
        if 2 * args.collar < reader.hop_seconds:
            warnings.warn(
                f"--collar {args.collar:g}: onsets are known to half of the hop ({reader.hop_seconds / 2:g} s) only, "
                "so few events can be right: give a wider collar, or a shorter --hop",
                EmbedxWarning,
                stacklevel=2,
            )
        lines = {name: line.segments for name, line in heard.items()}
        recordings = tuple(lines)
    true = by_recording(recordings, truth, what="--truth")
    pairs = [(true[name], lines[name]) for name in recordings]
    share = None if args.onset_only else args.offset_share
    scores: dict[str, Any] = {
        "recordings": len(pairs),
        "segments": score_segments(pairs, resolution=args.resolution),
        "events": score_events(pairs, collar=args.collar, offset_share=share),
    }
    if args.json:
        show(json.dumps(scores, ensure_ascii=False))
    else:
        for row in _lines(scores):
            show(row)
    if n_failed:
        show(f"{count(n_failed, 'recording')} failed and not judged", file=sys.stderr)
    return 3 if n_failed else 0


def _read(places: Sequence[str]) -> list[tuple[str, NamedSegment]]:
    from embedx.timeline import read_segments

    return [(place, named) for place in places for named in read_segments(place)]


def _choose(args: argparse.Namespace, truth: Sequence[tuple[str, NamedSegment]]) -> int:
    """Choose options on the recordings, write them, and say what they are worth there."""
    from embedx.cli.output_paths import require_output
    from embedx.files import hash_file
    from embedx.timeline import OptionsFile, choose_options, score_events, score_segments
    from embedx.timeline.recordings import by_recording

    require_output(args.choose, "file", option="--choose")
    lines, n_failed, reader = _listen(args)
    if n_failed:
        raise ParameterError(f"{count(n_failed, 'recording')} cannot be read: leave out what cannot be chosen on")
    true = by_recording(tuple(lines), truth, what="--truth")
    measures: dict[str, Any] = {"resolution": args.resolution, "collar": args.collar}
    measures["offset_share"] = None if args.onset_only else args.offset_share
    chosen = choose_options([(lines[name], true[name]) for name in lines], by=args.choose_by, **measures)

    _warn_of_few(lines, true)

    def worth(options: SegmentOptions) -> float | None:
        pairs = [(true[name], line.with_options(options).segments) for name, line in lines.items()]
        events = {name: measures[name] for name in ("collar", "offset_share")}
        judged = (
            score_events(pairs, **events)
            if args.choose_by == "events"
            else score_segments(pairs, resolution=args.resolution)
        )
        mean: float | None = judged["class_mean"]["f1"]
        return mean

    before, after = worth(reader.options), worth(chosen)
    OptionsFile(
        options=chosen,
        window_seconds=reader.window_seconds,
        hop_seconds=reader.hop_seconds,
        one_pass=reader.one_pass,
        trained_on=reader.model.training.get("hash", ""),
        chosen_on=tuple(hash_file(line.path).hex() for line in lines.values()),
        facts={"by": args.choose_by, **measures, "f1_before": before, "f1_chosen": after},
    ).save(args.choose)
    told = " -> ".join("-" if value is None else f"{value:.1%}" for value in (before, after))
    show(f"F1 of {args.choose_by}, mean of classes, {told} on {count(len(lines), 'recording')} (these flatter)")
    show(f"wrote {args.choose}: judge it on other recordings, with --timeline-options {args.choose}")
    return 0


def _warn_of_few(lines: Mapping[str, TimeLine], true: Mapping[str, Sequence[Segment]]) -> None:
    """Say of which classes there is too little to choose by."""
    counts = Counter(segment.label for segments in true.values() for segment in segments)
    classes = sorted({name for line in lines.values() for name in line.classes if name not in line.options.leave_out})
    few = ", ".join(f"{name!r} ({counts[name]})" for name in classes if 0 < counts[name] < _FEW_EVENTS)
    if few:
        warnings.warn(
            f"fewer than {_FEW_EVENTS} true events of {few}: what is chosen may fit these recordings alone. Choose on "
            "more recordings, and see on others whether it helps",
            EmbedxWarning,
            stacklevel=2,
        )
    none = ", ".join(repr(name) for name in classes if not counts[name])
    if none:
        warnings.warn(
            f"no true event of {none}: these classes keep the options that they had, and may be found where nothing is",
            EmbedxWarning,
            stacklevel=2,
        )


def _listen(args: argparse.Namespace) -> tuple[dict[str, TimeLine], int, RecordingReader]:
    """Make the time lines of the recordings."""
    from embedx.cli.argument_types import is_store
    from embedx.cli.clips_to_label import read_clips
    from embedx.cli.predict_timeline import read_all
    from embedx.model import Model
    from embedx.model.recording_reader import RecordingReader
    from embedx.recipe import Resources

    if len(args.inputs) < 2:
        raise ParameterError("name a model and recordings, or give --timeline FILE with what was found")
    place, *clips = args.inputs
    if any(map(is_store, clips)):
        raise ParameterError("a time line needs audio, not a store")
    model = Model.load(place, trusted=args.trust)
    chosen = read_clips(clips, model, named_columns(args, "path"))
    sources = tuple(chosen.all_sources())
    _require_whole(sources)
    _warn_of_unknown(args.truth, model.classes)
    resources = Resources(device=args.device, batch_seconds=args.batch_seconds, workers=args.workers)
    if args.timeline_options is not None:
        _require_others(args.timeline_options, [chosen.full_path(source) for source in sources])
    lines: dict[str, TimeLine] = {}
    with RecordingReader(model, **reader_options(args, model), resources=resources) as reader:
        n_failed = read_all(
            reader,
            sources,
            chosen.full_path,
            lambda source, line: lines.__setitem__(source.uri, line),
        )
    return lines, n_failed, reader


def _require_others(place: str, paths: Sequence[str]) -> None:
    """Refuse to judge options on what they were chosen on."""
    from embedx.files import hash_file
    from embedx.timeline import OptionsFile

    known = set(OptionsFile.read(place).chosen_on)
    same = next((path for path in paths if os.path.isfile(path) and hash_file(path).hex() in known), None)
    if same is not None:
        raise ParameterError(f"the options of {place} were chosen on {same}: judge them on other recordings")


def _require_whole(sources: Iterable[Any]) -> None:
    piece = next((s for s in sources if s.start_seconds or s.stop_seconds is not None), None)
    if piece is not None:
        raise ManifestError(f"{piece.id} is a piece of a recording: whole recordings are judged")


def _warn_of_unknown(places: Sequence[str], classes: Sequence[str]) -> None:
    unknown = sorted({named.segment.label for _, named in _read(places)} - set(classes))
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        warnings.warn(
            f"the model does not know {', '.join(unknown[:5])}{more}: events of these classes count as missed",
            EmbedxWarning,
            stacklevel=2,
        )


_COLUMNS = ("f1", "precision", "recall", "error_rate", "n_true", "n_found", "n_right")


def _lines(scores: dict[str, Any]) -> Iterable[str]:
    """Yield both tables."""
    segments, events = scores["segments"], scores["events"]
    share = events["offset_share"]
    offsets = "onsets only" if share is None else f"offsets within it or {share:.0%} of the event"
    yield from _table(f"segments of {segments['resolution']:g} s", segments)
    yield ""
    yield from _table(f"events, collar {events['collar']:g} s, {offsets}", events)


def _table(title: str, of: dict[str, Any]) -> Iterable[str]:
    rows: list[tuple[str, ...]] = [("", "F1, %", "precision", "recall", "error rate", "true", "found", "right")]
    rows += [(name, *_cells(values)) for name, values in of["by_class"].items()]
    rows += [("mean of classes", *_cells(of["class_mean"])), ("all together", *_cells(of["overall"]))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    yield f"{title}:"
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{row[0].ljust(len(first))}  {'  '.join(others)}"


def _cells(values: dict[str, Any]) -> list[str]:
    return [_cell(name, values.get(name, "")) for name in _COLUMNS]


def _cell(name: str, value: Any) -> str:
    if value is None or value == "":
        return "" if value == "" else "-"
    if name.startswith("n_"):
        return f"{value:,}"
    return f"{value:.2f}" if name == "error_rate" else f"{value:.1%}".rstrip("%")
