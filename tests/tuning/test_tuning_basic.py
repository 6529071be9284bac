"""tune() finds what is there, and sees only the clips that it is given."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import ClassVar

import numpy as np
import optuna
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from embedx.errors import DatasetError, EmbedxWarning, ParameterError
from embedx.heads.catalog import as_spec
from embedx.heads.search_space import Choice, Integer, Real
from embedx.tuning import BUDGETS, tune
from embedx.tuning.objective import FOLD_STEP
from embedx.tuning.pruners import SameStepPruner
from embedx.tuning.run import _task


def facts(tuned):
    return [(t["params"], t["state"], t["value"]) for t in tuned.history]


def test_defaults_are_trial_zero_and_the_best_is_no_worse(make_dataset):
    tuned = tune(make_dataset(), "logreg", n_trials=8)
    first = tuned.history[0]
    assert first["params"] == {"C": 0.1, "class_weight": None, "layer": "mean"}
    assert tuned.value <= first["value"]
    assert tuned.n_trials == len(tuned.history) == 8


def test_the_order_of_an_earlier_version_still_works_and_says_the_new_one(make_dataset):
    with pytest.warns(EmbedxWarning, match=r"now tune\(dataset, head\)"):
        old = tune("knn", make_dataset(), n_trials=1)
    assert old.params == tune(make_dataset(), "knn", n_trials=1).params


@pytest.mark.parametrize("head", ["logreg", "lgbm", "knn", "logmel"])
def test_every_head_can_be_tuned(make_dataset, head):
    dataset = make_dataset()
    tuned = tune(dataset, head, n_trials=6, n_folds=3)
    assert np.isfinite(tuned.value)
    tuned.estimator.fit(dataset.control if head == "logmel" else dataset.X, dataset.y)


def test_it_finds_the_layer_that_knows(make_dataset):
    tuned = tune(make_dataset(n=90, gap=0.7), "logreg", n_trials=20)
    assert tuned.params["layer"] == 1


def test_nothing_to_tune_is_one_trial(make_dataset):
    tuned = tune(make_dataset(), "majority", n_trials=50)
    assert (tuned.n_trials, tuned.params) == (1, {})
    assert tuned.value == pytest.approx(np.log(3), abs=0.05)


def test_equal_seeds_give_equal_studies(make_dataset):
    dataset = make_dataset()
    a, b, c = (tune(dataset, "lgbm", n_trials=14, n_folds=3, seed=seed) for seed in (1, 1, 2))
    assert facts(a) == facts(b)
    assert facts(a) != facts(c)


def test_it_never_sees_the_test_data(make_dataset):
    """Poisoned labels, features and groups of the test part change nothing, down to the last digit."""
    dataset = make_dataset(n=80)
    train, test = np.arange(60), np.arange(60, 80)
    sources = list(dataset.sources)
    for i in test:
        sources[i] = replace(sources[i], label="poison", group="poison")
    X = dataset.X.copy()
    X[test] = np.nan
    poisoned = replace(dataset, sources=tuple(sources), X=X)
    clean, dirty = (tune(one.take(train), "logreg", n_trials=12) for one in (dataset, poisoned))
    assert facts(clean) == facts(dirty)


def test_groups_stay_whole_in_the_inner_folds(make_dataset, monkeypatch):
    from embedx.tuning import objective

    dataset, seen = make_dataset(), []
    original = objective.Task.score

    def spy(task, params, fold, on_epoch=None):
        seen.append((set(task.groups[fold.train]), set(task.groups[fold.test])))
        return original(task, params, fold, on_epoch)

    monkeypatch.setattr(objective.Task, "score", spy)
    tune(dataset, "logreg", n_trials=2)
    assert len(seen) == 10
    assert not any(train & test for train, test in seen)


def test_more_groups_than_clips_of_a_class_are_fewer_folds(make_dataset):
    dataset = make_dataset(n=6)
    alone = dataset.relabel(list(dataset.y), groups=[f"speaker {i}" for i in range(6)])
    assert len(tune(alone, "logreg", n_trials=1).history) == 1


def test_balanced_accuracy_goes_up(make_dataset):
    tuned = tune(make_dataset(gap=0.5), "logreg", n_trials=10, metric="balanced_accuracy")
    assert tuned.value == max(t["value"] for t in tuned.history if t["state"] == "complete")


def test_ones_own_classifier_with_a_space(make_dataset):
    space = {"C": Real(1e-3, 1e3, log=True), "fit_intercept": Choice((True, False)), "max_iter": Integer(50, 100)}
    tuned = tune(make_dataset(), LogisticRegression(), space=space, n_trials=5)
    assert set(tuned.params) == {"C", "fit_intercept", "max_iter", "layer"}
    assert set(tune(make_dataset(), GaussianNB(), n_trials=3).params) == {"layer"}


def test_hopeless_trials_are_given_up(make_dataset):
    dataset = make_dataset(n=90, gap=0.8)
    tuned = tune(dataset, "logreg", n_trials=30)
    assert tuned.n_pruned > 0
    assert tune(dataset, "logreg", n_trials=12, pruner="none").n_pruned == 0
    assert tune(dataset, "logreg", n_trials=12, pruner="hyperband").n_trials == 12


def test_epochs_of_the_network_are_pruned(make_dataset):
    space = {"learning_rate": Choice((1e-3, 1e-7)), "layer": Choice((1,)), "max_epochs": Choice((40,))}
    tuned = tune(make_dataset(groups=False), "mlp", n_trials=12, n_folds=2, space=space)
    assert tuned.params["learning_rate"] == 1e-3
    given_up = [t for t in tuned.history if t["state"] == "pruned"]
    assert given_up
    assert any(t["last_step"] < FOLD_STEP for t in given_up), "none was given up between two epochs"


def test_parallel_folds_give_the_same_study(make_dataset):
    dataset = make_dataset()
    one, two = (tune(dataset, "lgbm", n_trials=4, n_jobs=n, pruner="none") for n in (1, 2))
    assert facts(one) == facts(two)


def test_a_timeout_stops_between_folds(make_dataset):
    started = time.monotonic()
    tuned = tune(make_dataset(), "logreg", n_trials=100_000, timeout_seconds=1.5)
    assert time.monotonic() - started < 15
    assert 1 <= tuned.n_trials < 100_000


def test_progress_says_the_best_so_far(make_dataset):
    calls = []
    tune(make_dataset(), "logreg", n_trials=4, progress=lambda done, total, **more: calls.append((done, total, more)))
    assert [(done, total) for done, total, _ in calls] == [(i, 4) for i in (1, 2, 3, 4)]
    best = [float(more["best"]) for *_, more in calls]
    assert best == sorted(best, reverse=True)


class Picky(LogisticRegression):
    """Refuses what lies above its limit, and clips of too few."""

    def fit(self, X, y, sample_weight=None):
        if self.C > 1 or len(X) < 10:
            raise ValueError(f"C={self.C} is too much for {len(X)} clips")
        return super().fit(X, y, sample_weight)


def test_parameters_that_a_head_refuses_cost_a_trial_not_the_study(make_dataset):
    space = {"C": Real(0.01, 100.0, log=True)}
    tuned = tune(make_dataset(), Picky(C=0.1), n_trials=12, n_folds=3, seed=1, space=space)
    assert {t["state"] for t in tuned.history} >= {"complete", "fail"}
    assert tuned.params["C"] <= 1


def test_clips_that_a_head_refuses_are_one_sentence(make_dataset):
    with pytest.raises(DatasetError, match=r"head 'Picky' cannot learn from these clips: C=0\.1 is too much") as caught:
        tune(make_dataset(n=6, groups=False), Picky(C=0.1), n_trials=3)
    assert "\n" not in str(caught.value)


def test_fewer_clips_than_neighbours_stop_no_trial(make_dataset):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmbedxWarning)
        tuned = tune(make_dataset(n=6, n_classes=3, groups=False), "knn", n_trials=4)
    assert {t["state"] for t in tuned.history} <= {"complete", "pruned"}


@pytest.mark.parametrize("n_rare", [1, 2])
def test_a_rare_class_stops_no_trial(make_dataset, n_rare):
    dataset = make_dataset(n_classes=2, groups=False)
    common = [i for i, source in enumerate(dataset.sources) if source.label == "class 0"]
    rare = [i for i, source in enumerate(dataset.sources) if source.label == "class 1"][:n_rare]
    two = [replace(s, label="class 2") if i % 4 == 0 else s for i, s in enumerate(dataset.sources)]
    tuned = tune(replace(dataset, sources=tuple(two)).take(sorted([*common, *rare])), "logreg", n_trials=2)
    assert all(t["state"] == "complete" for t in tuned.history)
    assert tuned.value < 2, "a clip of a class that its fold did not learn costs 16 nats, and says nothing"


class Scripted(LogisticRegression):
    """Notes at every fit which C is tried."""

    fits: ClassVar[list[float]] = []

    def fit(self, X, y, sample_weight=None):
        self.fits.append(round(self.C, 9))
        return super().fit(X, y, sample_weight)


def test_hyperband_shares_out_folds(make_dataset):
    """Hopeless trials end at different rungs, after 1, 2 or 4 folds; the defaults are finished."""
    space = {"C": Real(1e-6, 10.0, log=True), "layer": Choice((1,))}
    tuned = tune(make_dataset(n=90, gap=0.8), Scripted(C=1.0), n_trials=30, space=space, pruner="hyperband")
    ends = [t["last_step"] for t in tuned.history if t["state"] == "pruned"]
    assert tuned.history[0]["state"] == "complete"
    assert tuned.history[0]["last_step"] == 5
    assert set(ends) <= {1, 2, 4}
    assert len(set(ends)) > 1, "everything was decided at one step"


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_folds_are_compared_with_the_same_folds(direction):
    """The first fold is easy for everyone: having been good there saves nobody at the second."""
    sign = 1 if direction == "minimize" else -1
    study = optuna.create_study(direction=direction, pruner=SameStepPruner())
    for shift in range(6):
        steps = {FOLD_STEP + 1: sign * (0.1 + shift / 100), FOLD_STEP + 2: sign * (1.0 + shift / 100)}
        study.add_trial(optuna.trial.create_trial(value=sign * 1.0, intermediate_values=steps))
    for second, expected in ((0.9, False), (1.5, True)):
        trial = study.ask()
        trial.report(sign * 0.1, FOLD_STEP + 1)
        assert not trial.should_prune()
        trial.report(sign * second, FOLD_STEP + 2)
        assert trial.should_prune() is expected
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "acuracy"}, "unknown metric"),
        ({"pruner": "median "}, "did you mean 'median'"),
        ({"n_trials": 0}, "n_trials=0"),
        ({"n_folds": 1}, "n_folds=1"),
        ({"timeout_seconds": 0.0}, "timeout_seconds=0"),
        ({"n_jobs": 0}, "n_jobs=0"),
    ],
)
def test_bad_options(make_dataset, options, message):
    with pytest.raises(ParameterError, match=message):
        tune(make_dataset(), "logreg", **options)


def test_data_that_cannot_be_cross_validated(make_dataset):
    dataset = make_dataset()
    one_group = replace(dataset, sources=tuple(replace(s, group="g") for s in dataset.sources))
    a_group_a_class = replace(dataset, sources=tuple(replace(s, group=s.label) for s in dataset.sources))
    with pytest.raises(DatasetError, match="two groups or more"):
        tune(one_group, "logreg")
    with pytest.raises(DatasetError, match="every clip is of one group"):
        tune(dataset.take([0, 1, 2, 3]), "logreg")
    with pytest.raises(DatasetError, match="classes in several groups"):
        tune(a_group_a_class.take(two_classes(a_group_a_class)), "logreg")


def two_classes(dataset):
    return [i for i, source in enumerate(dataset.sources) if source.label != "class 2"]


def test_budgets_are_ordered():
    assert BUDGETS["fast"].n_trials < BUDGETS["default"].n_trials < BUDGETS["thorough"].n_trials


@pytest.mark.parametrize("head", ["logreg", "mlp"])
def test_sets_of_labels_are_tuned_by_average_precision_with_groups_whole(head, make_dataset):
    dataset = make_dataset(n=60, multi_label=True)
    found = tune(dataset, head, n_trials=2, n_folds=3)
    assert (found.metric, found.n_trials) == ("mean_average_precision", 2)
    assert found.value == max(trial["value"] for trial in found.history if trial["value"] is not None)
    assert 0.5 < found.value <= 1
    task = _task(as_spec(head), dataset, metric=found.metric, n_folds=3, seed=0)
    for fold in task.folds:
        assert not set(dataset.groups[fold.train]) & set(dataset.groups[fold.test])
        assert task.y[fold.test].any(0).all()
    value = np.mean([task.score(dict(found.params), fold) for fold in task.folds])
    assert value == pytest.approx(found.value)
    assert found.estimator.fit(dataset.X, dataset.Y).predict_proba(dataset.X).shape == (60, 3)
    with pytest.raises(ParameterError, match="learns one label a clip"):
        tune(dataset, "knn", n_trials=1)
