"""What a call of `Model.predict_proba` costs once the encoder is loaded, and how many files are worth processes.

Three questions: how long a call on one short clip takes (bundled encoder), how much longer it takes than transformers'
own forward (wav2vec2-base's architecture, random weights; both take turns), and from how many files on processes of
their own are faster. Seconds on a machine that does other work are those of the machine; processor seconds are of
this process alone.

    python -m benchmarks.throughput.warm_predict [--rounds N] [--small]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.throughput.material import RATE, make_encoder
from benchmarks.tools.record import measure, table, write_result
from embedx import AudioEmbedder, Model, fit_model
from embedx.encoders.resolve import resolve_encoder
from embedx.testing import make_tone, write_wav

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
FIRST = """
import sys, time
started = time.perf_counter()
from embedx import Model
Model.load(sys.argv[1]).predict_proba([sys.argv[2]], in_process=sys.argv[3] == "here")
print(time.perf_counter() - started)
"""


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--small", action="store_true", help="layers of a few numbers: whether it runs, not how fast")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(place)
        (folder / "base").mkdir()
        base = make_encoder(folder / "base", **(SMALL if args.small else {}))
        found = {
            "short_clip": short_clip(folder, args.rounds, 1 if args.small else 3),
            "forward": beside_transformers(base, args.rounds),
            "files": beside_processes(folder, max(1, args.rounds // 5), (1, 4) if args.small else (1, 4, 16, 32)),
        }
    tables = {"calls": draw_calls(found, args), "files": draw_files(found["files"])}
    measures = {
        name: measure(values, better="lower", unit="s")
        for name, values in found["short_clip"].items()
        if "call" in name
    }
    print(f"written: {write_result('warm_predict', tables=tables, measures=measures, details=found)}")


def train(encoder: str) -> Model:
    """Fit a head on a few tones."""
    tones = [make_tone(200.0 + 400 * (i % 2), seconds=0.5, seed=i) for i in range(6)]
    embedded = AudioEmbedder(encoder, sampling_rate=RATE, device="cpu").embed(tones)
    return fit_model(embedded.relabel(list("ababab")), "logreg")


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return seconds and processor seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def short_clip(folder: Path, rounds: int, n_first: int) -> dict[str, Any]:
    """Time one clip of a second with the bundled encoder: the first call of a process, and later ones."""
    model, samples = train("tiny"), make_tone(440.0)
    write_wav(str(folder / "clip.wav"), samples)
    place, clip = str(model.save(folder / "model")), str(folder / "clip.wav")
    first = {way: [first_call(place, clip, way) for _ in range(n_first)] for way in ("here", "processes")}
    calls: dict[str, list[float]] = {"array, later call": [], "path, later call": []}
    ways = {
        "array, later call": lambda: model.predict_proba((samples, RATE)),
        "path, later call": lambda: model.predict([clip]),
    }
    for way, call in ways.items():
        call()
        calls[way] = [timed(call)[0] for _ in range(rounds)]
    processor = [timed(ways["array, later call"])[1] for _ in range(rounds)]
    names = {"here": "path, first call, in this process", "processes": "path, first call, in a process of its own"}
    return {**calls, **{names[way]: values for way, values in first.items()}, "array, processor seconds": processor}


def first_call(model: str, clip: str, way: str) -> float:
    """Return the seconds from the import of embedx to the first answer, in a new process."""
    words = [sys.executable, "-c", FIRST, model, clip, way]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def beside_transformers(encoder: str, rounds: int) -> list[dict[str, Any]]:
    """Time a call beside transformers' own forward of the same samples, in turns, with one thread and with all."""
    from transformers import AutoFeatureExtractor, AutoModel

    extractor, network = AutoFeatureExtractor.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()
    model, every, rows = train(encoder), torch.get_num_threads(), []

    @torch.inference_mode()
    def forward(samples: Any) -> None:
        values = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_values
        network(values, output_hidden_states=True)

    for threads in sorted({1, every}):
        torch.set_num_threads(threads)
        for seconds in (1, 5):
            samples = np.random.default_rng(0).normal(0, 0.1, seconds * RATE).astype(np.float32)
            ways = {
                "transformers": lambda s=samples: forward(s),
                "embedx": lambda s=samples: model.predict_proba((s, RATE)),
            }
            spent: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for _ in range(rounds + 1):
                for way, call in ways.items():
                    spent[way].append(timed(call))
            facts = {way: {"seconds": [a for a, _ in v[1:]], "cpu": [b for _, b in v[1:]]} for way, v in spent.items()}
            rows.append(
                {"threads": threads, "clip_seconds": seconds, "layers": resolve_encoder(encoder).n_layers, **facts}
            )
    torch.set_num_threads(every)
    return rows


def beside_processes(folder: Path, rounds: int, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Time files in this process and in one of their own, later calls, clips of 5 s."""
    model, paths, rows = train("tiny"), [], []
    for i in range(max(counts)):
        paths.append(str(folder / f"{i}.wav"))
        write_wav(paths[-1], make_tone(440.0, seconds=5.0, seed=i))
    for n in counts:
        seconds: dict[str, list[float]] = {"here": [], "processes": []}
        for way in seconds:
            model.predict_proba(paths[:1], in_process=way == "here")
        for _ in range(rounds):
            for way, values in seconds.items():
                values.append(timed(lambda n=n, way=way: model.predict_proba(paths[:n], in_process=way == "here"))[0])
        rows.append({"files": n, **seconds})
    return rows


def draw_calls(found: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return the table of single calls."""
    rows = [
        [name, f"{1000 * min(v):.0f}", f"{1000 * statistics.median(v):.0f}", ""]
        for name, v in found["short_clip"].items()
    ]
    for row in found["forward"]:
        what = f"wav2vec2-base, {row['clip_seconds']} s, {row['threads']} thread{'s' * (row['threads'] > 1)}"
        for way in ("transformers", "embedx"):
            values, cpu = row[way]["seconds"], row[way]["cpu"]
            told = f"{1000 * statistics.median(cpu):.0f}"
            rows.append(
                [f"{what}: {way}", f"{1000 * min(values):.0f}", f"{1000 * statistics.median(values):.0f}", told]
            )
    note = f"One clip a call, {args.rounds} calls; first two rows and the four below: bundled encoder, a clip of 1 s."
    note += " Layers of a few numbers: no figures of speed." if args.small else ""
    return table(["call", "fastest, ms", "median, ms", "processor, ms"], rows, note=note)


def draw_files(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the table of several files a call."""
    drawn = [[row["files"], *(f"{statistics.median(row[way]):.2f}" for way in ("here", "processes"))] for row in rows]
    note = "Bundled encoder, files of 5 s, seconds of a later call (median)."
    return table(["files", "in this process, s", "in a process of its own, s"], drawn, note=note)


if __name__ == "__main__":
    main()
