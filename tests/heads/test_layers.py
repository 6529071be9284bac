"""LayerSelector takes what it says, against plain slices."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from embedx.errors import ParameterError
from embedx.heads.layers import LayerSelector, layer_choices

X = np.random.default_rng(0).normal(size=(7, 4, 5)).astype(np.float32)  # n, L, D
FLAT = X.reshape(7, 20)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (0, X[:, 0]),
        (3, X[:, 3]),
        (-1, X[:, 3]),
        (-4, X[:, 0]),
        ("mean", X.mean(axis=1)),
        ("1-2", X[:, 1:3].mean(axis=1)),
        ("2-2", X[:, 2]),
        ("all", FLAT),
    ],
)
def test_layer(layer, expected):
    found = LayerSelector(n_layers=4, layer=layer).fit_transform(FLAT)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("layer", [4, -5, "2-1", "1-4", "meen", "1-", "", None, 1.5, True, "9999999-99999999"])
def test_a_layer_that_is_not_there(layer):
    with pytest.raises(ParameterError, match=r"X has 4 layers, so a position from 0 to 3"):
        LayerSelector(n_layers=4, layer=layer).fit(FLAT)


@pytest.mark.parametrize("n_layers", [0, -1, 1.5, True, "4"])
def test_a_number_of_layers_that_is_none(n_layers):
    with pytest.raises(ParameterError, match="number of layers in X, 1 or more"):
        LayerSelector(n_layers=n_layers).fit(FLAT)


def test_columns_that_cannot_be_cut():
    with pytest.raises(ParameterError, match="20 columns cannot be cut into n_layers=3"):
        LayerSelector(n_layers=3).fit(FLAT)


def test_one_layer_is_not_copied():
    found = LayerSelector(n_layers=4, layer=2).fit(FLAT).transform(FLAT)
    assert np.shares_memory(found, FLAT)


@pytest.mark.parametrize("n_layers", [2, 5, 6, 13])
def test_every_choice_is_allowed(n_layers):
    data = np.ones((2, n_layers * 3), dtype=np.float32)
    for layer in layer_choices(n_layers).options:
        assert LayerSelector(n_layers=n_layers, layer=layer).fit_transform(data).shape[1] in (3, n_layers * 3)
    assert "learned" in layer_choices(n_layers, learned=True).options


@pytest.mark.parametrize("layer", [5, "mean", "2-4", "all"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_chosen_layers_are_what_a_cast_of_everything_gives(layer, dtype):
    X = np.random.default_rng(0).normal(size=(40, 13 * 8)).astype(dtype)
    full = X.astype(np.float64 if dtype == np.float64 else np.float32).reshape(40, 13, 8)
    expected = {5: full[:, 5], "mean": full.mean(axis=1), "2-4": full[:, 2:5].mean(axis=1), "all": full.reshape(40, -1)}
    found = LayerSelector(n_layers=13, layer=layer).fit_transform(X)
    assert found.dtype == full.dtype
    np.testing.assert_array_equal(found, expected[layer])


def test_only_what_is_used_is_looked_at():
    X = np.ones((6, 13 * 4), dtype=np.float16)
    X[:, :4] = np.nan
    assert (LayerSelector(n_layers=13, layer=5).fit(X).transform(X) == 1).all()
    for layer in ("mean", 0, "all", "0-1"):
        with pytest.raises(ValueError, match="NaN"):
            LayerSelector(n_layers=13, layer=layer).fit(X)


def test_no_copy_of_all_layers_is_made():
    X = np.zeros((2000, 13 * 100), dtype=np.float16)
    tracemalloc.start()
    LayerSelector(n_layers=13).fit_transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * 2000 * 100 * 4, "one layer in float32, and what checks it"
