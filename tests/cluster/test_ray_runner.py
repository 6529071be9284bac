"""Units on a real two-node cluster: everything once, whoever dies."""

import time

import numpy as np
import pytest

from embedx.errors import RunnerError
from embedx.extract.cluster import run_units_on_ray
from embedx.extract.options import ClusterOptions
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


def test_a_systematic_crash_ends_in_bounded_time(run):
    start = time.monotonic()
    with pytest.raises(RunnerError, match="died in a row without finishing anything"):
        run(20, dies=True, options={"max_workers": 1})
    assert time.monotonic() - start < 60


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
