"""Temperature and isotonic curves against data whose true probabilities are known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from embedx.errors import EmbedxWarning, ParameterError
from embedx.heads.calibration import Calibration, fit_calibration


def overconfident(n, factor=3.0, seed=0):
    """True probabilities, labels drawn from them, and predictions that are ``factor`` times too sure."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 4))

    def softmax(z):
        e = np.exp(z - z.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    true = softmax(scores)
    codes = (true.cumsum(1) > rng.random((n, 1))).argmax(1)
    return true, codes, softmax(scores * factor)


def test_temperature_finds_the_factor():
    true, codes, proba = overconfident(20_000)
    found = fit_calibration(codes, proba, method="temperature")
    assert found.temperature == pytest.approx(3.0, rel=0.05)
    np.testing.assert_allclose(found.apply(proba), true, atol=0.02)


def test_isotonic_mends_what_temperature_cannot():
    _, codes, proba = overconfident(20_000)
    bent = proba**3
    bent /= bent.sum(1, keepdims=True)
    bent[:, 0] *= 0.2
    bent /= bent.sum(1, keepdims=True)

    def loss(p):
        return -np.log(np.maximum(p[np.arange(len(codes)), codes], 1e-7)).mean()

    losses = {m: loss(fit_calibration(codes, bent, method=m).apply(bent)) for m in ("temperature", "isotonic")}
    assert losses["isotonic"] < losses["temperature"] < loss(bent)


def test_isotonic_from_a_thousand_clips():
    for n, method in ((999, "temperature"), (1000, "isotonic")):
        _, codes, proba = overconfident(n)
        assert fit_calibration(codes, proba).method == method


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_rows_sum_to_one_whatever_comes(method):
    _, codes, proba = overconfident(500)
    extremes = np.vstack([np.eye(4), np.full((1, 4), 0.25), [[1e-30, 1, 0, 0]]])
    corrected = fit_calibration(codes, proba, method=method).apply(extremes)
    np.testing.assert_allclose(corrected.sum(1), 1)
    assert (corrected > 0).all()


def test_a_calibrated_head_is_left_as_it_is():
    assert fit_calibration(np.array([0, 1]), np.array([[0.5, 0.5]] * 2)).apply(np.array([[0.5, 0.5]])).tolist() == [
        [0.5, 0.5]
    ]
    np.testing.assert_allclose(Calibration(method="temperature").apply(np.array([[0.7, 0.3]])), [[0.7, 0.3]])


def test_an_unknown_method():
    with pytest.raises(ParameterError, match="calibration 'platt'"):
        fit_calibration(np.array([0]), np.array([[1.0]]), method="platt")


def test_a_class_that_a_fold_did_not_learn_says_nothing():
    """NaN is 'not learned': the temperature is the one of the other predictions, whatever stands for that class."""
    _, codes, proba = overconfident(4000)
    lacking = np.column_stack([proba, np.full(len(codes), np.nan)])
    found = fit_calibration(codes, lacking, method="temperature")
    assert found.temperature == pytest.approx(fit_calibration(codes, proba, method="temperature").temperature, rel=1e-3)
    np.testing.assert_allclose(np.nansum(found.apply(lacking), axis=1), 1)


def test_isotonic_needs_every_class():
    _, codes, proba = overconfident(2000)
    unseen = np.column_stack([proba * 0.9, np.full(len(codes), 0.1)])
    with pytest.warns(EmbedxWarning, match="1 of 5 have none: one temperature"):
        found = fit_calibration(codes, unseen)
    assert found.method == "temperature"
    assert found.apply(unseen)[:, 4].min() > 0.001, "a class that was not tested is not impossible"


def test_a_head_that_is_always_right_is_not_made_endlessly_sure():
    codes = np.arange(60) % 3
    proba = np.where(np.eye(3)[codes] == 1, 0.7, 0.15)
    found = fit_calibration(codes, proba, method="temperature")
    assert 0.05 < found.temperature < 1
    assert 0.9 < found.apply(proba).max() < 0.995


def test_a_temperature_at_its_bound_is_noticed():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 3000)
    guesses = np.full((3000, 3), 1e-6)
    guesses[np.arange(3000), rng.integers(0, 3, 3000)] = 1.0
    with pytest.warns(EmbedxWarning, match=r"ran to its bound \(20\), .* no better than guesses"):
        fit_calibration(codes, guesses / guesses.sum(1, keepdims=True), method="temperature")


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_class_of_one_group_does_not_ruin_the_model(make_dataset, method):
    """Its clips are predicted by a head that never learned it: 16 nats each, which no temperature is to answer for."""
    from dataclasses import replace

    from embedx.evaluation.metrics import score
    from embedx.model import fit_model

    dataset = make_dataset(n=120, gap=1.0)
    sources = [replace(s, group="one site") if s.label == "class 1" else s for s in dataset.sources]
    train, fresh = replace(dataset, sources=tuple(sources)).take(range(90)), dataset.take(range(90, 120))
    losses = {}
    for calibrate in (False, method):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EmbedxWarning)
            model = fit_model(train, "logreg", params={"layer": 1}, calibrate=calibrate)
        losses[calibrate] = score(fresh.y, model.predict_proba(fresh), model.classes)["log_loss"]
    assert model.scores["calibration"]["n_clips"] == 60
    assert model.scores["calibration"]["log_loss_after"] <= model.scores["calibration"]["log_loss_before"]
    assert losses[method] < losses[False] + 0.1


def test_what_cannot_be_calibrated_is_refused_before_training(make_dataset):
    from dataclasses import replace

    from embedx.errors import DatasetError
    from embedx.model import fit_model

    dataset = make_dataset(n_classes=2)
    a_group_a_class = replace(dataset, sources=tuple(replace(s, group=s.label) for s in dataset.sources))
    with pytest.raises(DatasetError, match="calibration needs classes in several groups"):
        fit_model(a_group_a_class, "logreg", calibrate=True)


def test_more_groups_than_clips_of_a_class_are_fewer_folds(make_dataset):
    from embedx.model import fit_model

    dataset = make_dataset(n=6)
    alone = dataset.relabel(list(dataset.y), groups=[f"speaker {i}" for i in range(6)])
    assert fit_model(alone, "knn", calibrate=True).scores["calibration"]["n_clips"] == 6
