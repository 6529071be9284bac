"""Strong scaling of the Ray engine: the same clips by 1, 2 and 4 workers of one thread each.

    python -m benchmarks.cluster.scaling           # some minutes on two cores

Start-up (Ray, processes, weights) is told apart from steady work: a worker counts from its second unit on.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.record import table, write_result
from embedx.encoders.catalog import resolve_encoder
from embedx.extract.cluster import run_units_on_ray
from embedx.extract.options import ClusterOptions
from embedx.extract.unit import UnitRunner, plan_units
from embedx.manifest import read_manifest
from embedx.recipe import Recipe, Resources
from embedx.testing import make_tone, write_wav

SEED = 0


class TimedRunner(UnitRunner):
    """Says in every worker who it is, so that start-up can be left out."""

    def wake(self):
        """Return the process id."""
        return {"pid": str(os.getpid())}


def make_clips(folder, n_clips, seconds):
    """Write tones in noise."""
    for i in range(n_clips):
        write_wav(str(folder / f"{i:05}.wav"), make_tone(200 + i % 700, seconds=seconds, seed=SEED + i))
    return read_manifest(folder)


def measure(manifest, n_workers, seconds):
    """Return seconds to the first unit, and audio seconds a second once every worker has delivered."""
    info = resolve_encoder("tiny")
    recipe = Recipe(
        encoder="tiny", revision=info.revision, weights_sha256=info.weights_sha256, layers=tuple(range(info.n_layers))
    )
    runner = TimedRunner(recipe, info, Resources(device="cpu", workers=0, threads=1), manifest.root)
    start = time.perf_counter()
    first, since, seen, n_clips = 0.0, 0.0, set(), 0
    units = plan_units(manifest, n_sources=16)
    for _, results, environment in run_units_on_ray(units, runner, options=ClusterOptions(max_workers=n_workers)):
        now = time.perf_counter()
        first = first or now - start
        if len(seen) < n_workers:
            seen.add(environment["pid"])
            since = now
        else:
            n_clips += len(results)
    return first, n_clips * seconds / (now - since)


def main():
    """Measure and write benchmarks/results/cluster-scaling.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1600)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # loopback only
    os.environ["OMP_NUM_THREADS"] = "1"
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=10**8,
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_clips(Path(folder), args.clips, args.seconds)
        for n_workers in (1, 2, 4):
            first, speed = measure(manifest, n_workers, args.seconds)
            rows.append([n_workers, first, speed, speed / rows[0][2] if rows else 1.0])
    ray.shutdown()
    note = (
        f"{args.clips} clips of {args.seconds:g} s, encoder tiny, one thread a worker, units of 16. Four workers share "
        "two cores, so 2 is the most there is; the machine was shared with other work."
    )
    columns = ["workers", "seconds to the first unit", "x real time", "ratio to one worker"]
    print(write_result("cluster-scaling", tables={"scaling": table(columns, rows, note=note)}, seeds=[SEED]))


if __name__ == "__main__":
    main()
