"""One loop for every kind of worker: what processes of this machine and actors of a cluster both keep to."""

import contextlib

import numpy as np
import pytest

from embedx.errors import EmbedxError, RunnerError
from embedx.extract.dispatch import dispatch
from embedx.extract.options import ClusterOptions
from embedx.extract.process_backend import LocalWorkers
from embedx.extract.ray_backend import RayWorkers
from embedx.extract.ray_connection import connected
from embedx.store.rows import Failure


@pytest.fixture(params=["processes", pytest.param("ray", marks=pytest.mark.ray)])
def run(request, runners):
    """``run(units, **what the runner does)`` -> the units that are done, by two workers of one kind."""
    address = request.getfixturevalue("ray_cluster").address if request.param == "ray" else None

    def run(units, *, unit_timeout_seconds=60.0, **does):
        runner = runners.FakeRunner(**does)
        with contextlib.ExitStack() as stack:
            if address is None:
                placed = runners.PlacedRunner(**does, silence_seconds=unit_timeout_seconds)
                workers = LocalWorkers([placed, placed], describe=lambda recipe, resources: {"device": "cpu"})
            else:
                options = ClusterOptions(address=address, max_workers=2, unit_timeout_seconds=unit_timeout_seconds)
                workers = RayWorkers(stack.enter_context(connected(address)), runner, options, n_units=len(units))
            yield from dispatch(units, workers)

    return run


def reasons(done):
    return {result.source.uri: result.reason for _, results, _ in done for result in results if _is_failure(result)}


def _is_failure(result):
    return isinstance(result, Failure)


def test_every_unit_comes_once_with_its_rows_in_order(run, runners):
    units = runners.make_units(6)
    done = list(run(units, fails=("0005.wav",)))
    assert sorted(unit.number for unit, _, _ in done) == list(range(6))
    assert reasons(done) == {"0005.wav": "decode"}
    for unit, results, _ in done:
        assert [result.source for result in results] == list(unit.sources)
        for result in results:
            if not _is_failure(result):
                assert np.array_equal(result.embeddings, runners.rows_of(result.source).embeddings)


@pytest.mark.kill
@pytest.mark.parametrize("way", ["exits", "crashes", "raises"])
def test_a_clip_that_kills_costs_its_own_row(run, runners, way):
    done = list(run(runners.make_units(4), **{way: ("0006.wav",)}))
    assert reasons(done) == {"0006.wav": "worker_died"}
    assert sorted(result.source.uri for _, found, _ in done for result in found) == [f"{i:04}.wav" for i in range(16)]


@pytest.mark.kill
def test_one_that_hangs_costs_its_own_row(run, runners):
    done = list(run(runners.make_units(3, 2), hangs=("0003.wav",), unit_timeout_seconds=6.0))
    assert reasons(done) == {"0003.wav": "worker_died"}


def test_what_no_worker_can_do_is_raised(run, runners):
    with pytest.raises(EmbedxError, match="have another hash than the recipe"):
        list(run(runners.make_units(20), broken=True))


def test_deaths_whatever_is_worked_on_end_the_run(run, runners):
    with pytest.raises(RunnerError, match="died in a row without finishing anything"):
        list(run(runners.make_units(20), dies=True))
