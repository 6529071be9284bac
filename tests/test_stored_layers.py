"""Embeddings that are left on disk give what embeddings in memory give, bit for bit."""

import os
import pickle

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from embedx import compare, fit_model, inspect_data, load_embeddings
from embedx.errors import StoreFormatError
from embedx.pooling import StoredLayers


@pytest.fixture(scope="module", params=["one window", "several windows"])
def store(request, tone_folder, tmp_path_factory):
    from embedx import extract_embeddings, read_manifest

    place = tmp_path_factory.mktemp("stored") / "emb.h5"
    windows = {"window_seconds": 0.5, "hop_seconds": 0.3} if request.param == "several windows" else {}
    extract_embeddings(read_manifest(tone_folder), place, encoder="tiny", **windows)
    return place


@pytest.fixture
def both(store):
    return load_embeddings(store), load_embeddings(store, most_bytes=0)


def test_all_of_it_and_some_of_it(both):
    held, left = both
    assert isinstance(left.X, StoredLayers)
    assert (left.X.shape, left.X.dtype, left.dim) == (held.X.shape, held.X.dtype, held.dim)
    np.testing.assert_array_equal(np.asarray(left.X), held.X)
    np.testing.assert_array_equal(left.control, held.control)
    some = np.array([7, 0, 3, 3])
    np.testing.assert_array_equal(np.asarray(left.take(some).take([2, 0]).X), held.X[some][[2, 0]])
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(left.X[some]))), held.X[some])
    np.testing.assert_array_equal(np.asarray(left.X[:5][1:]), held.X[1:5])
    np.testing.assert_array_equal(left.average_layers(), held.average_layers())


def test_some_layers_of_the_store(store):
    held, left = load_embeddings(store, layers=[1, 3]), load_embeddings(store, layers=[1, 3], most_bytes=0)
    np.testing.assert_array_equal(np.asarray(left.X), held.X)


@pytest.mark.parametrize("layer", ["mean", "all", 0, -1, "1-2"])
@pytest.mark.parametrize("head", ["logreg", "lgbm"])
def test_heads_learn_the_same(both, head, layer):
    held, left = both
    first, second = (fit_model(one, head, params={"layer": layer}) for one in both)
    np.testing.assert_array_equal(first.predict_proba(held), second.predict_proba(left))


def test_a_comparison_in_two_processes_and_a_look_at_the_data_are_the_same(both, monkeypatch):
    monkeypatch.setattr("embedx.comparison.fit_schedule.START_SECONDS", 0)
    options = {"heads": ("logreg", LinearDiscriminantAnalysis()), "folds": 3, "auto": False, "n_jobs": 2}
    first, second = (compare(one, **options) for one in both)
    for row in first.rows:
        np.testing.assert_array_equal(first.proba[row.name], second.proba[row.name])
    first, second = (inspect_data(one, audio=False).to_dict() for one in both)
    assert first == second


def test_a_file_that_changes_meanwhile_is_refused(store, both):
    os.utime(store, ns=(1, 1))
    with pytest.raises(StoreFormatError, match="has changed since it was opened"):
        np.asarray(both[1].X)


def test_small_embeddings_are_held(store):
    assert isinstance(load_embeddings(store, most_bytes=2**30).X, np.ndarray)
