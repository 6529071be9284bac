"""The catalogue: names, parameters, a head of one's own in one entry."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embedx.errors import ParameterError
from embedx.heads import catalog
from embedx.heads.catalog import CATALOG, HeadSpec, as_spec, default_parameters, make_head, search_space
from embedx.heads.layers import LayerSelector
from embedx.heads.space import Choice, Integer, Real


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
    tuned = tune("bayes", dataset, n_trials=4)
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
