"""Intervals and tests agree with books, with enumeration and with scipy."""

import itertools

import numpy as np
import pytest
from scipy import stats

from embedx.evaluation.statistics import (
    cluster_bootstrap,
    cluster_permutation,
    group_totals,
    holm,
    mcnemar_exact,
    resampled_sums,
    widened,
    wilson,
)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (3, 10), (81, 263)])
def test_wilson_agrees_with_scipy(right, n):
    expected = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((expected.low, expected.high))


def test_holm_never_rises_above_bonferroni_and_keeps_the_order():
    values = [0.01, 0.2, 0.03, 0.04]
    adjusted = holm(values)
    assert adjusted == pytest.approx([0.04, 0.2, 0.09, 0.09])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_mcnemar_counts_only_where_heads_differ():
    a, b = np.array([1] * 8 + [0] * 2 + [1] * 50), np.array([0] * 8 + [1] * 2 + [1] * 50)
    assert mcnemar_exact(a, b) == pytest.approx(stats.binomtest(8, 10).pvalue)
    assert mcnemar_exact(a, b, alternative="greater") == pytest.approx(
        stats.binomtest(8, 10, alternative="greater").pvalue
    )
    assert mcnemar_exact(a, a) == 1.0


def test_few_groups_are_permuted_exactly():
    values, groups = np.array([2.0, 1, -1, 3, 0.5]), np.array(["a", "a", "b", "c", "d"])
    totals = [3.0, -1.0, 3.0, 0.5]
    sums = [sum(s * t for s, t in zip(signs, totals, strict=True)) for signs in itertools.product([1, -1], repeat=4)]
    expected = np.mean([abs(s) >= 5.5 - 1e-9 for s in sums])
    assert cluster_permutation(values, groups) == pytest.approx(expected)


def test_many_groups_agree_with_the_normal_limit():
    rng = np.random.default_rng(0)
    values = rng.normal(0.25, 1, 200)
    p_value = cluster_permutation(values, seed=1)
    expected = 2 * stats.norm.sf(values.sum() / np.sqrt((values**2).sum()))
    assert p_value == pytest.approx(expected, abs=0.004)
    assert cluster_permutation(values, seed=1) == p_value
    assert cluster_permutation(np.zeros(5)) == 1.0


def test_clips_of_one_group_are_not_independent_evidence():
    clips = np.ones(60)
    assert cluster_permutation(clips, np.repeat(np.arange(3), 20), alternative="greater") == pytest.approx(1 / 8)
    assert cluster_permutation(clips, alternative="greater") < 0.001


def test_resampled_sums_do_not_depend_on_chunks(monkeypatch):
    from embedx.evaluation import statistics

    totals = np.random.default_rng(0).random((40, 3))
    whole = resampled_sums(totals, n_draws=50, seed=2)
    monkeypatch.setattr(statistics, "_CHUNK_NUMBERS", 40 * 7)
    assert resampled_sums(totals, n_draws=50, seed=2) == pytest.approx(whole)


def test_the_interval_of_a_mean_is_near_the_t_interval():
    values = np.random.default_rng(3).normal(5, 2, 60)
    totals = group_totals(np.stack([values, np.ones(60)], axis=1), np.arange(60))
    low, high = cluster_bootstrap(totals, {"mean": lambda s: s[:, 0] / s[:, 1]}, n_draws=20_000)["mean"]
    expected = stats.t.interval(0.95, 59, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(expected, abs=0.06)


def test_groups_without_a_single_mistake_leave_room_for_one():
    low, high = widened((1.0, 1.0), np.full(30, 4.0), np.full(30, 4.0))
    assert low == pytest.approx(wilson(30, 30)[0])
    assert high == 1.0
    assert widened((0.5, 0.7), np.arange(30.0) % 5, np.full(30, 4.0)) == (0.5, 0.7)


def test_an_interval_is_never_made_narrower():
    right, counts = np.r_[np.full(29, 4.0), 3.0], np.full(30, 4.0)
    assert widened((0.1, 1.0), right, counts) == (0.1, 1.0)
    low, high = widened((0.99, 0.995), right, counts)
    assert low < 0.99
    assert high > 0.995
