"""The catalogue: names, parameters, a head of one's own in one entry."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from embedx.checks import require_labels, require_seed
from embedx.errors import DatasetError, EmbedxWarning, ParameterError
from embedx.heads import catalog
from embedx.heads.catalog import (
    CATALOG,
    HeadSpec,
    as_spec,
    check_parameters,
    default_parameters,
    fit_head,
    make_head,
    search_space,
)
from embedx.heads.layers import LayerSelector
from embedx.heads.search_space import Choice, Integer, Real


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_every_dimension_is_a_parameter_and_holds_its_default(name):
    defaults = default_parameters(name)
    for key, dimension in search_space(name, n_layers=5).items():
        assert key in defaults, f"{name} has no parameter {key}"
        value = defaults[key]
        if isinstance(dimension, Choice):
            assert value in dimension.options
        else:
            assert isinstance(dimension, Integer | Real)
            assert dimension.low <= value <= dimension.high


def test_the_layer_is_tuned_only_where_there_are_several():
    assert "layer" not in search_space("logreg", n_layers=1)
    assert 4 in search_space("logreg", n_layers=5)["layer"].options
    assert "layer" not in search_space("logmel", n_layers=5)
    assert "learned" in search_space("mlp", n_layers=5)["layer"].options


def test_two_controls():
    assert {name for name, spec in CATALOG.items() if spec.is_control} == {"majority", "logmel"}


def test_adding_a_head_is_one_entry(monkeypatch, make_dataset, tmp_path):
    from embedx.model import Model, fit_model
    from embedx.tuning import tune

    def bayes(*, n_layers=1, random_state=0, layer="mean", smoothing=1e-9):
        return make_pipeline(LayerSelector(n_layers=n_layers, layer=layer), GaussianNB(var_smoothing=smoothing))

    spec = HeadSpec(name="bayes", title="naive Bayes", factory=bayes, space={"smoothing": Real(1e-12, 1e-3, log=True)})
    monkeypatch.setitem(catalog.CATALOG, "bayes", spec)
    dataset = make_dataset()
    tuned = tune(dataset, "bayes", n_trials=4)
    assert set(tuned.params) == {"smoothing", "layer"}
    model = fit_model(dataset, "bayes", params=tuned.params)
    model.save(tmp_path / "m")
    assert np.array_equal(Model.load(tmp_path / "m").predict_dataset(dataset), model.predict_dataset(dataset))


def test_a_classifier_of_ones_own_gets_the_layers():
    head = make_head(GaussianNB(), n_layers=3, layer=2, var_smoothing=1e-3)
    assert isinstance(head[0], LayerSelector)
    assert head[-1].var_smoothing == 1e-3
    own = make_pipeline(LayerSelector(n_layers=3, layer=1), StandardScaler(), LogisticRegression())
    assert [name for name, _ in make_head(own, n_layers=3).steps] == [name for name, _ in own.steps]
    assert as_spec(own).name == "LogisticRegression"
    assert not as_spec(own).layered


@pytest.mark.parametrize("head", [GaussianNB, StandardScaler(), 3, None, LogisticRegression])
def test_what_is_no_head(head):
    with pytest.raises(ParameterError, match="give a name"):
        make_head(head, n_layers=1)


def test_unknown_names_say_the_nearest():
    with pytest.raises(ParameterError, match="did you mean 'logreg'"):
        make_head("logrek", n_layers=1)
    with pytest.raises(ParameterError, match="parameter of head 'lgbm' 'num_leafs': did you mean 'num_leaves'"):
        make_head("lgbm", n_layers=1, num_leafs=3)
    with pytest.raises(ParameterError, match="'var_smooth': did you mean 'var_smoothing'"):
        make_head(GaussianNB(), n_layers=1, var_smooth=3)


def test_a_seed_reaches_every_head_that_takes_one():
    from sklearn.ensemble import RandomForestClassifier

    assert make_head(RandomForestClassifier(), n_layers=1, random_state=7)[-1].random_state == 7
    assert make_head(RandomForestClassifier(random_state=3), n_layers=1, random_state=7)[-1].random_state == 3
    for name in ("lgbm", "mlp"):
        assert make_head(name, n_layers=1, random_state=7)[-1].random_state == 7


@pytest.mark.parametrize("head", [LinearSVC(), RidgeClassifier(), SVC(), VotingClassifier([("a", LinearSVC())])])
def test_a_classifier_without_probabilities_is_refused_by_name(head):
    with pytest.raises(ParameterError, match=f"{type(head).__name__} gives no probabilities") as caught:
        as_spec(head)
    assert "\n" not in str(caught.value)
    as_spec(CalibratedClassifierCV(LinearSVC()))
    as_spec(StackingClassifier([("a", LinearSVC())]))  # it makes its last step itself


@pytest.mark.parametrize(
    ("head", "params"),
    [
        ("logreg", {"C": "abc"}),
        ("logreg", {"C": float("inf")}),
        ("logreg", {"C": None}),
        ("logreg", {"class_weight": {"a": "b"}}),
        ("logreg", {"layer": None}),
        ("logreg", {"layer": "\u0661-\u0662"}),
        ("logreg", {"layer": 10**400}),
        ("logreg", {"random_state": 1}),
        ("logreg", {"n_layers": 1}),
        ("logreg", {"head": 1}),
        ("lgbm", {"num_leaves": 10**12}),
        ("lgbm", {"n_estimators": 10**400}),
        ("lgbm", {"reg_lambda": None}),
        ("mlp", {"width": 2.0}),
        ("mlp", {"norm": ["a"]}),
        ("mlp", {"class_weight": 3}),
        ("knn", {"n_neighbors": None}),
        ("knn", {"n_neighbors": 0}),
        ("knn", {"metric": "mahalanobis"}),
        ("knn", {"weights": {"a": 1}}),
    ],
)
def test_nonsense_is_one_line_before_any_training(head, params):
    with pytest.raises(ParameterError) as caught:
        check_parameters(head, params, n_layers=3)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_numbers_of_numpy_are_plain_numbers():
    given = {"C": np.float32(0.5), "layer": np.array(1), "class_weight": None}
    found = check_parameters("logreg", given, n_layers=3)
    assert {name: type(value) for name, value in found.items()} == {
        "C": float,
        "layer": int,
        "class_weight": type(None),
    }
    assert Choice(tuple(np.arange(2))).options == (0, 1)
    assert type(Choice(tuple(np.arange(2))).options[0]) is int


def test_all_clips_vote_where_they_are_fewer_than_k():
    X, y = np.random.default_rng(0).normal(size=(4, 3)), np.array(["a", "b", "a", "b"])
    with pytest.warns(EmbedxWarning, match="all of them vote"):
        head = make_head("knn", n_layers=1, n_neighbors=1000, weights="uniform").fit(X, y)
    np.testing.assert_allclose(head.predict_proba(X), 0.5)
    assert head[-1].n_neighbors_ == 4
    assert head.get_params()["head__n_neighbors"] == 1000
    with pytest.raises(ParameterError, match="asks 5 neighbours and has 4 clips"):
        fit_head(KNeighborsClassifier(), X, y)


@pytest.mark.parametrize("bad", [None, float("nan"), np.float64("nan"), pd.NA, pd.NaT])
def test_missing_labels_name_their_rows(bad):
    with pytest.raises(DatasetError, match=r"2 of 4 labels are missing .*rows 1, 3") as caught:
        require_labels(["a", bad, "NA", bad])
    assert "\n" not in str(caught.value)
    require_labels(pd.Series(["a", "nan"]))
    require_labels(np.array([1, 2]))


@pytest.mark.parametrize("bad", [-1, 2**32, float("inf"), "1", True, 1.0])
def test_seeds_that_no_library_takes(bad):
    with pytest.raises(ParameterError, match="seed="):
        require_seed(bad)
    assert 0 <= require_seed(None) < 2**31
    assert require_seed(np.random.RandomState(3)) == require_seed(np.random.RandomState(3))
