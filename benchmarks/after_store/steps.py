"""Processor seconds and peak memory of fit, inspect and compare on made-up stores, beside the same by hand.

    python -m benchmarks.after_store.steps FOLDER [--clips 1000 10000 100000] [--layers 13] [--dim 768]

Writes benchmarks/results/after_store.json. The clips' audio does not exist; their classes differ by means of a tenth of
the clips' spread. Every step is a process of its own with one thread a numeric library; how its cost grows is
the exponent from the smallest store to the largest one.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runner import Step, run_steps
from benchmarks.tools.record import table, write_result
from embedx.manifest import Manifest, Source
from embedx.recipe import Recipe
from embedx.store.rows import Embedded, FileStamp
from embedx.store.store import EmbeddingStore

UNIT = 256
NOTE = (
    "Processor seconds / peak memory of the process, in MB; four classes. By hand: the mean of the layers with plain "
    "h5py and the same classifier. Growth: the exponent of the processor seconds over all sizes."
)


def fill(store: Path, n: int, n_layers: int, dim: int) -> None:
    """Write a store of n clips, four classes, in groups of sixteen."""
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


def steps_of(store: Path, folder: Path, *, compares: bool, only_fit: bool = False) -> list[Step]:
    """Return the steps on one store."""
    embedx = ["-m", "embedx"]
    words = {
        f"fit {head}": [*embedx, "fit", str(store), "--head", head, "--overwrite", "-o", str(folder / head)]
        for head in ("logreg", "lgbm", "mlp", "knn")
    }
    for head in ("logreg", "lgbm", "mlp"):
        words[f"by hand {head}"] = ["-m", "benchmarks.after_store.by_hand", str(store), head]
    words["predict"] = [*embedx, "predict", str(folder / "logreg"), str(store), "--csv", str(folder / "rows.csv")]
    words["inspect"] = [*embedx, "inspect", str(store), "--no-audio"]
    if only_fit:
        return [Step(name=f"{store.stem}/fit logreg", words=words["fit logreg"], environment={"OMP_NUM_THREADS": "1"})]
    if compares:
        heads = ["--heads", "logreg,lgbm,mlp", "--jobs", "2"]
        words["compare"] = [*embedx, "compare", str(store), *heads, "-o", str(folder / "out")]
        words["compare, one process"] = [*words["compare"], "--jobs", "1"]
        words["tune mlp, 5 trials"] = [*embedx, "tune", str(store), "--head", "mlp", "--trials", "5"]
    one_thread = {"OMP_NUM_THREADS": "1"}
    return [Step(name=f"{store.stem}/{name}", words=of, environment=one_thread) for name, of in words.items()]


def main() -> None:
    """Measure every step at every size, and write the result after each size; what is measured already is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--layers", type=int, default=13)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--compare-clips", type=int, default=1_000, help="larger stores are not compared on")
    parser.add_argument("--fit-clips", type=int, default=200_000, help="of larger stores only fit logreg is measured")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, Any]] = {}
    for n in args.clips:
        store = args.folder / f"{n}.h5"
        if not store.exists():
            fill(store, n, args.layers, args.dim)
        large = n > args.fit_clips
        steps = steps_of(store, args.folder, compares=n <= args.compare_clips, only_fit=large)
        records = run_steps(steps, args.folder / "records", output=args.folder)
        found[n] = {record["step"].partition("/")[2]: record for record in records}
        names = dict.fromkeys(name for of in found.values() for name in of)
        rows = [[name, *(_cell(of.get(name)) for of in found.values()), _growth(found, name)] for name in names]
        header = ["step", *(f"{n:,} clips" for n in found), "growth"]
        write_result(
            "after_store",
            tables={"steps": table(header, rows, note=NOTE)},
            settings={"layers": args.layers, "dim": args.dim},
            load=os.getloadavg()[0],
            steps={str(n): of for n, of in found.items()},
        )


def _cell(record: dict[str, Any] | None) -> str:
    if record is None or record["status"] != "done":
        return "-" if record is None else record["status"]
    return f"{record['cpu_seconds']:.1f} / {record['peak_mb']:,.0f}"


def _growth(found: dict[int, dict[str, Any]], name: str) -> str:
    done = {n: of[name] for n, of in found.items() if name in of and of[name]["status"] == "done"}
    if len(done) < 2:
        return "-"
    first, last = min(done), max(done)
    return f"{np.log(done[last]['cpu_seconds'] / done[first]['cpu_seconds']) / np.log(last / first):.2f}"


if __name__ == "__main__":
    main()
