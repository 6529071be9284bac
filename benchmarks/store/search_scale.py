"""What an exact search costs: the command on a store, and one query of rows that are held, in seconds and memory.

    python -m benchmarks.store.search_scale FOLDER [--clips 100000,1000000] [--stores 100000] [--dim 768]

Writes benchmarks/results/search_scale.json, anew after each size. Rows are made up and float32, as a search holds them.
Of the sizes in --stores a store is made too (one layer, float16), asked by `search_store`, and removed. Two threads.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.store.scale import fill, peak_mb, timed_on_cpu
from benchmarks.tools.record import measure, table, write_result

N_QUERIES = 3
NOTE = (
    "Exact, standardized cosine, 1 layer of 768 columns. Command: a process of its own reads the store and asks once. "
    "Held: what a service does, once to standardize, then for each query (the least of 3); memory of this process. "
    "Seconds of the processor: the machine had much other work (load_one_minute in the JSON), wall times are in the "
    "JSON. '-': no store of this size was made."
)


def query_store(store: Path) -> dict[str, Any]:
    """Search as the command does."""
    from embedx import search_store

    wall, cpu = timed_on_cpu(lambda: search_store(store, "class00/clip0000000.wav", k=10))
    return {"wall_seconds": wall, "cpu_seconds": cpu, "peak_mb": peak_mb()}


def query_rows(n: int, dim: int) -> dict[str, Any]:
    """Search rows in memory as the service does."""
    import numpy as np

    from embedx.search.similarity import Similarity

    block = np.random.default_rng(0).standard_normal((10_000, dim), dtype=np.float32)
    values = np.empty((n, dim), np.float32)
    for start in range(0, n, len(block)):
        values[start : start + len(block)] = block[: n - start]
    made: list[Similarity] = []
    open_wall, open_cpu = timed_on_cpu(lambda: made.append(Similarity.of(values, standardized=True)))
    (similarity,) = made
    direction = similarity.direction(values[:1])
    asked = [timed_on_cpu(lambda: np.argsort(-similarity.to(direction, values))[:10]) for _ in range(N_QUERIES)]
    facts: dict[str, Any] = {"open_wall_seconds": open_wall, "open_cpu_seconds": open_cpu, "peak_mb": peak_mb()}
    return facts | {"query_wall_seconds": [w for w, _ in asked], "query_cpu_seconds": [c for _, c in asked]}


def apart(step: str, store: Path, n: int, dim: int) -> dict[str, Any]:
    """Run a step in a process of its own, with two threads."""
    words = [sys.executable, "-m", "benchmarks.store.search_scale", str(store), "--step", step]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    done = subprocess.run(
        [*words, "--clips", str(n), "--dim", str(dim)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **threads},
    )
    return dict(json.loads(done.stdout))


def run(folder: Path, n: int, dim: int, *, with_store: bool) -> dict[str, Any]:
    """Ask rows of one size and, if told, a store of it, which is made and removed."""
    found: dict[str, Any] = {"clips": n, "dim": dim, "held": apart("rows", folder, n, dim)}
    if with_store:
        place = folder / "embedx-search-benchmark"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            apart("fill", place / "emb.h5", n, dim)
            found["command"] = apart("query", place / "emb.h5", n, dim)
            found["file_mb"] = (place / "emb.h5").stat().st_size / 1e6
        finally:
            shutil.rmtree(place)
    return found


def as_table(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what docs/how-to/search.md shows."""
    columns = ["clips", "command, s", "command, MB", "held: standardize, s", "held: a query, s", "held, MB"]
    rows = []
    for one in runs:
        held, command = one["held"], one.get("command")
        cells = ["-", "-"] if command is None else [f"{command['cpu_seconds']:.1f}", f"{command['peak_mb']:.0f}"]
        seconds = [f"{held['open_cpu_seconds']:.1f}", f"{min(held['query_cpu_seconds']):.1f}"]
        rows.append([f"{one['clips']:,}", *cells, *seconds, f"{held['peak_mb']:.0f}"])
    return table(columns, rows, note=NOTE)


def main() -> None:
    """Measure each size and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", default="100000,1000000")
    parser.add_argument("--stores", default="100000")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--step", choices=("fill", "query", "rows"))
    args = parser.parse_args()
    sizes = [int(n) for n in args.clips.split(",")]
    steps: dict[str, Callable[[], Any]] = {
        "fill": lambda: fill(args.folder, sizes[0], 1, args.dim, False),
        "query": lambda: query_store(args.folder),
        "rows": lambda: query_rows(sizes[0], args.dim),
    }
    if args.step:
        print(json.dumps(steps[args.step]()))
        return
    runs: list[dict[str, Any]] = []
    for n in sizes:
        runs.append(run(args.folder, n, args.dim, with_store=str(n) in args.stores.split(",")))
        measures = {
            f"{one['clips']} clips: a query": measure(one["held"]["query_cpu_seconds"], better="lower", unit="s")
            for one in runs
        }
        write_result("search_scale", tables={"cost": as_table(runs)}, measures=measures, runs=runs)


if __name__ == "__main__":
    main()
