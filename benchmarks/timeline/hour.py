"""An hour with known onsets: how well the time line of a model that never heard its sources finds what is in it.

    python -m benchmarks.timeline.hour FSDD.csv [--minutes 60]

Two recordings of half the time each: clips of the bundled sample (folds 4 and 5) and of FSDD (a speaker of three), in
random order, each up to 6 dB louder or quieter, with pauses between them. Under both lies pink noise, 30 to 50 dB
below full scale. The models (logreg) learn from the other folds and speakers and from a class "background" of such
noise, made with other seeds. Judged are the naive way (one window after the other, each with its most probable label)
and the time line with windows alone and in one pass. Writes benchmarks/results/timeline_hour.json; ten minutes on two
quiet cores.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import embedx
from benchmarks.tools.record import measure, table, write_result
from embedx.audio.decode import decode
from embedx.dataset import build_dataset
from embedx.extract.job import embed
from embedx.manifest import Manifest, Source, read_manifest
from embedx.model import Model, fit_model
from embedx.model.recording_reader import RecordingReader
from embedx.recipe import Resources
from embedx.testing import write_wav
from embedx.timeline import Segment, SegmentOptions, TimeLine, score_events, score_segments
from embedx.timeline.segments import window_cells

RATE = 16_000
OPTIONS = {"defaults": SegmentOptions(leave_out=("background",))}
SHOWN = 40.0
"""Seconds of each recording that are kept for the figure."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is learned from, what the recording is made of, and its pauses in seconds."""

    name: str
    manifest: Manifest
    training: Sequence[Source]
    test: Sequence[Source]
    pauses: tuple[float, float]
    background_seconds: float


def main() -> None:
    """Make both recordings, listen, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fsdd")
    parser.add_argument("--minutes", type=float, default=60.0)
    args = parser.parse_args()
    rows, measures, shown = [], {}, {}
    for part in _parts(args.fsdd):
        found = _judge(part, args.minutes * 30)
        shown[part.name] = found.pop("shown")
        for way, scores in found.items():
            rows.append([part.name, way, *scores["cells"]])
            name = f"{part.name} {way}"
            measures[f"{name} segment F1"] = measure([scores["segment_f1"]], better="higher", unit="F1")
            measures[f"{name} event F1"] = measure([scores["event_f1"]], better="higher", unit="F1")
            print(rows[-1], flush=True)
    columns = [
        "recording",
        "way",
        "segment F1",
        "segment error rate",
        "event F1, 0.2 s",
        "event F1, 0.5 s",
        "events",
        "x",
    ]
    note = (
        f"{args.minutes:g} minutes in all; encoder tiny, head logreg. Segments of 1 s; an event's offset may be off by "
        "the collar or by half its length (sed_eval's definitions). Events: found, of true ones. x: times real time, "
        "on a machine that does other work, too."
    )
    write_result("timeline_hour", tables={"scores": table(columns, rows, note=note)}, measures=measures, shown=shown)


def _parts(fsdd: str) -> Iterator[Part]:
    sample = read_manifest(Path(embedx.__file__).parent / "assets/sample/clips.csv")
    yield Part(
        "sample",
        sample,
        [s for s in sample if s.split not in ("4", "5")],
        [s for s in sample if s.split in ("4", "5")],
        (0.5, 4.0),
        5.0,
    )
    spoken = read_manifest(fsdd, group_column="speaker")
    others = [s for s in spoken if s.group != "george"]
    yield Part("fsdd", spoken, others[::5], [s for s in spoken if s.group == "george"], (0.3, 2.0), 0.5)


def _noise(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Return pink noise, 30 to 50 dB below full scale."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    noise = np.fft.irfft(spectrum, n)
    level = 10 ** (rng.uniform(-50, -30) / 20)
    return (noise / np.sqrt(np.mean(noise**2)) * level).astype(np.float32)


def _model(part: Part, folder: Path) -> Model:
    """Train on the other groups and on a class of noise."""
    rng = np.random.default_rng(1)
    sources = [replace(s, uri=str(part.manifest.path_of(s)), group=s.group or s.split) for s in part.training]
    for i in range(40):
        path = folder / f"{part.name}-background-{i}.wav"
        write_wav(str(path), _noise(rng, round(part.background_seconds * RATE)))
        sources.append(Source(str(path), label="background", group=f"noise {i}"))
    results, recipe = embed(Manifest(tuple(sources), Path("/")), encoder="tiny")
    return fit_model(build_dataset(results, recipe=recipe, root=Path("/")), "logreg")


def _recording(part: Part, seconds: float, path: Path) -> list[Segment]:
    """Write a recording and return what is in it."""
    rng = np.random.default_rng(0)
    samples = np.concatenate([_noise(rng, 60 * RATE) for _ in range(round(seconds / 60 + 0.5))])[
        : round(seconds * RATE)
    ]
    truth, now = [], rng.uniform(*part.pauses)
    order = iter(())
    while True:
        source = next(order, None)
        if source is None:
            order = iter([part.test[i] for i in rng.permutation(len(part.test))])
            continue
        clip = decode(part.manifest.path_of(source)) * 10 ** (rng.uniform(-6, 6) / 20)
        end = now + len(clip) / RATE
        if end > seconds:
            break
        first = round(now * RATE)
        samples[first : first + len(clip)] += clip[: len(samples) - first]
        truth.append(Segment(round(now, 6), round(end, 6), str(source.label)))
        now = end + rng.uniform(*part.pauses)
    write_wav(str(path), samples / max(1.0, float(np.abs(samples).max())))
    return truth


def _judge(part: Part, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, path = _model(part, folder), folder / f"{part.name}.wav"
        truth = _recording(part, seconds, path)
        found: dict[str, Any] = {}
        for way, one_pass in (("windows alone", False), ("one pass", True)):
            options = {"one_pass": one_pass, "options": OPTIONS["defaults"], "resources": Resources(workers=0)}
            with RecordingReader(model, **options) as reader:
                started = time.perf_counter()
                line = reader.read(str(path))
                speed = seconds / (time.perf_counter() - started)
                window = reader.window_seconds
            if not one_pass:
                found["naive"] = _scores(truth, _naive(line, window), 4 * speed)
                found["shown"] = _shown(line, truth)
            found[way] = _scores(truth, line.segments, speed)
            smooth = replace(line.options, smooth_seconds=window)
            found[f"{way}, smoothed"] = _scores(truth, line.with_options(smooth).segments, speed)
            strict = replace(smooth, min_seconds=window / 2, merge_seconds=window / 2)
            found[f"{way}, smoothed, merged, half a window at least"] = _scores(
                truth, line.with_options(strict).segments, speed
            )
        return found


def _naive(line: TimeLine, window: float) -> list[Segment]:
    """Return one window after the other, each with its most probable label; neighbours of one label are one event."""
    found: list[Segment] = []
    end = 0.0
    for start, stop, label in zip(line.start_seconds, line.end_seconds, line.labels, strict=True):
        if start < end - 1e-6:
            continue
        end = stop
        if label == "background":
            continue
        if found and found[-1].label == label and abs(found[-1].offset_seconds - start) < 1e-6:
            found[-1] = replace(found[-1], offset_seconds=float(stop))
        else:
            found.append(Segment(float(start), float(stop), label))
    return found


def _scores(truth: Sequence[Segment], found: Sequence[Segment], speed: float) -> dict[str, Any]:
    pair = [(truth, found)]
    segments = score_segments(pair)["overall"]
    near, far = (score_events(pair, collar=collar)["overall"] for collar in (0.2, 0.5))
    cells = [f"{segments['f1'] or 0:.1%}", f"{segments['error_rate']:.2f}"]
    cells += [f"{near['f1'] or 0:.1%}", f"{far['f1'] or 0:.1%}", f"{len(found)} of {len(truth)}", f"{speed:.0f}"]
    return {"cells": cells, "segment_f1": segments["f1"] or 0.0, "event_f1": near["f1"] or 0.0}


def _shown(line: TimeLine, truth: Sequence[Segment]) -> dict[str, Any]:
    """Return the first seconds: probabilities where each window speaks, what is true and what was found."""
    left, right = window_cells(line.start_seconds, line.end_seconds)
    kept = left < SHOWN
    return {
        "seconds": SHOWN,
        "classes": list(line.classes),
        "middles": ((left + right) / 2)[kept].round(4).tolist(),
        "probabilities": line.proba[kept].round(4).tolist(),
        "truth": [[s.onset_seconds, s.offset_seconds, s.label] for s in truth if s.onset_seconds < SHOWN],
        "found": [[s.onset_seconds, s.offset_seconds, s.label] for s in line.segments if s.onset_seconds < SHOWN],
    }


if __name__ == "__main__":
    main()
