"""A clip unlike all that was learned from is told, at a rate that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from embedx.errors import EmbedxWarning, ParameterError
from embedx.heads.novelty import MOST_QUANTILES, ClassDistances, Novelty


def made(n, seed=0, shift=0.0, d=6):
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 3
    return (rng.normal(size=(n, d)) + 4 * codes[:, None] + shift).astype(np.float32), codes


def learned(n=300):
    values, codes = made(n)
    return ClassDistances.learn(values, codes)


def test_distances_are_those_of_the_formula():
    from sklearn.covariance import ledoit_wolf

    values, codes = made(120)
    centres = np.stack([values[codes == i].mean(axis=0) for i in range(3)])
    scale = values.astype(np.float64).std(axis=0)
    covariance = ledoit_wolf((values - centres[codes]) / scale, assume_centered=True)[0] + 1e-6 * np.eye(6)
    new = made(20, seed=1)[0]
    apart = (new[:, None] - centres) / scale
    expected = np.sqrt(np.einsum("nci,ij,ncj->nc", apart, np.linalg.inv(covariance), apart).min(axis=1))
    np.testing.assert_allclose(ClassDistances.learn(values, codes).nearest(new), expected, rtol=1e-4)


def test_a_row_has_one_distance_whichever_rows_stand_beside_it():
    known, new = learned(), made(5000, seed=1)[0]
    np.testing.assert_allclose(known.nearest(new)[4990:], known.nearest(new[4990:]), rtol=1e-9)


@pytest.mark.parametrize("n", [99, 400, 5000])
@pytest.mark.parametrize("rate", [0.02, 0.05, 0.3])
def test_the_rate_that_was_asked_for_is_held(n, rate):
    known = learned(3000)
    novelty = Novelty.from_held_out(known, known.nearest(made(n, seed=1)[0]))
    assert len(novelty.quantiles) == min(n, MOST_QUANTILES)
    rejected = (novelty.score(made(20_000, seed=2)[0]) > novelty.limit(rate)).mean()
    assert rejected == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / n) + 0.002)


def test_what_is_far_is_unknown_and_a_usual_clip_has_novelty_one():
    known = learned()
    novelty = Novelty.from_held_out(known, known.nearest(made(200, seed=1)[0]))
    assert np.median(novelty.score(made(2000, seed=2)[0])) == pytest.approx(1.0, abs=0.1)
    assert (novelty.score(made(50, seed=3, shift=-20.0)[0]) > novelty.limit(0.01)).all()


def test_a_rate_that_few_clips_cannot_hold_is_said():
    known = learned()
    novelty = Novelty.from_held_out(known, known.nearest(made(9, seed=1)[0]))
    with pytest.warns(EmbedxWarning, match="about 0.1 of known ones"):
        assert novelty.limit(0.05) == pytest.approx(novelty.quantiles[-1] / novelty.unit)


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan"), "0.05", None])
def test_what_is_no_rate_is_refused(rate):
    novelty = Novelty.from_held_out(learned(), np.arange(1.0, 30.0))
    with pytest.raises(ParameterError, match="unknown_at"):
        novelty.limit(rate)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_clips_equal_clips_and_empty_columns_have_finite_distances(n):
    for values in (made(n)[0], np.ones((n, 6), np.float32), np.zeros((n, 6), np.float32)):
        found = ClassDistances.learn(values, np.arange(n) % 2).nearest(np.vstack([values, values + 1000]))
        assert np.isfinite(found).all()
        assert found[n:].min() > found[:n].max()
