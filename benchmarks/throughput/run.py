"""How fast is extraction? transformers' usual ways and embedx side by side, on wav2vec2-base's architecture.

Random weights (speed does not depend on them), real files, every method in turn and several rounds, so that
a machine that others use slows all of them alike: read the ratios, not the seconds.

    python -m benchmarks.throughput.run --audio FOLDER [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.record import measure, table, write_result
from benchmarks.throughput.flops import gflop, peak_gflops
from embedx.audio.decode import decode
from embedx.encoders.catalog import load_encoder, resolve_encoder
from embedx.extract.compute import ClipEncoder, Window
from embedx.extract.planning import RecipePlan
from embedx.extract.unit import UnitRunner, plan_units
from embedx.manifest import Manifest
from embedx.recipe import Resources

SEED = 0
RATE = 16_000


def main() -> None:
    """Run everything and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audio", required=True, help="folder with real recordings")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--only", default="", help="parts to measure, separated by commas (default: all)")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--encoder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        print(json.dumps(_memory(Path(args.memory_of), args.encoder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        details = measure_all(Path(folder), Path(args.audio), args.clips, args.rounds, args.only)
    tables = {name: drawn for name, drawn in draw_tables(details).items() if drawn["rows"]}
    path = write_result("throughput-cpu", tables=tables, measures=measured(details), seed=SEED, details=details)
    print(f"written: {path}")


def measured(details: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds of every method and round, for comparing two runs."""
    methods = details.get("mix_of_1_to_15_s", {})
    rounds = {name: row["seconds"] for name, row in methods.items() if isinstance(row, dict)}
    return {f"{name}: seconds": measure(values, better="lower", unit="s") for name, values in rounds.items()}


def measure_all(folder: Path, audio: Path, n_clips: int, rounds: int, only: str = "") -> dict[str, Any]:
    """Measure all parts."""
    encoder = make_encoder(folder / "wav2vec2-base-random")
    mix = make_clips(folder / "mix", audio, np.random.default_rng(SEED).uniform(1, 15, n_clips))
    record: dict[str, Any] = {"load_average_at_the_start": os.getloadavg()}
    for name, part in {
        "mix_of_1_to_15_s": lambda: compare_methods(encoder, mix, rounds),
        "encoder_by_length_one_thread": lambda: by_length(encoder, rounds),
        "growth_with_clips": lambda: growth(encoder, folder, audio),
        "growth_with_length": lambda: memory_by_length(encoder, folder, audio),
    }.items():
        if only and name not in only.split(","):
            continue
        record[name] = part()
        print(name, json.dumps(record[name], indent=1), flush=True)
    record["load_average_at_the_end"] = os.getloadavg()
    return record


def draw_tables(details: dict[str, Any]) -> dict[str, Any]:
    """Make the tables that the README shows."""
    mix = details.get("mix_of_1_to_15_s", {"n_clips": 0})
    methods = [
        [
            name,
            row["x_real_time_best"],
            row["times_loop_fp32"],
            row["times_padded_batch_fp32"],
            row["times_loop_fp32_by_cpu_time"],
        ]
        for name, row in mix.items()
        if isinstance(row, dict)
    ]
    lengths = [
        [row["seconds"], *(row["bfloat16"][key] for key in ("embedx_share_of_peak", "plain_call_share_of_peak"))]
        for row in details.get("encoder_by_length_one_thread", ())
    ]
    memory = [
        [row["clip_seconds"], row["peak_mb_beyond_a_loaded_encoder"]] for row in details.get("growth_with_length", ())
    ]
    shared = "The machine was shared with other work: ratios within one run mean something, seconds do not."
    return {
        "methods": table(
            ["method", "x real time", "times the fp32 loop", "times the padded fp32 batch", "times the loop, CPU time"],
            methods,
            note=f"wav2vec2-base, random weights, {mix['n_clips']} clips of 1 to 15 s. {shared}",
        ),
        "lengths": table(
            ["clip, seconds", "embedx, share of the bf16 peak", "plain bf16 call"],
            lengths,
            note="Encoder alone, one thread, its CPU time against a 2048 x 2048 bf16 product's.",
        ),
        "memory": table(["clip, seconds", "peak MB beyond a loaded encoder"], memory, note="Windows of 10 s."),
    }


def make_encoder(folder: Path) -> str:
    """Write wav2vec2-base's architecture with random weights."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(SEED)
    Wav2Vec2Model(Wav2Vec2Config(mask_time_prob=0.0)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return str(folder)


def make_clips(folder: Path, audio: Path, seconds: Any) -> list[Path]:
    """Cut clips of given lengths from real recordings, joined where needed, 44.1 kHz FLAC."""
    folder.mkdir(parents=True)
    recordings = sorted(path for path in audio.rglob("*") if path.suffix in (".ogg", ".wav", ".flac", ".mp3"))
    paths, at = [], 0
    for i, length in enumerate(seconds):
        parts: list[Any] = []
        while sum(map(len, parts)) < length * 44_100:
            parts.append(decode(recordings[at % len(recordings)], sample_rate=44_100))
            at += 1
        paths.append(folder / f"{i:03}.flac")
        soundfile.write(paths[-1], np.concatenate(parts)[: round(length * 44_100)], 44_100)
    return paths


def compare_methods(encoder: str, paths: list[Path], rounds: int) -> dict[str, Any]:
    """Time every method once a round, in turn."""
    methods, notes = make_methods(encoder, paths)
    for run in methods.values():
        run(paths[:2])  # warm
    walls: dict[str, list[float]] = {name: [] for name in methods}
    cpus: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, run in methods.items():
            wall, cpu = time.perf_counter(), _cpu_seconds()
            run(paths)
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(_cpu_seconds() - cpu)
    audio_seconds = sum(soundfile.info(path).duration for path in paths)
    rows = {}
    for name in methods:
        to_loop = statistics.median(a / b for a, b in zip(walls["loop_fp32"], walls[name], strict=True))
        to_batch = statistics.median(a / b for a, b in zip(walls["padded_batch_fp32"], walls[name], strict=True))
        rows[name] = {
            "seconds": [round(value, 2) for value in walls[name]],
            "cpu_seconds": [round(value, 2) for value in cpus[name]],
            "x_real_time_best": round(audio_seconds / min(walls[name]), 1),
            "times_loop_fp32": round(to_loop, 2),
            "times_loop_fp32_by_cpu_time": round(min(cpus["loop_fp32"]) / min(cpus[name]), 2),
            "times_padded_batch_fp32": round(to_batch, 2),
        }
    return {
        "n_clips": len(paths),
        "audio_seconds": round(audio_seconds, 1),
        "threads": torch.get_num_threads(),
        **rows,
        **notes,
    }


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def make_methods(encoder: str, paths: list[Path]) -> tuple[dict[str, Callable[[list[Path]], object]], dict[str, str]]:
    """Return the methods by name, and what is to be said of those that cannot run."""
    from transformers import AutoFeatureExtractor, AutoModel, pipeline

    extractor, model = AutoFeatureExtractor.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()
    half = AutoModel.from_pretrained(encoder).eval().to(torch.bfloat16)

    def read(path: Path) -> Any:
        from torchaudio.functional import resample

        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return resample(torch.from_numpy(samples.mean(axis=1)), rate, RATE).numpy()

    @torch.inference_mode()
    def loop(files: list[Path], net: Any = model) -> None:
        for path in files:
            values = extractor(read(path), sampling_rate=RATE, return_tensors="pt").input_values
            states = net(values.to(net.dtype), output_hidden_states=True).hidden_states
            torch.stack([state[0].float().mean(0) for state in states])

    @torch.inference_mode()
    def padded(files: list[Path]) -> None:
        for start in range(0, len(files), 8):
            waves = [read(path) for path in files[start : start + 8]]
            inputs = extractor(waves, sampling_rate=RATE, return_tensors="pt", padding=True, return_attention_mask=True)
            states = model(**inputs, output_hidden_states=True).hidden_states
            [state.mean(1) for state in states]

    notes, methods = {}, {"loop_fp32": loop, "padded_batch_fp32": padded, "loop_bf16": lambda f: loop(f, half)}
    try:
        piped = pipeline("feature-extraction", model=model, feature_extractor=extractor)
        piped(read(paths[0]))
        methods["pipeline_fp32"] = lambda files: [piped(read(path)) for path in files]
    except Exception as error:
        notes["pipeline_fp32"] = f"does not take audio: {type(error).__name__}: {str(error).splitlines()[0][:150]}"
    return {**methods, **embedx_methods(encoder, paths)}, notes


def embedx_methods(encoder: str, paths: list[Path]) -> dict[str, Callable[[list[Path]], object]]:
    """embedx end to end, and its encoder alone on samples that lie decoded in memory; clips unwindowed."""
    methods: dict[str, Callable[[list[Path]], object]] = {}
    for dtype, short in (("bfloat16", "bf16"), ("float32", "fp32")):
        plan = RecipePlan({"window_seconds": 1000.0, "compute_dtype": dtype}, encoder=encoder)
        runner = UnitRunner(plan.recipe, plan.info, Resources(device="cpu"), paths[0].parent)
        methods[f"embedx_{short}"] = lambda files, runner=runner: [
            runner(unit) for unit in plan_units(Manifest.from_paths(files, root=files[0].parent))
        ]
    alone = ClipEncoder(plan.recipe.replace(compute_dtype="bfloat16"), plan.info, Resources(device="cpu"))
    decoded = {path: decode(path) for path in paths}
    methods["embedx_bf16_encoder_only"] = lambda files: list(
        alone.encode(Window(i, 0, decoded[path]) for i, path in enumerate(files))
    )
    return methods


def by_length(encoder: str, rounds: int) -> list[dict[str, Any]]:
    """One thread, its own CPU time: the share of the peak that a clip of each length reaches."""
    from transformers import AutoModel

    torch.set_num_threads(1)
    info = resolve_encoder(encoder)
    mine = {
        dtype: load_encoder(info, layers=tuple(range(info.n_layers)), compute_dtype=dtype)
        for dtype in ("float32", "bfloat16")
    }
    plain = {"float32": AutoModel.from_pretrained(encoder).eval()}
    plain["bfloat16"] = AutoModel.from_pretrained(encoder).eval().to(torch.bfloat16)
    rows = []
    for seconds in (2, 5, 10, 20, 30):
        wave = np.random.default_rng(SEED).normal(0, 0.1, seconds * RATE).astype(np.float32)
        row: dict[str, Any] = {"seconds": seconds, "gflop": round(gflop(seconds), 1)}
        for dtype in ("float32", "bfloat16"):
            values = torch.from_numpy(wave)[None].to(plain[dtype].dtype)
            with torch.inference_mode():
                own, peak, call = _best(
                    rounds,
                    lambda dtype=dtype, wave=wave: mine[dtype].encode([wave]),
                    lambda dtype=dtype: peak_gflops(getattr(torch, dtype)),
                    lambda dtype=dtype, values=values: plain[dtype](values, output_hidden_states=True),
                )
            row[dtype] = {
                "peak_gflops": round(peak),
                "embedx_share_of_peak": round(gflop(seconds) / own / peak, 3),
                "plain_call_share_of_peak": round(gflop(seconds) / call / peak, 3),
                "embedx_x_real_time": round(seconds / own, 1),
                "plain_call_x_real_time": round(seconds / call, 1),
            }
        rows.append(row)
    torch.set_num_threads(os.cpu_count() or 1)
    return rows


def _best(rounds: int, own: Callable[[], Any], peak: Callable[[], float], call: Callable[[], Any]) -> tuple[float, ...]:
    """Return the least CPU seconds of the two calls and the highest peak, measured in turn."""
    owns, peaks, calls = [], [], []
    own()
    call()
    for _ in range(rounds):
        peaks.append(peak())
        for run, times in ((own, owns), (call, calls)):
            start = time.thread_time()
            run()
            times.append(time.thread_time() - start)
    return min(owns), max(peaks), min(calls)


def growth(encoder: str, folder: Path, audio: Path) -> list[dict[str, Any]]:
    """1x, 4x, 16x the clips, with one and two lanes, end to end without the start."""
    rows = []
    lengths = np.random.default_rng(SEED + 1).uniform(1, 15, 6)
    paths = make_clips(folder / "growth", audio, np.tile(lengths, 16))
    plan = RecipePlan({"compute_dtype": "bfloat16"}, encoder=encoder)
    for threads in (1, 2):
        with UnitRunner(plan.recipe, plan.info, Resources(device="cpu", threads=threads), folder) as runner:
            runner(plan_units(Manifest.from_paths(paths[:2], root=folder))[0])
            for times in (1, 4, 16):
                units = plan_units(Manifest.from_paths(paths[: 6 * times], root=folder))
                wall, cpu = time.perf_counter(), _cpu_seconds()
                for unit in units:
                    runner(unit)
                seconds = float(lengths.sum()) * times
                rows.append(
                    {
                        "threads": threads,
                        "n_clips": 6 * times,
                        "audio_seconds": round(seconds, 1),
                        "x_real_time": round(seconds / (time.perf_counter() - wall), 1),
                        "cpu_seconds_per_audio_second": round((_cpu_seconds() - cpu) / seconds, 4),
                    }
                )
    return rows


def memory_by_length(encoder: str, folder: Path, audio: Path) -> list[dict[str, Any]]:
    """5 s, 30 s and 10 min clips in processes of their own: speed, and memory beyond the loaded encoder."""
    rows = []
    for seconds, n_clips in ((5, 12), (30, 4), (600, 1)):
        place = folder / f"length-{seconds}"
        make_clips(place, audio, [float(seconds)] * n_clips)
        command = [sys.executable, "-m", "benchmarks.throughput.run", "--audio", str(audio)]
        done = subprocess.run(
            [*command, "--memory-of", str(place), "--encoder", encoder], capture_output=True, text=True, check=True
        )
        rows.append({"clip_seconds": seconds, "n_clips": n_clips, **json.loads(done.stdout.splitlines()[-1])})
    return rows


def _memory(place: Path, encoder: str) -> dict[str, float]:
    """Embed a folder with a loaded encoder; the kernel's own high-water mark is reset before."""
    paths = sorted(place.iterdir())
    plan = RecipePlan({"compute_dtype": "bfloat16"}, encoder=encoder)
    short = place.parent / "short.flac"
    soundfile.write(short, np.zeros(RATE, np.float32), RATE)
    with UnitRunner(plan.recipe, plan.info, Resources(device="cpu"), place) as runner:
        runner(plan_units(Manifest.from_paths([short]))[0])  # imports, weights and kernels
        Path("/proc/self/clear_refs").write_text("5")
        before, wall = _status_mb("VmRSS"), time.perf_counter()
        for unit in plan_units(Manifest.from_paths(paths)):
            runner(unit)
        wall = time.perf_counter() - wall
    seconds = sum(soundfile.info(path).duration for path in paths)
    return {
        "loaded_encoder_mb": before,
        "peak_mb_beyond_a_loaded_encoder": _status_mb("VmHWM") - before,
        "x_real_time": round(seconds / wall, 1),
    }


def _status_mb(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith(name))


if __name__ == "__main__":
    main()
