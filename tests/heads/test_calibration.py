"""Temperature and isotonic curves against data whose true probabilities are known."""

from __future__ import annotations

import numpy as np
import pytest

from embedx.errors import ParameterError
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
