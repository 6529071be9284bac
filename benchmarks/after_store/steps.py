"""Processor seconds and peak memory of fit, inspect and compare on made-up stores, beside the same by hand.

    python -m benchmarks.after_store.steps FOLDER [--clips 1000 10000 100000] [--layers 13] [--dim 768]

Writes benchmarks/results/after_store.json. The clips' audio does not exist; their classes lie apart as far as those of
real sounds do. Every step is a process of its own with one thread a numeric library; how its cost grows with the
clips is the slope of a line through logarithms.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tools.record import table, write_result
from embedx.manifest import Manifest, Source
from embedx.recipe import Recipe
from embedx.store.rows import Embedded, FileStamp
from embedx.store.store import EmbeddingStore

UNIT = 256
MEASURE = Path(__file__).resolve().parents[1] / "tools" / "measure_process.py"
NOTE = (
    "Processor seconds / peak memory of the process, in MB; four classes. By hand: the mean of the layers with plain "
    "h5py and the same classifier. Growth: the exponent of the processor seconds over all sizes."
)


def fill(store: Path, n: int, n_layers: int, dim: int) -> None:
    """Write a store of n clips, four classes, groups of four clips."""
    rng = np.random.default_rng(0)
    classes = rng.normal(size=(4, 1, dim)).astype(np.float32) * 0.1
    sources = [Source(f"{i:07}.wav", label=f"class{i % 4}", group=f"g{i // 16}") for i in range(n)]
    recipe = Recipe(encoder="random", revision="none", weights_sha256="0" * 64, layers=tuple(range(n_layers)))
    start, end = np.zeros(1), np.ones(1)
    with EmbeddingStore(store, recipe, root="/nowhere") as handle:
        handle.plan(Manifest(tuple(sources), Path("/nowhere")))
        for first in range(0, n, UNIT):
            unit = sources[first : first + UNIT]
            clip = rng.normal(size=(len(unit), 1, dim)).astype(np.float32)
            values = clip + 0.5 * rng.normal(size=(len(unit), n_layers, dim)).astype(np.float32)
            control = rng.normal(size=(len(unit), 1, 128)).astype(np.float32)
            handle.append(
                [
                    Embedded(s, FileStamp(i.to_bytes(32, "big"), 1, 1), (v + classes[i % 4])[None], c, start, end)
                    for i, (s, v, c) in enumerate(zip(unit, values, control, strict=True), start=first)
                ],
                environment={"by": "benchmark"},
            )
        handle.commit()
        handle.publish()


def steps_of(store: Path, folder: Path) -> dict[str, list[str]]:
    """Return the words of every step."""
    embedx = ["-m", "embedx"]
    fit = [*embedx, "fit", str(store), "--overwrite", "-o"]
    heads = ("logreg", "lgbm", "mlp", "knn")
    found = {f"fit {head}": [*fit, str(folder / head), "--head", head] for head in heads}
    for head in ("logreg", "lgbm"):
        found[f"by hand {head}"] = ["-m", "benchmarks.after_store.by_hand", str(store), head]
    found["predict"] = [*embedx, "predict", str(folder / "logreg"), str(store), "--csv", str(folder / "rows.csv")]
    found["inspect"] = [*embedx, "inspect", str(store), "--no-audio"]
    compare = [*embedx, "compare", str(store), "--heads", "logreg,lgbm,mlp", "--jobs", "2", "-o", str(folder / "out")]
    found["compare"] = compare
    return found


def run(words: Sequence[str], folder: Path, seconds: float) -> dict[str, Any]:
    """Run one step; what it cost, or why there is no number."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-S", str(MEASURE), str(report), str(os.getpid()), sys.executable, *words]
    with (folder / "log.txt").open("w") as log:
        try:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=seconds, check=True)
        except subprocess.TimeoutExpired:
            return {"status": f"ended after {seconds:g} s"}
    found = json.loads(report.read_text())
    return found if found["status"] == 0 else {"status": (folder / "log.txt").read_text()[-300:]}


def main() -> None:
    """Measure every step at every size, and write the result after each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--layers", type=int, default=13)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--steps", nargs="+", help="only steps that begin so")
    parser.add_argument("--compare-clips", type=int, default=1_000, help="larger stores are not compared on")
    parser.add_argument("--seconds", type=float, default=1800, help="for one step at most")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, Any]] = {}
    for n in args.clips:
        store = args.folder / f"{n}.h5"
        if not store.exists():
            fill(store, n, args.layers, args.dim)
        found[n] = {}
        for name, words in steps_of(store, args.folder).items():
            if args.steps and not name.startswith(tuple(args.steps)):
                continue
            if name == "compare" and n > args.compare_clips:
                continue
            found[n][name] = run(words, args.folder, args.seconds)
            print(n, name, found[n][name], flush=True)
        rows = [
            [name, *(_cell(of.get(name)) for of in found.values()), _growth(found, name)]
            for name in found[args.clips[0]]
        ]
        header = ["step", *(f"{n:,} clips" for n in found), "growth"]
        write_result(
            "after_store",
            tables={"steps": table(header, rows, note=NOTE)},
            settings={"layers": args.layers, "dim": args.dim},
            load=os.getloadavg()[0],
            steps={str(n): of for n, of in found.items()},
        )


def _cell(one: dict[str, Any] | None) -> str:
    if one is None or "cpu_seconds" not in one:
        return "-" if one is None else str(one["status"])[:40]
    return f"{one['cpu_seconds']:.1f} / {one['peak_mb']:,.0f}"


def _growth(found: dict[int, dict[str, Any]], name: str) -> str:
    costs = {n: of[name]["cpu_seconds"] for n, of in found.items() if "cpu_seconds" in of.get(name, {})}
    if len(costs) < 2:
        return "-"
    first, last = min(costs), max(costs)
    return f"{np.log(costs[last] / costs[first]) / np.log(last / first):.2f}"


if __name__ == "__main__":
    main()
