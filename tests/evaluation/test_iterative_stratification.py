"""Several labels a clip are cut so that groups stay whole and every class is in every fold where its groups allow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedx.errors import DatasetError
from embedx.evaluation.iterative_stratification import assign_folds, holdout_of_sets
from embedx.evaluation.splits import plan_folds


def draw(seed, *, n=120, k=5, n_groups=40):
    rng = np.random.default_rng(seed)
    shares = rng.uniform(0.03, 0.6, k)
    return rng.random((n, k)) < shares, rng.integers(0, n_groups, n)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), n_folds=st.integers(2, 6), grouped=st.booleans())
def test_groups_are_whole_and_every_clip_is_tested_once(seed, n_folds, grouped):
    Y, groups = draw(seed)
    folds = plan_folds(Y, groups=groups if grouped else None, n_folds=n_folds, seed=seed)
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested.tolist()) == list(range(len(Y)))
    for fold in folds:
        assert len(fold.test)
        assert not set(fold.test) & set(fold.train)
        if grouped:
            assert not set(groups[fold.test]) & set(groups[fold.train])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), n_folds=st.integers(2, 6))
def test_a_class_of_enough_groups_is_in_every_fold(seed, n_folds):
    Y, groups = draw(seed)
    fold = assign_folds(Y, groups, n_folds=n_folds, seed=seed)
    n_groups = [len(np.unique(groups[Y[:, j]])) for j in range(Y.shape[1])]
    rarest = int(np.argmin([n if n else 10**9 for n in n_groups]))
    for j, n in enumerate(n_groups):
        if n >= 2 * n_folds or (j == rarest and n >= n_folds):
            assert len(np.unique(fold[Y[:, j]])) == n_folds


def test_folds_are_as_even_as_chance_is_not():
    Y, groups = draw(3, n=400, k=8, n_groups=100)
    ideal = Y.sum(0) / 5
    even = [np.abs(Y[assign_folds(Y, groups, n_folds=5, seed=s) == 0].sum(0) / ideal - 1).mean() for s in range(10)]
    names = np.unique(groups, return_inverse=True)[1]
    rng = np.random.default_rng(0)
    drawn = [np.abs(Y[(rng.permutation(100) % 5)[names] == 0].sum(0) / ideal - 1).mean() for _ in range(10)]
    assert np.mean(even) < np.mean(drawn) / 2


def test_equal_seeds_cut_alike_and_other_seeds_do_not():
    Y, groups = draw(1)
    cuts = [assign_folds(Y, groups, n_folds=4, seed=seed) for seed in (5, 5, 6)]
    assert np.array_equal(cuts[0], cuts[1])
    assert not np.array_equal(cuts[0], cuts[2])


def test_too_few_groups_are_one_clear_line():
    with pytest.raises(DatasetError, match="2 groups cannot make 3 folds"):
        plan_folds(np.eye(4, dtype=bool), groups=[0, 0, 1, 1], n_folds=3)


def test_clips_without_any_class_are_dealt_out_evenly():
    assert np.bincount(assign_folds(np.zeros((10, 2)), n_folds=5)).tolist() == [2] * 5


def test_a_part_set_aside_has_every_class_or_nothing_is():
    Y, groups = draw(2)
    train, aside = holdout_of_sets(Y, groups, 0.25, seed=0)
    assert len(aside)
    assert not set(groups[train]) & set(groups[aside])
    assert Y[train].any(0).all()
    assert Y[aside].any(0).all()
    lone = np.zeros((6, 2), dtype=bool)
    lone[0, 0] = lone[:, 1] = True
    assert len(holdout_of_sets(lone, fraction=0.3)[1]) == 0
