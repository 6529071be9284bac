"""Speed and peak memory by the length of a clip, each in a process of its own.

python -m benchmarks.throughput.memory FOLDER ENCODER     # one folder; prints one JSON object
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.throughput.material import RATE, below, make_clips
from embedx.extract.planning import RecipePlan
from embedx.extract.unit_runner import UnitRunner, plan_units
from embedx.manifest import Manifest
from embedx.recipe import Resources


def memory_by_length(encoder: str, folder: Path, audio: Path) -> list[dict[str, Any]]:
    """5 s, 30 s and 10 min clips in processes of their own: speed, and memory beyond the loaded encoder."""
    rows = []
    for seconds, n_clips in ((5, 12), (30, 4), (600, 1)):
        place = folder / f"length-{seconds}"
        make_clips(place, audio, [float(seconds)] * n_clips)
        command = [sys.executable, "-m", "benchmarks.throughput.memory", str(place), encoder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
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
        decoders = sum(_status_mb("VmHWM", pid) for pid in below(os.getpid()))
    seconds = sum(soundfile.info(path).duration for path in paths)
    return {
        "loaded_encoder_mb": before,
        "peak_mb_beyond_a_loaded_encoder": _status_mb("VmHWM") - before,
        "decoders_mb": decoders,
        "x_real_time": round(seconds / wall, 1),
    }


def _status_mb(name: str, pid: int | str = "self") -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith(name))


if __name__ == "__main__":
    print(json.dumps(_memory(Path(sys.argv[1]), sys.argv[2])))
