"""How the store behaves at scale: commit, publish, open, read one row and one layer, memory.

    python -m benchmarks.store.scale FOLDER [--clips 100000] [--layers 13] [--dim 768] [--shuffled]

Writes benchmarks/results/store_scale.json. Clips have one row each; their values are
random, the audio files do not exist (a plan looks for each of them all the same).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.tools.record import measure, table, write_result
from embedx.manifest import Manifest, Source
from embedx.recipe import Recipe
from embedx.store.maintenance import store_info, verify_store
from embedx.store.rows import Embedded, FileStamp
from embedx.store.store import EmbeddingStore, read_store

UNIT = 64
NOTE = (
    "float16; every CRC checked. The machine had other work (load_one_minute in the JSON), so wall times are upper "
    "bounds; the line of the processor is the program's own."
)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def timed_on_cpu(function: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds: on a machine that others use only the second is the program's own."""
    started = time.process_time()
    wall, _ = timed(function)
    return wall, time.process_time() - started


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def apart(*words: object) -> dict[str, Any]:
    """Run one measurement in a process of its own, so that its peak of memory is its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.store.scale", *map(str, words)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def make_manifest(n: int, shuffled: bool) -> Manifest:
    sources = [
        Source(f"class{i % 50:02}/clip{i:07}.wav", label=f"class{i % 50:02}", group=f"g{i // 4}") for i in range(n)
    ]
    order = np.random.default_rng(0).permutation(n) if shuffled else np.argsort([s.uri for s in sources])
    return Manifest(tuple(sources[i] for i in order), Path("/nowhere"))


def fill(store: Path, n: int, n_layers: int, dim: int, shuffled: bool) -> dict[str, Any]:
    recipe = Recipe(encoder="random", revision="none", weights_sha256="0" * 64, layers=tuple(range(n_layers)))
    manifest = make_manifest(n, shuffled)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(UNIT, 1, n_layers, dim)).astype(np.float32)
    control, start, end = np.ones((1, 128), np.float32), np.zeros(1), np.ones(1)
    with EmbeddingStore(store, recipe, root=manifest.root) as handle:
        seconds_plan, _ = timed(lambda: handle.plan(manifest))
        started = time.perf_counter()
        for i in range(0, n, UNIT):
            unit = [
                Embedded(
                    s, FileStamp(i.to_bytes(16, "big") + j.to_bytes(16, "big"), 1, 1), values[j], control, start, end
                )
                for j, s in enumerate(manifest[i : i + UNIT])
            ]
            handle.append(unit, environment={"by": "benchmark"})
        handle.commit()
        seconds_commit = time.perf_counter() - started
        memory_commit = peak_mb()
        seconds_publish, _ = timed(handle.publish)
    return {
        "plan_empty_seconds": seconds_plan,
        "commit_seconds": seconds_commit,
        "commit_rows_per_second": n / seconds_commit,
        "commit_peak_mb": memory_commit,
        "last_publish_seconds": seconds_publish,
        "publish_peak_mb": peak_mb(),
    }


def republish(store: Path, shuffled: bool, n: int) -> dict[str, Any]:
    """Write the whole file again, from itself and one part."""
    info = store_info(store)
    manifest = make_manifest(n, shuffled)
    with EmbeddingStore(store, info.recipe, root=manifest.root) as handle:
        seconds_plan, plan = timed(lambda: handle.plan(manifest))
        assert not plan.todo
        handle.append([_extra(info.recipe, info.dim)], environment={"by": "benchmark"})
        seconds, _ = timed(handle.publish)
    return {"plan_full_seconds": seconds_plan, "publish_seconds": seconds, "peak_mb": peak_mb()}


def _extra(recipe: Recipe, dim: int) -> Embedded:
    row = np.ones((1, len(recipe.layers), dim), np.float32)
    return Embedded(
        Source("zz.wav"), FileStamp(b"z" * 32, 1, 1), row, np.ones((1, 128), np.float32), np.zeros(1), np.ones(1)
    )


def read(store: Path, layers: str) -> dict[str, Any]:
    chosen = None if layers == "all" else [int(layers)]
    before = bytes_read()
    cold, loaded = timed(lambda: read_store(store, layers=chosen))
    from_disk = bytes_read() - before
    n_bytes = loaded.embeddings.nbytes
    del loaded
    repeated = [timed_on_cpu(lambda: read_store(store, layers=chosen)) for _ in range(5)]
    warm, cpu = min(repeated)
    return {
        "first_seconds": cold,
        "warm_seconds": warm,
        "warm_cpu_seconds": cpu,
        "all_warm_seconds": [wall for wall, _ in repeated],
        "disk_mb": from_disk / 1e6,
        "array_mb": n_bytes / 1e6,
        "peak_mb": peak_mb(),
    }


def bytes_read() -> int:
    """Bytes that this process had fetched from the disk itself, not from the page cache."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["read_bytes"])


def rows(store: Path) -> dict[str, Any]:
    with h5py.File(store) as file:
        dataset = file["embeddings"]
        picks = np.random.default_rng(1).integers(0, len(dataset), 2000)
        timed(lambda: [dataset[i] for i in picks])
        whole = timed(lambda: [dataset[i] for i in picks])[0] / len(picks)
        one = timed(lambda: [dataset[i, 0] for i in picks])[0] / len(picks)
    return {"one_row_all_layers_us": whole * 1e6, "one_row_one_layer_us": one * 1e6}


def drop_cache(store: Path) -> None:
    """Forget the file's pages; needs no root, unlike drop_caches."""
    with open(store, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_store(args: argparse.Namespace) -> dict[str, Any]:
    folder = Path(args.folder) / "embedx-store-benchmark"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    store = folder / "emb.h5"
    found: dict[str, Any] = {"clips": args.clips, "layers": args.layers, "dim": args.dim, "shuffled": args.shuffled}
    found["write"] = apart(store, "--step", "fill", *_sizes(args))
    found["again"] = apart(store, "--step", "republish", *_sizes(args))
    found["file_mb"] = store.stat().st_size / 1e6
    for layers in ("0", "all"):
        drop_cache(store)
        found[f"read_{'one_layer' if layers == '0' else 'all_layers'}"] = apart(
            store, "--step", "read", "--which", layers
        )
    found["open_seconds"] = min(timed(lambda: store_info(store))[0] for _ in range(3))
    found["verify_seconds"], problems = timed(lambda: verify_store(store))
    assert problems == []
    found["rows"] = rows(store)
    with h5py.File(store) as file:
        found["plain_h5py_one_layer_seconds"] = min(timed(lambda: file["embeddings"][:, 0])[0] for _ in range(3))
    shutil.rmtree(folder)
    return found


def _sizes(args: argparse.Namespace) -> list[object]:
    return [
        "--clips",
        args.clips,
        "--layers",
        args.layers,
        "--dim",
        args.dim,
        *(["--shuffled"] if args.shuffled else []),
    ]


def as_table(runs: list[dict[str, Any]]) -> dict[str, Any]:
    columns = ["figure", *(f"{r['clips']:,} x {r['layers']} x {r['dim']}{' shuffled' * r['shuffled']}" for r in runs)]
    figures: dict[str, Callable[[dict[str, Any]], str]] = {
        "file, MB": lambda r: f"{r['file_mb']:.0f}",
        "commit, rows/s": lambda r: f"{r['write']['commit_rows_per_second']:.0f}",
        "publish the whole file again, s": lambda r: f"{r['again']['publish_seconds']:.1f}",
        "plan of a finished store, s": lambda r: f"{r['again']['plan_full_seconds']:.2f}",
        "info (all clips, no rows), s": lambda r: f"{r['open_seconds']:.2f}",
        "load one layer, cold, s": lambda r: f"{r['read_one_layer']['first_seconds']:.2f}",
        "... read from disk, MB": lambda r: f"{r['read_one_layer']['disk_mb']:.0f}",
        "load one layer, warm, s": lambda r: f"{r['read_one_layer']['warm_seconds']:.2f}",
        "... of the processor, s": lambda r: f"{r['read_one_layer']['warm_cpu_seconds']:.2f}",
        "load all layers, warm, s": lambda r: f"{r['read_all_layers']['warm_seconds']:.2f}",
        "one row of all layers, plain h5py, us": lambda r: f"{r['rows']['one_row_all_layers_us']:.0f}",
        "one row of one layer, plain h5py, us": lambda r: f"{r['rows']['one_row_one_layer_us']:.0f}",
        "verify, s": lambda r: f"{r['verify_seconds']:.1f}",
        "peak memory: commit, MB": lambda r: f"{r['write']['commit_peak_mb']:.0f}",
        "peak memory: publish, MB": lambda r: f"{r['again']['peak_mb']:.0f}",
        "peak memory: load one layer, MB": lambda r: f"{r['read_one_layer']['peak_mb']:.0f}",
    }
    rows = [[name, *(figure(r) for r in runs)] for name, figure in figures.items()]
    return table(columns, rows, note=NOTE)


def measured(run: dict[str, Any]) -> dict[str, Any]:
    """Return what a later run is compared with, every repetition."""
    size = f"{run['clips']} x {run['layers']} x {run['dim']}{' shuffled' * run['shuffled']}"
    reads = {name: run[f"read_{name}"].get("all_warm_seconds", ()) for name in ("one_layer", "all_layers")}
    found = {f"{size}: {name}": measure(s, better="lower", unit="s") for name, s in reads.items() if s}
    rate = measure([run["write"]["commit_rows_per_second"]], better="higher", unit="x")
    return {**found, f"{size}: commit rows a second": rate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="on the disk to be measured; some 3 times the file must be free")
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--layers", type=int, default=13)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--shuffled", action="store_true", help="the manifest is in no order")
    parser.add_argument("--add-to", type=Path, help="a result of this benchmark whose runs are kept beside the new one")
    parser.add_argument("--step", choices=["fill", "republish", "read"], help=argparse.SUPPRESS)
    parser.add_argument("--which", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step == "fill":
        found = fill(args.folder, args.clips, args.layers, args.dim, args.shuffled)
    elif args.step == "republish":
        found = republish(args.folder, args.shuffled, args.clips)
    elif args.step == "read":
        found = read(args.folder, args.which)
    else:
        load = os.getloadavg()[0]
        found = measure_store(args)
        runs = [*json.loads(args.add_to.read_text())["runs"], found] if args.add_to else [found]
        tables, measures = {"scale": as_table(runs)}, {k: v for run in runs for k, v in measured(run).items()}
        write_result("store_scale", tables=tables, measures=measures, runs=runs, seeds=[0, 1], load_one_minute=load)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
