"""How fast is extraction? transformers' usual ways and embedx side by side, on wav2vec2-base's architecture.

Random weights (speed does not depend on them), real files, every method in turn and several rounds, so that
a machine that others use slows all of them alike: read the ratios, not the seconds.

    python -m benchmarks.throughput.cpu --audio FOLDER [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.throughput.flops import gflop, peak_gflops
from benchmarks.throughput.growth import growth, hidden, median_ratio
from benchmarks.throughput.material import RATE, SEED, cpu_seconds, make_clips, make_encoder
from benchmarks.throughput.memory import memory_by_length
from benchmarks.throughput.methods import PRECISION, make_methods
from benchmarks.throughput.where import where_the_time_goes
from benchmarks.tools.record import measure, table, write_result
from embedx.encoders.resolve import load_encoder, resolve_encoder


def main() -> None:
    """Run everything and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audio", required=True, help="folder with real recordings")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--only", default="", help="parts to measure, separated by commas (default: all)")
    args = parser.parse_args()
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
        "decoding_hidden": lambda: hidden(encoder, folder, audio, rounds),
        "where_the_time_goes": lambda: where_the_time_goes(encoder, mix),
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
            row["share_of_peak"],
        ]
        for name, row in mix.items()
        if isinstance(row, dict)
    ]
    grown = [
        [row["threads"], row["n_clips"], row["x_real_time"], row["cpu_seconds_per_audio_second"]]
        for row in details.get("growth_with_clips", ())
    ]
    lengths = [
        [row["seconds"], *(row["bfloat16"][key] for key in ("embedx_share_of_peak", "plain_call_share_of_peak"))]
        for row in details.get("encoder_by_length_one_thread", ())
    ]
    memory = [
        [row["clip_seconds"], row["n_clips"], row["x_real_time"], row["peak_mb_beyond_a_loaded_encoder"]]
        for row in details.get("growth_with_length", ())
    ]
    shared = "The machine was shared with other work: ratios within one run mean something, seconds do not."
    return {
        "methods": table(
            [
                "method",
                "x real time",
                "times the fp32 loop",
                "times the padded fp32 batch",
                "times the loop, CPU time",
                "share of the peak",
            ],
            methods,
            note=f"wav2vec2-base, random weights, {mix['n_clips']} clips of 1 to 15 s; peak: matrix products of the "
            f"method's precision, by CPU time. {_said_of_missing(mix)}{shared}",
        ),
        "hidden": table(
            ["clips", "x real time, end to end", "encoder alone", "time end to end over encoder alone"],
            [
                [row[key] for key in ("n_clips", "x_real_time", "x_real_time_encoder_only", "over_encoder_only")]
                for row in details.get("decoding_hidden", ())
            ],
            note="bf16, clips of 1 to 15 s in turns; the last column is the median of the rounds' ratios.",
        ),
        "growth": table(
            ["threads", "clips", "x real time", "CPU seconds a second of audio"],
            grown,
            note="End to end, clips of 1 to 15 s, the encoder loaded.",
        ),
        "lengths": table(
            ["clip, seconds", "embedx, share of the bf16 peak", "plain bf16 call"],
            lengths,
            note="Encoder alone, one thread, its CPU time against a 2048 x 2048 bf16 product's.",
        ),
        "memory": table(
            ["clip, seconds", "clips", "x real time", "peak MB beyond a loaded encoder"],
            memory,
            note="Windows of 10 s.",
        ),
    }


def _said_of_missing(mix: dict[str, Any]) -> str:
    why = mix.get("pipeline_fp32")
    return f'transformers\' pipeline("feature-extraction") {why.partition(":")[0]}. ' if isinstance(why, str) else ""


def compare_methods(encoder: str, paths: list[Path], rounds: int) -> dict[str, Any]:
    """Time every method once a round, in turn."""
    methods, notes = make_methods(encoder, paths)
    for run in methods.values():
        run(paths[:2])  # warm
    walls: dict[str, list[float]] = {name: [] for name in methods}
    cpus: dict[str, list[float]] = {name: [] for name in methods}
    peaks: dict[str, list[float]] = {dtype: [] for dtype in ("float32", "bfloat16")}
    for _ in range(rounds):
        for dtype, found in peaks.items():
            found.append(peak_gflops(getattr(torch, dtype)))
        for name, run in methods.items():
            wall, cpu = time.perf_counter(), cpu_seconds()
            run(paths)
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(cpu_seconds() - cpu)
    durations = [soundfile.info(path).duration for path in paths]
    work = sum(map(gflop, durations))
    rows = {}
    for name in methods:
        peak = max(peaks[PRECISION.get(name, "float32")])
        rows[name] = {
            "seconds": [round(value, 2) for value in walls[name]],
            "cpu_seconds": [round(value, 2) for value in cpus[name]],
            "x_real_time_best": round(sum(durations) / min(walls[name]), 1),
            "times_loop_fp32": round(median_ratio(walls["loop_fp32"], walls[name]), 2),
            "times_loop_fp32_by_cpu_time": round(min(cpus["loop_fp32"]) / min(cpus[name]), 2),
            "times_padded_batch_fp32": round(median_ratio(walls["padded_batch_fp32"], walls[name]), 2),
            "share_of_peak": round(work / min(cpus[name]) / peak, 3),
        }
    whole, alone = "embedx_bf16", "embedx_bf16_encoder_only"
    return {
        "n_clips": len(paths),
        "audio_seconds": round(sum(durations), 1),
        "threads": torch.get_num_threads(),
        "end_to_end_over_encoder_only": round(median_ratio(walls[whole], walls[alone]), 3),
        "end_to_end_over_encoder_only_by_cpu_time": round(min(cpus[whole]) / min(cpus[alone]), 3),
        **rows,
        **notes,
    }


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


if __name__ == "__main__":
    main()
