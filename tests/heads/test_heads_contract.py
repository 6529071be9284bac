"""Every head on embeddings is a scikit-learn citizen: scikit-learn's own checks, then what they do not cover."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from embedx.errors import ParameterError
from embedx.heads.catalog import CATALOG, fit_head, make_head
from embedx.heads.layers import LayerSelector
from embedx.heads.mlp import MLPClassifier

NAMES = [name for name, spec in CATALOG.items() if spec.input_kind != "sources"]
EMBEDDING_HEADS = [name for name in NAMES if CATALOG[name].layered]

_PIPELINE = "scikit-learn's own Pipeline fits its steps in place; scikit-learn exempts it by the same two names"
_WORDING = (
    "LightGBM refuses such labels too, in its own words; the check demands scikit-learn's words from a Pipeline, "
    "whatever its last step is (test_lightgbm_refuses_labels_that_are_no_numbers holds the refusal)"
)
_STOCHASTIC = (
    "a clip of weight 2 and a clip given twice fall into other batches and another held-out part; "
    "scikit-learn exempts its stochastic SGDClassifier for the same reason"
)


def expected_failures(estimator):
    if isinstance(estimator, MLPClassifier):
        return {"check_sample_weight_equivalence_on_dense_data": _STOCHASTIC}
    if not isinstance(estimator, Pipeline):
        return {}
    known = {"check_dont_overwrite_parameters": _PIPELINE, "check_estimators_overwrite_params": _PIPELINE}
    if type(estimator[-1]).__name__ == "LGBMClassifier":
        known["check_supervised_y_no_nan"] = _WORDING
    return known


@parametrize_with_checks(
    [*(make_head(name, n_layers=1) for name in NAMES), LayerSelector(), MLPClassifier()],
    expected_failed_checks=expected_failures,
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    labels = np.array(["dog", "cat", "owl"])[np.arange(60) % 3]
    X = rng.normal(size=(60, 3, 8))
    X[:, 1] += (np.arange(60) % 3)[:, None] * 2.0
    return X.reshape(60, -1).astype(np.float32), labels, np.repeat(np.arange(10), 6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_lightgbm_refuses_labels_that_are_no_numbers(value):
    with pytest.raises(ValueError, match=r"(?i)unknown label type|nan|infinity"):
        make_head("lgbm", n_layers=1).fit(np.random.default_rng(0).normal(size=(10, 5)), np.full(10, value))


@pytest.mark.parametrize("name", NAMES)
def test_string_labels_probabilities_and_names(clips, name):
    X, y, _ = clips
    head = make_head(name, n_layers=3).fit(X, y)
    proba = head.predict_proba(X)
    assert list(head.classes_) == ["cat", "dog", "owl"]
    assert proba.shape == (60, 3)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(head.predict(X), head.classes_[proba.argmax(axis=1)])
    if not isinstance(head, DummyClassifier):
        assert head.n_features_in_ == 24


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_heads_and_a_clone_is_one(clips, name):
    X, y, _ = clips
    head = make_head(name, n_layers=3, random_state=3)
    twins = [clone(head).fit(X, y).predict_proba(X), head.fit(X, y).predict_proba(X)]
    np.testing.assert_array_equal(*twins)
    assert clone(head).get_params().keys() == head.get_params().keys()


@pytest.mark.parametrize("name", EMBEDDING_HEADS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float32_is_kept_and_float16_becomes_float32(clips, name, dtype):
    X, y, _ = clips
    head = make_head(name, n_layers=3, layer=1)
    head.fit(X.astype(dtype), y)
    selected = head[0].transform(X.astype(dtype))
    assert selected.dtype == (np.float64 if dtype is np.float64 else np.float32)
    assert head.score(X.astype(dtype), y) > 0.9


@pytest.mark.parametrize("name", EMBEDDING_HEADS)
def test_grid_search_over_the_layer(clips, name):
    X, y, groups = clips
    search = GridSearchCV(make_head(name, n_layers=3), {"layers__layer": [0, 1]}, cv=GroupKFold(3))
    search.fit(X, y, groups=groups)
    assert search.best_params_ == {"layers__layer": 1}


def test_cross_validation_and_a_pipeline_around_a_head(clips):
    X, y, groups = clips
    head = make_head("logreg", n_layers=3, layer=1)
    assert cross_val_score(head, X, y, cv=GroupKFold(3), groups=groups).mean() > 0.9
    assert cross_val_predict(make_pipeline(MinMaxScaler(), head), X, y, method="predict_proba").shape == (60, 3)


def test_groups_and_weights_are_routed(clips):
    X, y, groups = clips
    weight = np.where(y == "owl", 5.0, 1.0)
    with config_context(enable_metadata_routing=True):
        for name in ("mlp", "logreg", "lgbm"):
            head = make_head(name, n_layers=3)
            params = {"sample_weight": weight, "groups": groups}
            found = cross_validate(head, X, y, cv=GroupKFold(3), params=params, return_estimator=True)
            assert len(found["estimator"]) == 3, name


def test_fit_head_passes_what_the_last_step_takes(clips):
    X, y, groups = clips
    weight = np.where(y == "owl", 50.0, 1.0)
    plain, weighted = (
        fit_head(make_head("logreg", n_layers=3, layer=0), X, y, groups=groups, sample_weight=w) for w in (None, weight)
    )
    assert (weighted.predict(X) == "owl").mean() > (plain.predict(X) == "owl").mean()
    with pytest.raises(ParameterError, match="NeighborsClassifier takes no sample_weight"):
        fit_head(make_head("knn", n_layers=3), X, y, sample_weight=weight)


def test_set_output_names_the_columns(clips):
    names = LayerSelector(n_layers=3, layer="0-1").fit(clips[0]).get_feature_names_out()
    assert list(names[:2]) == ["layer_0-1_0", "layer_0-1_1"]
    assert len(names) == 8
    assert list(LayerSelector(n_layers=3, layer="all").fit(clips[0]).get_feature_names_out()[:2]) == ["x0", "x1"]


def test_a_head_imports_what_it_needs_when_it_is_made():
    source = inspect.getsource(inspect.getmodule(CATALOG["lgbm"].factory))
    assert "\nimport lightgbm" not in source
    assert "\nfrom lightgbm" not in source
