"""Units on a real two-node cluster: everything once, whoever dies."""

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from embedx.errors import RunnerError
from embedx.extract.options import ClusterOptions
from embedx.extract.ray_backend import run_units_on_ray
from embedx.extract.unit_runner import plan_units
from embedx.manifest import Source
from embedx.store.rows import Failure

pytestmark = pytest.mark.ray


@pytest.fixture
def run(ray_cluster, runners):
    """``run(n_units, n_sources=4, seconds limits..., **what the runner does)`` -> results by uri."""

    def run(n_units=6, n_sources=4, *, options=None, **does):
        units = runners.make_units(n_units, n_sources)
        chosen = ClusterOptions(address=ray_cluster.address, **(options or {}))
        done = list(run_units_on_ray(units, runners.FakeRunner(**does), options=chosen))
        assert sorted(unit.number for unit, _, _ in done) == list(range(n_units))
        return [result for _, results, _ in done for result in results]

    return run


def failures_of(results):
    return {result.source.uri: result.reason for result in results if isinstance(result, Failure)}


def test_rows_are_those_of_the_runner_called_here(run, runners):
    results = run(6, fails=("0005.wav",))
    runner = runners.FakeRunner(fails=("0005.wav",))
    expected = {result.source.uri: result for unit in runners.make_units(6) for result in runner(unit)}
    assert sorted(result.source.uri for result in results) == sorted(expected)
    assert failures_of(results) == {"0005.wav": "decode"}
    for result in results:
        if not isinstance(result, Failure):
            assert np.array_equal(result.embeddings, expected[result.source.uri].embeddings)


@pytest.mark.parametrize("way", ["exits", "crashes", "raises"])
def test_a_clip_that_kills_its_process_costs_one_failure(run, way):
    results = run(4, 4, **{way: ("0006.wav",)})
    assert sorted(result.source.uri for result in results) == [f"{i:04}.wav" for i in range(16)]
    assert failures_of(results) == {"0006.wav": "worker_died"}


def test_an_encoder_and_a_decoder_that_exit_cost_their_clips(ray_cluster, runners, tmp_path):
    from embedx.testing import make_tone, write_wav

    for name in ("good", "dies"):
        write_wav(str(tmp_path / f"{name}.wav"), make_tone(440, seconds=0.2))
    write_wav(str(tmp_path / "silent.wav"), np.zeros(3_200, np.float32))
    sources = [Source(f"{name}.wav") for name in ("good", "dies", "silent")]
    chosen = ClusterOptions(address=ray_cluster.address)
    runner = runners.DeadlyRunner.over(tmp_path)
    (done,) = run_units_on_ray(plan_units(sources), runner, options=chosen, root=tmp_path)
    assert [result.source for result in done.results] == sources
    assert failures_of(done.results) == {"dies.wav": "worker_died", "silent.wav": "worker_died"}
    assert done.results[2].stamp.size == (tmp_path / "silent.wav").stat().st_size


def test_a_systematic_crash_is_no_clips_fault(run):
    with pytest.raises(RunnerError, match="died in a row without finishing anything"):
        run(20, dies=True, options={"max_workers": 1})


def test_a_wrong_checkpoint_on_the_workers_is_said_at_once(run):
    with pytest.raises(RunnerError, match="have another hash than the recipe"):
        run(20, broken=True)


def test_a_hung_unit_costs_its_clip(run):
    results = run(4, 2, hangs=("0003.wav",), options={"unit_timeout_seconds": 4})
    assert failures_of(results) == {"0003.wav": "worker_died"}
    assert len(results) == 8


def test_what_no_node_has_is_refused_at_once(run):
    with pytest.raises(RunnerError, match=r"no node .* 64 CPUs and 0 GPUs .* 2 CPUs and 0 GPUs"):
        run(options={"cpus_per_worker": 64})
    with pytest.raises(RunnerError, match="1 CPUs and 1 GPUs"):
        run(options={"gpus_per_worker": 1})


@contextlib.contextmanager
def joined(cluster):
    """Be a driver of the cluster from outside the runner, which then uses this connection."""
    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield ray
    finally:
        ray.shutdown()


def test_a_cluster_that_others_hold_is_said_in_bounded_time(run, ray_cluster):
    with joined(ray_cluster) as ray:
        holder = ray.remote(num_cpus=2)(dict).remote()
        ray.get(holder.__ray_ready__.remote())  # it is there
        with pytest.raises(RunnerError, match=r"placed no worker of 1 CPUs .* within 4 s \(free now: 0 CPUs"):
            run(options={"placement_timeout_seconds": 4})
        ray.kill(holder)


def started_by(diary):
    """How often each unit was begun, by the name of its first source, and by which processes."""
    entries = [path.name.split("-") for path in diary.iterdir()]
    return Counter(entry[2] for entry in entries), {int(entry[1]) for entry in entries}


def test_a_killed_worker_costs_nothing_but_time(ray_cluster, runners, tmp_path):
    units = runners.make_units(10)
    chosen = ClusterOptions(address=ray_cluster.address)
    done = []
    for unit, results, _ in run_units_on_ray(units, runners.FakeRunner(seconds=0.3, diary=tmp_path), options=chosen):
        if not done:
            os.kill(started_by(tmp_path)[1].pop(), signal.SIGKILL)
        done.append(unit.number)
        assert not failures_of(results)
    assert sorted(done) == list(range(10))


def descendants(pid):
    """Process ids below one, itself included."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    return [pid, *(other for child in found for other in descendants(child))]


def test_a_killed_node_is_nobodys_fault(ray_cluster, runners, tmp_path):
    node = ray_cluster.add_node(num_cpus=2, object_store_memory=10**8, node_ip_address="127.0.0.1")
    units = runners.make_units(16)
    chosen = ClusterOptions(address=ray_cluster.address)
    done = []
    for unit, results, _ in run_units_on_ray(units, runners.FakeRunner(seconds=0.5, diary=tmp_path), options=chosen):
        if len(done) == 3:
            for pid in reversed(descendants(node.all_processes["raylet"][0].process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        done.append(unit.number)
        assert not failures_of(results)
    ray_cluster.remove_node(node, allow_graceful=False)
    assert sorted(done) == list(range(16))


def test_the_first_row_comes_before_the_last_source_is_read_and_nothing_spills(
    ray_cluster, ray_home, runners, tmp_path
):
    units = runners.make_units(30)
    runner = runners.FakeRunner(diary=tmp_path, n_padding=2**19)  # 30 units of 8 MB through 100 MB
    chosen = ClusterOptions(address=ray_cluster.address)
    n_begun = []
    for _ in run_units_on_ray(units, runner, options=chosen):
        n_begun.append(len(list(tmp_path.iterdir())))
        time.sleep(0.02)
    assert len(n_begun) == 30
    assert n_begun[0] <= 6
    assert not spilled(ray_home)
    with joined(ray_cluster) as ray:  # and where it would have been seen
        held = [ray.put(np.zeros(2 * 10**7, np.uint8)) for _ in range(8)]
        assert spilled(ray_home)
        del held


def spilled(home):
    """What Ray has written to disk because its memory for objects was full."""
    return [path for path in home.rglob("*spill*/*") if path.is_file()]


def test_the_next_unit_is_decoded_while_one_computes(ray_cluster, runners, tmp_path):
    chosen = ClusterOptions(address=ray_cluster.address, max_workers=1)
    runner = runners.ForesightedRunner(seconds=1.0, diary=tmp_path)
    list(run_units_on_ray(runners.make_units(3), runner, options=chosen))
    notes = [path.name.split("-") for path in tmp_path.iterdir()]
    at = {(what, number): int(when) / 1e9 for when, what, number in notes}
    assert len(at) == 6
    assert at["began", "0"] < at["began", "1"] < at["began", "2"]
    for number in "12":
        assert at["began", number] - at["heard", number] > 0.5
