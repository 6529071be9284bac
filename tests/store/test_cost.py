"""What embedding took is kept through commits, publication and resumption, and disturbs nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedx.dataset import load_embeddings
from embedx.store.cost import merged, seconds_per_row, with_cost
from embedx.store.rows import Embedded
from embedx.store.store import EmbeddingStore, read_store

OLD = Path(__file__).parents[1] / "formats" / "store-1.h5"


def write(fixtures, manifest, output, costs, *, n_runs):
    """Write a store in so many runs; every clip with its own cost."""
    cuts = np.array_split(np.arange(len(manifest)), n_runs)
    for cut in cuts:
        with EmbeddingStore(output, fixtures.RECIPE, root=manifest.root) as store:
            store.plan(manifest)
            for i in cut:
                result = fixtures.result_of(manifest[i], manifest.root)
                if isinstance(result, Embedded):
                    result = replace(result, seconds_per_row=costs[i])
                store.append([result], environment={"by": "fixtures"})
            store.publish()


@pytest.fixture
def manifest(fixtures, tmp_path):
    return fixtures.make_manifest(tmp_path / "audio", n=24)


def test_seconds_survive_and_an_interrupted_run_leaves_the_same_tables(fixtures, manifest, tmp_path):
    costs = np.linspace(0.1, 0.9, len(manifest))
    write(fixtures, manifest, tmp_path / "whole.h5", costs, n_runs=1)
    write(fixtures, manifest, tmp_path / "pieces.h5", costs, n_runs=3)
    assert fixtures.contents(tmp_path / "whole.h5") == fixtures.contents(tmp_path / "pieces.h5")
    for name in ("whole.h5", "pieces.h5"):
        table = read_store(tmp_path / name)
        rows = {source.key: n for source, n in zip(table.sources, table.n_rows, strict=True)}
        spent = sum(rows[source.key] * cost for source, cost in zip(manifest, costs, strict=True))
        assert len(table.environments) == 1
        assert table.embedding_seconds.sum() == pytest.approx(spent, rel=1e-4)
        assert load_embeddings(tmp_path / name).embedding_seconds.sum() == pytest.approx(spent, rel=1e-4)


def test_older_stores_read_and_their_cost_is_not_made_up(fixtures, manifest, tmp_path):
    old = read_store(OLD)
    assert np.isnan(old.embedding_seconds[old.n_rows > 0]).all()
    write(fixtures, manifest, tmp_path / "half.h5", [None] * 12 + [0.5] * 12, n_runs=2)
    table = read_store(tmp_path / "half.h5")
    assert len(table.environments) == 2
    known = ~np.isnan(table.embedding_seconds)
    assert known[12:].all()
    assert (table.n_rows[:12] > 0).any()
    assert not known[:12][table.n_rows[:12] > 0].any()
    assert table.embedding_seconds[known] == pytest.approx(0.5 * table.n_rows[known])


@pytest.mark.parametrize("value", ['"fast"', "-1", "null", "[1]", "NaN", "1e999"])
def test_a_cost_that_strangers_wrote_is_no_cost(value):
    text = f'{{"seconds_per_row": {value}}}'
    assert np.isnan(seconds_per_row(text))
    assert merged([text, with_cost({}, 0.5)], np.array([1, 1]))[1].tolist() in ([0, 1], [1, 0])
