"""Estimators that a hostile file could hold: no index may lead compiled code out of its arrays."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from embedx.heads.catalog import make_head
from embedx.heads.safe_loading import check_estimator, refuse_unreadable

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 5))
Y = np.arange(60) % 3
HONEST = {
    "tree": DecisionTreeClassifier(max_depth=3),
    "forest": RandomForestClassifier(3),
    "boosting": GradientBoostingClassifier(n_estimators=2),
    "histograms": HistGradientBoostingClassifier(max_iter=2),
    "bagging": BaggingClassifier(n_estimators=2, max_features=0.5),
    "adaboost": AdaBoostClassifier(n_estimators=2),
    "svc": SVC(),
    "neighbors": KNeighborsClassifier(algorithm="brute"),
    "kd_tree": KNeighborsClassifier(algorithm="kd_tree"),
    "ball_tree": RadiusNeighborsClassifier(9.0, algorithm="ball_tree"),
    "search": GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, cv=2),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    "knn": make_head("knn", n_layers=1),
    "mlp": make_head("mlp", n_layers=1, max_epochs=1),
}


def fitted(name):
    from sklearn.base import clone

    return clone(HONEST[name]).fit(X, Y)


@pytest.mark.parametrize("name", HONEST)
def test_what_was_really_trained_passes_and_predicts_the_same(name):
    head = fitted(name)
    expected = head.predict(X)
    check_estimator(head)
    np.testing.assert_array_equal(head.predict(X), expected)


def edit_tree(tree, **changes):
    """Write into the arrays of a tree as a file does, through its state."""
    state = tree.__getstate__()
    nodes = state["nodes"].copy()
    for field, (node, value) in changes.items():
        if field == "max_depth":
            state["max_depth"] = value
        else:
            nodes[field][node] = value
    tree.__setstate__({**state, "nodes": nodes})


@pytest.mark.parametrize(
    "changes",
    [
        {"left_child": (0, 0)},  # an endless loop
        {"left_child": (0, 10**6)},
        {"right_child": (0, -7)},
        {"right_child": (0, 1)},  # two parents
        {"left_child": (0, -1)},  # a leaf on one side only
        {"feature": (0, 5)},
        {"feature": (0, -2)},
        {"feature": (0, 10**9)},
        {"threshold": (0, np.nan)},
        {"max_depth": (0, 0)},
    ],
)
@pytest.mark.parametrize("name", ["tree", "forest", "boosting"])
def test_a_tree_that_points_outside_is_refused(name, changes):
    head = fitted(name)
    tree = head.tree_ if name == "tree" else np.ravel(head.estimators_)[0].tree_
    edit_tree(tree, **changes)
    with pytest.raises(ValueError, match="Tree is damaged"):
        check_estimator(make_pipeline(StandardScaler(), head))


def test_rows_narrower_than_a_tree_takes_are_refused():
    for name in ("tree", "forest", "boosting", "histograms"):
        head = fitted(name)
        head.n_features_in_ = 2
        with pytest.raises(ValueError, match="is damaged"):
            check_estimator(head)
        del head.n_features_in_
        with pytest.raises(ValueError, match="n_features_in_"):
            check_estimator(head)


def test_more_outputs_than_there_is_room_for_are_refused():
    head = fitted("boosting")
    head.estimators_ = np.tile(head.estimators_, (1, 50))
    with pytest.raises(ValueError, match="estimators_"):
        check_estimator(head)
    head = fitted("boosting")
    head.init_.class_prior_, head.init_.classes_ = np.array([0.5, 0.5]), np.array([0, 1])
    with pytest.raises(ValueError, match=r"init_|n_classes|shape|broadcast"):
        check_estimator(head)


@pytest.mark.parametrize(
    ("field", "value"), [("left", 10**6), ("left", 0), ("feature_idx", 5), ("feature_idx", -1), ("is_categorical", 1)]
)
def test_histogram_boosting(field, value):
    head = fitted("histograms")
    head._predictors[0][0].nodes[field][0] = value
    with pytest.raises(ValueError, match="is damaged"):
        check_estimator(head)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_n_support", np.array([10**6, 0, 0], dtype=np.int32)),
        ("_n_support", np.array([-5, 30, 2], dtype=np.int32)),
        ("support_vectors_", np.zeros((2, 5))),
        ("support_vectors_", np.zeros((40, 500))),
        ("_dual_coef_", np.zeros((1, 3))),
        ("_intercept_", np.zeros(1)),
        ("_probA", np.zeros(2)),
        ("kernel", "precomputed"),
        ("_sparse", True),
        ("classes_", np.arange(50)),
    ],
)
def test_support_vectors(name, value):
    head = fitted("svc")
    setattr(head, name, value)
    with pytest.raises(ValueError, match="SVC is damaged"):
        check_estimator(head)


def test_neighbours():
    for name, value in (
        ("_y", np.full(60, 99)),
        ("_y", np.zeros(3, dtype=int)),
        ("n_samples_fit_", 10**6),
        ("_fit_X", np.zeros((60, 2))),
        ("_fit_X", X.astype(object)),
        ("_fit_method", "other"),
    ):
        head = fitted("neighbors")
        setattr(head, name, value)
        with pytest.raises(ValueError, match="is damaged"):
            check_estimator(head)


def test_a_search_tree_is_made_anew():
    head = fitted("kd_tree")
    expected, state = head.predict(X), list(head._tree.__getstate__())
    state[1] = np.full_like(state[1], 10**9)  # the order of the clips
    head._tree.__setstate__(tuple(state))
    check_estimator(head)
    np.testing.assert_array_equal(head.predict(X), expected)


def test_what_cannot_be_checked_is_refused_by_name():
    with pytest.raises(ValueError, match=r"KDTree, whose contents embedx cannot check"):
        check_estimator(KernelDensity().fit(X))
    for name in ("lightgbm.basic.Booster", "xgboost.core.Booster"):
        with pytest.raises(ValueError, match=rf"it holds a {name}"):
            refuse_unreadable(["collections.OrderedDict", name])


def test_sparse_coefficients_point_inside():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head = LogisticRegression().fit(X, Y).sparsify()
    check_estimator(head)
    head.coef_.indices[0] = 10**6
    with pytest.raises(ValueError, match="indices"):
        check_estimator(head)
