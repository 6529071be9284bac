"""Heads for several labels a clip: scikit-learn's one-vs-rest, a sigmoid network, thresholds from held-out scores."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB

from embedx.errors import ParameterError
from embedx.heads.catalog import make_head
from embedx.heads.multi_label import MultiLabelHead, best_thresholds, make_multi_label_head
from embedx.heads.one_vs_rest import OneVsRest
from embedx.testing import make_dataset

DATA = make_dataset(n=180, multi_label=True)


def test_one_vs_rest_is_that_of_scikit_learn():
    X, Y = np.asarray(DATA.X, np.float32), DATA.Y
    own = OneVsRest(LogisticRegression()).fit(X, Y).predict_proba(X)
    assert np.allclose(own, OneVsRestClassifier(LogisticRegression()).fit(X, Y.astype(int)).predict_proba(X))


@pytest.mark.parametrize("name", ["logreg", "lgbm"])
def test_a_column_is_the_single_label_head_for_that_class(name):
    both = make_multi_label_head(name, n_layers=3).fit(DATA.X, DATA.Y).predict_proba(DATA.X)
    for j in range(3):
        alone = make_head(name, n_layers=3).fit(DATA.X, DATA.Y[:, j].astype(int))
        assert np.allclose(both[:, j], alone.predict_proba(DATA.X)[:, 1], atol=1e-6)


@pytest.mark.parametrize("name", ["logreg", "lgbm", "mlp"])
def test_a_head_finds_sets_it_has_not_learned_from(name):
    train, test = DATA.take(np.arange(120)), DATA.take(np.arange(120, 180))
    head = MultiLabelHead(name, n_layers=3, layer=1).fit(train.X, train.Y, train.classes, groups=train.groups)
    proba = head.predict_proba(test.X)
    assert proba.dtype == np.float64
    assert ((proba >= 0) & (proba <= 1)).all()
    assert not np.allclose(proba.sum(1), 1)
    assert f1_score(test.Y, head.predict(test.X), average="macro") > 0.7


def test_the_control_predicts_the_share_of_each_class():
    head = MultiLabelHead("majority", n_layers=3).fit(DATA.X, DATA.Y, DATA.classes)
    assert np.allclose(head.predict_proba(DATA.X), DATA.Y.mean(0))
    assert head.predict(DATA.X).all()  # giving every class to every clip has the largest F1 without listening


def test_thresholds_are_those_of_the_largest_f1():
    rng = np.random.default_rng(0)
    Y, scores = rng.random((80, 4)) < 0.3, np.round(rng.random((80, 4)), 1)
    found = best_thresholds(Y, scores)
    for j in range(4):
        every = [f1_score(Y[:, j], scores[:, j] >= t) for t in np.linspace(0, 1, 201)]
        assert f1_score(Y[:, j], scores[:, j] >= found[j]) == pytest.approx(max(every))


def test_thresholds_without_scores_are_a_half():
    Y = np.array([[True, False], [False, False]])
    assert best_thresholds(Y, np.full((2, 2), np.nan)).tolist() == [0.5, 0.5]


def test_thresholds_never_see_other_clips():
    train = DATA.take(np.arange(90))
    X, Y = np.asarray(train.X, np.float32), train.Y
    thresholds = MultiLabelHead("logreg", n_layers=3).fit(X, Y, train.classes, groups=train.groups).thresholds_
    again = MultiLabelHead("logreg", n_layers=3).fit(X, Y, train.classes, groups=train.groups).thresholds_
    assert np.array_equal(thresholds, again)
    assert ((thresholds >= 0) & (thresholds <= 1)).all()


@pytest.mark.parametrize("name", ["logreg", "lgbm", "mlp"])
def test_a_class_that_no_clip_or_every_clip_has_is_learned_as_such(name):
    Y = np.column_stack([DATA.Y[:, :1], np.zeros((len(DATA), 1), bool), np.ones((len(DATA), 1), bool)])
    head = MultiLabelHead(name, n_layers=3).fit(DATA.X, Y, ["a", "none", "all"])
    proba = head.predict_proba(DATA.X)
    assert proba[:, 1].max() < 0.2
    assert proba[:, 2].min() > 0.8
    assert head.predict(DATA.X)[:, 2].all()


@pytest.mark.parametrize("head", ["knn", "finetune", GaussianNB(), LogisticRegression()])
def test_other_heads_refuse_in_one_line(head):
    with pytest.raises(ParameterError, match="learns one label a clip: several a clip are learned by logreg, lgbm and"):
        make_multi_label_head(head, n_layers=3)


def test_weights_by_class_are_refused():
    with pytest.raises(ParameterError, match="class_weight by class"):
        make_multi_label_head("logreg", n_layers=3, class_weight={"a": 2})
    with pytest.raises(ParameterError, match="takes no weights"):
        make_multi_label_head("mlp", n_layers=3, class_weight="balanced").fit(DATA.X, DATA.Y)
