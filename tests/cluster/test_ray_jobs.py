"""Folds and trials on a Ray cluster: the numbers are those of this machine."""

import numpy as np
import pytest

from benchmarks.after_store.steps import fill
from embedx.comparison import compare
from embedx.dataset import load_embeddings
from embedx.errors import ParameterError
from embedx.tuning import tune


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "emb.h5"
    fill(store, 160, n_layers=2, dim=8)
    return load_embeddings(store)


def test_compare_and_tune_find_the_same_on_a_cluster(ray_cluster, clips):
    cluster = {"jobs_backend": "ray", "address": ray_cluster.address, "n_jobs": 2}
    done = []
    here = compare(clips, ["logreg"], folds=3, curves=False)
    there = compare(clips, ["logreg"], folds=3, curves=False, progress=lambda *n, **_: done.append(n), **cluster)
    assert all(np.array_equal(here.proba[name], there.proba[name]) for name in here.proba)
    assert done == [(i, 12) for i in range(1, 13)]
    here, there = (tune(clips, "logreg", n_trials=2, pruner="none", **options) for options in ({}, cluster))
    assert here.value == there.value
    assert here.params == there.params


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"jobs_backend": "dask"}, "unknown jobs_backend 'dask'.*loky, ray"),
        ({"address": "auto"}, "add jobs_backend='ray'"),
    ],
)
def test_what_cannot_be_is_said_before_any_fit(clips, options, said):
    for work in (lambda: compare(clips, ["logreg"], **options), lambda: tune(clips, "logreg", **options)):
        with pytest.raises(ParameterError, match=said):
            work()
