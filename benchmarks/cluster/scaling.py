"""Strong scaling: one job by 1, 2 and 4 workers of one thread, as plain processes and on Ray, and what follows.

    python -m benchmarks.cluster.scaling           # three minutes on two quiet cores

Start-up (processes, Ray, weights) is told apart from steady work, which counts from where every worker has done a
unit. The second table extrapolates with the rates of benchmarks/results/cluster-driver.json and store_scale.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.cluster.driver import CLIPS_PER_SECOND_OF_A_GPU, DIM
from benchmarks.tools.record import RESULTS, measure, results_folder, table, write_result
from embedx.encoders.resolve import resolve_encoder
from embedx.extract.options import ClusterOptions
from embedx.extract.ray_backend import run_units_on_ray
from embedx.extract.unit_runner import UnitRunner, plan_units
from embedx.manifest import read_manifest
from embedx.recipe import Recipe, Resources
from embedx.testing import make_tone, write_wav

SEED, SOURCES_PER_UNIT, WORKERS = 0, 16, (1, 2, 4)
N_LAYERS, GIGABITS, N_CLIPS = 13, 1.0, 1_000_000
"""Of the job on paper: layers of wav2vec2-base, the network into the driver, clips."""


class TimedRunner(UnitRunner):
    """Says in every worker who it is."""

    def wake(self):
        """Return the process id."""
        return {"pid": str(os.getpid())}


def make_clips(folder, n_clips, seconds):
    """Write tones in noise."""
    for i in range(n_clips):
        write_wav(str(folder / f"{i:05}.wav"), make_tone(200 + i % 700, seconds=seconds, seed=SEED + i))


def make_runner(manifest):
    """Return what a worker runs: the bundled encoder, one thread, decoding in the same process."""
    info = resolve_encoder("tiny")
    weights = {"revision": info.revision, "weights_sha256": info.weights_sha256}
    recipe = Recipe(encoder="tiny", **weights, layers=tuple(range(info.n_layers)))
    return TimedRunner(recipe, info, Resources(device="cpu", workers=0, threads=1), manifest.root)


def processor_seconds(pids):
    """Return the processor time that processes have used; those that are gone count nothing."""
    found = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found += int(fields[11]) + int(fields[12])
    return found / os.sysconf("SC_CLK_TCK")


def descendants(pid):
    """Return the processes below one, itself included."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        below = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(other for child in below for other in descendants(child))]


def by_processes(folder, n_workers):
    """Let plain processes take every n-th unit, as ``--shard`` does."""
    started = time.perf_counter()
    words = [sys.executable, "-m", "benchmarks.cluster.scaling", "--work", str(folder), "--of", str(n_workers)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen([*words, "--part", str(i)], **pipes) for i in range(n_workers)]
    for worker in workers:
        worker.stdout.readline()  # weights are loaded and one unit is done
    ready = time.perf_counter()
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    told = [json.loads(worker.communicate()[0]) for worker in workers]
    elapsed = max(one["ended"] for one in told) - ready
    return {
        "start": ready - started,
        "clips": sum(one["clips"] for one in told),
        "seconds": elapsed,
        "workers": sum(one["processor"] for one in told),
        "others": 0.0,
    }


def work(folder, i, n):
    """Be one of the plain processes."""
    manifest = read_manifest(folder)
    units = plan_units(manifest, n_sources=SOURCES_PER_UNIT)
    with make_runner(manifest) as runner:
        runner(units[0])
        print("ready", flush=True)
        sys.stdin.readline()
        before = time.process_time()
        n_clips = sum(len(runner(unit)) for unit in units[1 + i :: n])
        told = {"clips": n_clips, "ended": time.perf_counter(), "processor": time.process_time() - before}
    print(json.dumps(told), flush=True)


def by_ray(folder, n_workers):
    """Let Ray actors ask for units, as ``--engine ray`` does."""
    manifest = read_manifest(folder)
    units = plan_units(manifest, n_sources=SOURCES_PER_UNIT)
    started = time.perf_counter()
    pids, n_clips, start = set(), 0, None
    for _, results, environment in run_units_on_ray(
        units, make_runner(manifest), options=ClusterOptions(max_workers=n_workers)
    ):
        pids.add(int(environment["pid"]))
        if start is not None:
            n_clips += len(results)
            elapsed = time.perf_counter() - start[0]
            busy = processor_seconds(pids), processor_seconds(set(descendants(os.getpid())) - pids)
        elif len(pids) == n_workers:
            start = time.perf_counter(), processor_seconds(pids), processor_seconds(descendants(os.getpid()))
            start = (*start[:2], start[2] - start[1])
    return {
        "start": start[0] - started,
        "clips": n_clips,
        "seconds": elapsed,
        "workers": busy[0] - start[1],
        "others": busy[1] - start[2],
    }


def rows_of_scaling(folder, clip_seconds):
    """Measure every case; yield the rows of the table."""
    for name, engine in (("processes", by_processes), ("ray", by_ray)):
        speeds = []
        for n_workers in WORKERS:
            got = engine(folder, n_workers)
            audio = got["clips"] * clip_seconds
            speeds.append(audio / got["seconds"])
            costs = [1e3 * got[who] / audio for who in ("workers", "others")]
            yield [name, n_workers, got["start"], speeds[-1], speeds[-1] / speeds[0], *costs]


def read_rates():
    """Return what one driver and one writer take in, from the results of their own benchmarks."""

    def read(name):
        place = next((one / name for one in (results_folder(), RESULTS) if (one / name).is_file()), RESULTS / name)
        return json.loads(place.read_text(encoding="utf-8"))

    drawn = read("cluster-driver.json")["tables"]["driver"]
    at = drawn["columns"].index("rows/s of a core")
    rates = {row[1]: row[at] for row in drawn["rows"] if row[0] == f"{N_LAYERS} x {DIM}"}
    run = read("store_scale.json")["runs"][0]
    return {**rates, "publish": run["clips"] / run["again"]["publish_seconds"]}


def rows_of_extrapolation(start_seconds, rates):
    """Yield what a job of a million clips takes with many GPUs, and what holds it up."""
    network = GIGABITS * 1e9 / 8 / (N_LAYERS * DIM * 4)
    publish = N_CLIPS / rates["publish"]
    for parts in ("driver", "worker"):
        alone = 0.0
        for n_gpus in (1, 8, 32, 128, 512):
            limits = {"the GPUs": n_gpus * CLIPS_PER_SECOND_OF_A_GPU, "the driver's core": rates[parts]}
            if parts == "driver":
                limits["the network into the driver"] = network
            holder = min(limits, key=limits.get)
            embed = N_CLIPS / limits[holder]
            total = start_seconds + embed + publish
            alone = alone or total
            if publish > embed:
                holder = "publishing, which one process does"
            yield [parts, n_gpus, limits["the GPUs"], embed / 60, publish / 60, alone / total, holder]


def n_clips_for(seconds, clip_seconds):
    """Return so many clips that one worker is at work for these seconds, from a short trial."""
    with tempfile.TemporaryDirectory() as folder:
        make_clips(Path(folder), 5 * SOURCES_PER_UNIT, clip_seconds)
        trial = by_processes(folder, 1)
    return SOURCES_PER_UNIT * max(round(seconds * trial["clips"] / trial["seconds"] / SOURCES_PER_UNIT), 12)


def measure_scaling(seconds, clip_seconds):
    """Return the rows of the scaling table, and the number of clips."""
    import ray

    n_clips = n_clips_for(seconds, clip_seconds)
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    with tempfile.TemporaryDirectory() as folder:
        make_clips(Path(folder), n_clips, clip_seconds)
        ray.init(address="local", num_cpus=max(WORKERS), object_store_memory=10**8, **quiet)
        rows = list(rows_of_scaling(folder, clip_seconds))
        ray.shutdown()
    return rows, n_clips


def main():
    """Measure and write benchmarks/results/cluster-scaling.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work-seconds", type=float, default=20.0, help="of one worker alone, each time")
    parser.add_argument("--clip-seconds", type=float, default=3.0)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    load = round(os.getloadavg()[0], 2)  # before four workers make one of their own
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # loopback only
    os.environ["OMP_NUM_THREADS"] = "1"
    if args.work:
        work(args.work, args.part, args.of)
        return
    rows, n_clips = measure_scaling(args.work_seconds, args.clip_seconds)
    columns = ["workers are", "workers", "start, s", "x real time", "ratio to one", "workers, ms/s", "others, ms/s"]
    note = (
        f"{n_clips} clips of {args.clip_seconds:g} s, encoder tiny, one thread a worker, units of {SOURCES_PER_UNIT}, "
        f"{os.cpu_count()} cores. Start: until every worker has done a unit. The last columns: processor time for a "
        "second of audio, of the workers, and of all others (driver, Ray's own processes)."
    )
    on_paper = ["who writes", "GPUs", "their clips/s", "embed, min", "publish, min", "ratio to one", "what holds it up"]
    assumed = (
        f"{N_CLIPS:,} clips of one window, {N_LAYERS} layers of {DIM}; a GPU is taken to embed "
        f"{CLIPS_PER_SECOND_OF_A_GPU:.0f} clips a second, the network into the driver to carry {GIGABITS:g} Gbit/s; "
        "start as measured on Ray; a driver's core and publishing as measured (cluster-driver, store_scale). What "
        "shared storage takes when workers write was not measured."
    )
    start = next(row[2] for row in rows if row[:2] == ["ray", 1])
    tables = {
        "scaling": table(columns, rows, note=note),
        "extrapolated": table(on_paper, list(rows_of_extrapolation(start, read_rates())), note=assumed),
    }
    speeds = {f"{row[0]}, {row[1]}": measure([row[3]], better="higher", unit="x") for row in rows}
    print(write_result("cluster-scaling", tables=tables, measures=speeds, seeds=[SEED], load=load))


if __name__ == "__main__":
    main()
