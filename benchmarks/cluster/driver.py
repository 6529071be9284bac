"""How many GPUs can one driver feed, and one writer take in? Measured with workers that return made-up rows.

    python -m benchmarks.cluster.driver            # about five minutes on two cores

The workers, the driver and the writer share this machine's cores, so the rates are lower bounds of what a driver
with cores of its own takes in. No network is between them: what a network would have to carry is in the table.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.tools.record import table, write_result
from embedx.extract.options import ClusterOptions
from embedx.extract.ray_backend import run_units_on_ray
from embedx.extract.remote_runner import Written
from embedx.extract.unit_runner import plan_units
from embedx.manifest import Source
from embedx.recipe import Recipe
from embedx.store.rows import CONTROL_DIM, Embedded, FileStamp
from embedx.store.store import EmbeddingStore

CLIPS_PER_SECOND_OF_A_GPU = 100.0
DIM = 768


@dataclass
class MadeUpRunner:
    """Gives rows without computing any; ``seconds`` is what a unit would have taken."""

    n_layers: int
    seconds: float
    store: Path | None = None

    def wake(self):
        """Say which worker this is."""
        return {"pid": str(os.getpid())}

    def __call__(self, unit):
        time.sleep(self.seconds)
        embeddings = np.ones((1, self.n_layers, DIM), np.float32)
        control, zero, stamp = np.ones((1, CONTROL_DIM), np.float32), np.zeros(1), FileStamp(b"1" * 32, 1, 1)
        return [Embedded(source, stamp, embeddings.copy(), control.copy(), zero, zero + 1) for source in unit.sources]

    def keep(self, results):
        """Write on the worker where a store is shared."""
        if self.store is None:
            return results
        with EmbeddingStore(self.store, recipe_of(self.n_layers), root="/") as store:
            store.append(results, environment={})
        return [Written(result.source, 1, 1.0) for result in results]


def recipe_of(n_layers):
    """A recipe for made-up rows."""
    return Recipe(encoder="made-up", revision="none", weights_sha256="0", layers=tuple(range(n_layers)))


def measure(n_units, *, n_layers, n_workers, seconds, parts):
    """Return rows a second, and microseconds of the driver's processor a row, once all workers are at work."""
    units = plan_units([Source(f"{i:07}.wav") for i in range(n_units * 64)])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "emb.h5"
        runner = MadeUpRunner(n_layers, seconds, place if parts == "worker" else None)
        store = EmbeddingStore(place, recipe_of(n_layers), root="/")
        seen, n_rows, start = set(), 0, (0.0, 0.0)
        done = run_units_on_ray(units, runner, options=ClusterOptions(max_workers=n_workers))
        for i, (_, results, environment) in enumerate(done):
            if parts == "driver":
                store.append(results, environment={})
            if len(seen) == n_workers or i >= n_units // 2:
                n_rows += len(results)
            else:
                seen.add(environment["pid"])
                start = time.perf_counter(), time.process_time()
            elapsed, busy = time.perf_counter() - start[0], time.process_time() - start[1]
        store.commit()
    return n_rows / elapsed, busy / n_rows * 1e6


def rows_of_table(n_workers, n_units):
    """Measure every case and yield the rows of the table."""
    for n_layers in (1, 13):
        for parts in ("nobody", "driver", "worker"):
            rate, cost = measure(n_units, n_layers=n_layers, n_workers=n_workers, seconds=0.0, parts=parts)
            one_core = 1e6 / cost
            megabytes = one_core * n_layers * DIM * 4 / 1e6 if parts != "worker" else 0.0
            n_gpus = one_core / CLIPS_PER_SECOND_OF_A_GPU
            yield [f"{n_layers} x {DIM}", parts, rate, cost, one_core, megabytes, round(n_gpus)]


def paced(n_workers, n_units):
    """Workers as fast as a GPU: what share of their time do they work?"""
    seconds = 64 / CLIPS_PER_SECOND_OF_A_GPU
    rate, _ = measure(n_units, n_layers=13, n_workers=n_workers, seconds=seconds, parts="driver")
    return rate / (n_workers * CLIPS_PER_SECOND_OF_A_GPU)


def main():
    """Measure and write benchmarks/results/cluster-driver.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--units", type=int, default=120)
    parser.add_argument("--paced-workers", type=int, default=8)
    args = parser.parse_args()
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # loopback only
    import ray

    ray.init(
        address="local",
        num_cpus=args.paced_workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=5 * 10**8,
    )
    rows = list(rows_of_table(args.workers, args.units))
    share = paced(args.paced_workers, 30 * args.paced_workers)
    note = (
        f"{args.workers} workers return made-up rows (float32) at once, {args.units} units of 64 clips; workers, "
        "driver and writer share the cores with other work, so what counts is the driver's processor time, writing "
        f"included. A GPU is taken to embed {CLIPS_PER_SECOND_OF_A_GPU:.0f} clips a second. "
        f"{args.paced_workers} workers paced like GPUs, the driver writing, were at work {share:.0%} of the time."
    )
    columns = [
        "row",
        "who writes",
        "rows/s here",
        "driver us/row",
        "rows/s of a core",
        "MB/s then",
        "GPUs that fill it",
    ]
    drawn = table(columns, rows, note=note)
    print(write_result("cluster-driver", tables={"driver": drawn}, paced_share=share, seeds=[]))
    ray.shutdown()


if __name__ == "__main__":
    main()
