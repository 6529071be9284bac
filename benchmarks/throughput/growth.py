"""More clips: does decoding stay hidden behind the encoder, and does an hour cost sixty times a minute?"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.throughput.material import SEED, cpu_seconds, make_clips
from benchmarks.throughput.methods import embedx_methods
from embedx.extract.planning import RecipePlan
from embedx.extract.unit_runner import UnitRunner, plan_units
from embedx.manifest import Manifest
from embedx.recipe import Resources


def hidden(encoder: str, folder: Path, audio: Path, rounds: int) -> list[dict[str, Any]]:
    """How far decoding, pooling and handing over hide behind the encoder: both in turns, over more and more clips."""
    paths = make_clips(folder / "hidden", audio, np.random.default_rng(SEED + 2).uniform(1, 15, 96))
    methods = embedx_methods(encoder, paths)
    whole, alone = methods["embedx_bf16"], methods["embedx_bf16_encoder_only"]
    rows = []
    for n_clips in (12, 48, 96):
        some = paths[:n_clips]
        seconds: dict[str, list[float]] = {"whole": [], "alone": []}
        for number in range(rounds + 1):
            for name, run in (("whole", whole), ("alone", alone)):
                start = time.perf_counter()
                run(some)
                if number:  # the first one warms
                    seconds[name].append(round(time.perf_counter() - start, 3))
        duration = sum(soundfile.info(path).duration for path in some)
        rows.append(
            {
                "n_clips": n_clips,
                "audio_seconds": round(duration, 1),
                "seconds": seconds["whole"],
                "seconds_encoder_only": seconds["alone"],
                "x_real_time": round(duration / min(seconds["whole"]), 1),
                "x_real_time_encoder_only": round(duration / min(seconds["alone"]), 1),
                "over_encoder_only": round(median_ratio(seconds["whole"], seconds["alone"]), 3),
            }
        )
    return rows


def median_ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


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
                wall, cpu = time.perf_counter(), cpu_seconds()
                for unit in units:
                    runner(unit)
                seconds = float(lengths.sum()) * times
                rows.append(
                    {
                        "threads": threads,
                        "n_clips": 6 * times,
                        "audio_seconds": round(seconds, 1),
                        "x_real_time": round(seconds / (time.perf_counter() - wall), 1),
                        "cpu_seconds_per_audio_second": round((cpu_seconds() - cpu) / seconds, 4),
                    }
                )
    return rows
