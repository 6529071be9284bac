"""Folds: balanced, grouped, from a column; problems said, never mended."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedx.errors import DatasetError, ParameterError, SkippedSourcesWarning
from embedx.evaluation.splits import (
    Fold,
    describe_lone_classes,
    describe_problems,
    describe_shared_groups,
    holdout,
    plan_folds,
    read_split,
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 3), st.booleans())
def test_every_clip_is_tested_once_a_repeat_and_groups_stay_whole(seed, n_folds, n_repeats, grouped):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 60)
    groups = rng.integers(0, 15, 60) if grouped else None
    folds = plan_folds(y, groups=groups, n_folds=n_folds, n_repeats=n_repeats, seed=seed)
    for repeat in range(n_repeats):
        tested = np.concatenate([fold.test for fold in folds if fold.repeat == repeat])
        assert sorted(tested) == list(range(60))
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == list(range(60))
        if grouped:
            assert not set(groups[fold.train]) & set(groups[fold.test])


def test_a_seed_gives_the_same_folds_and_repeats_differ():
    y = np.arange(40) % 4
    one, again = (plan_folds(y, n_repeats=2, seed=3) for _ in range(2))
    assert all(np.array_equal(a.test, b.test) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0].test, one[5].test)
    assert [fold.name for fold in one][:2] == ["r1:1", "r1:2"]


def test_named_parts_make_one_fold_and_other_names_a_fold_each():
    (fold,) = plan_folds(list("abab"), split=["train", "valid", "Test", "test"])
    assert (fold.name, fold.train.tolist(), fold.test.tolist()) == ("test", [0, 1], [2, 3])
    (fold,) = plan_folds(list("abab"), split=["train", "train", "valid", "valid"])
    assert fold.test.tolist() == [2, 3]
    names = [fold.name for fold in plan_folds(list("ababab"), split=["10", "2", "1", "10", "2", "1"])]
    assert names == ["1", "2", "10"]


def test_a_group_that_spans_predefined_folds_is_said():
    y, groups = list("aabb"), ["g", "h", "g", "i"]
    folds = plan_folds(y, groups=groups, split=[1, 1, 2, 2])
    assert any(
        "1 group is both learned from and tested on ('g')" in note
        for note in describe_problems(folds, y, groups=groups)
    )
    assert folds[0].test.tolist() == [0, 1]  # said, not mended


def test_a_class_with_fewer_clips_than_folds_is_said():
    y = ["a"] * 10 + ["b"] * 3
    problems = describe_problems(plan_folds(y, n_folds=5), y)
    assert problems[0] == "fewer clips than the 5 folds: class 'b' (3)"
    assert any("tests no clip of class 'b'" in problem for problem in problems)


@pytest.mark.parametrize(
    ("kwargs", "error", "word"),
    [
        ({"n_folds": 1}, ParameterError, "at least 2"),
        ({"n_repeats": 0}, ParameterError, "at least 1"),
        ({"n_folds": 9}, DatasetError, "cannot make 9 folds"),
        ({"groups": [0] * 8}, DatasetError, "8 clips are one group"),
        ({"split": ["x"] * 8}, DatasetError, "at least two parts"),
        ({"split": ["test"] * 8}, DatasetError, "at least two parts"),
        ({"split": ["train", "training"] * 4}, DatasetError, "none to be judged on"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_one_line(kwargs, error, word):
    with pytest.raises(error, match=word) as caught:
        plan_folds(["a", "b"] * 4, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "train", "valid", "test"),
    [
        ("train valid test", [0], [1], [2]),
        ("Training VAL evaluation", [0], [1], [2]),
        ("train dev eval", [0], [1], [2]),
        ("development evaluation", [0], [], [1]),
        ("dev validation test", [0], [1], [2]),
        ("train-clean-100 dev-clean test-other", [0], [1], [2]),
        ("balanced_train eval", [0], [], [1]),
        ("train hold-out", [0], [], [1]),
        (" train TEST ", [0], [], [1]),
        ("test", [], [], [0]),
    ],
)
def test_the_usual_names_of_parts_are_read(names, train, valid, test):
    parts = read_split(names.split())
    assert (parts.train.tolist(), parts.valid.tolist(), parts.test.tolist()) == (train, valid, test)
    assert not parts.folds


@pytest.mark.parametrize("names", ["1 2 10", "fold1 fold2", "a b c", "kitchen office", "east west north", "rain wind"])
def test_other_names_are_folds(names):
    parts = read_split(names.split())
    assert set(parts.folds) == set(names.split())
    assert len(parts.train) == len(parts.test) == 0


@pytest.mark.parametrize(
    ("names", "unknown"),
    [
        ("train train tset", "'tset' (1 of 3 clips)"),
        ("train test other", "'other'"),
        ("1 2 3 test", "'1' (1 of 4 clips), '2'"),
        ("trian tset", "'trian' (1 of 2 clips), 'tset'"),
        ("trainset testset", "'testset' (1 of 2 clips), 'trainset'"),
        ("train test train_test", "'train_test'"),
        ("train non-train", "'non-train'"),
        ("tr te", "'te' (1 of 2 clips), 'tr'"),
        ("True False", "'False' (1 of 2 clips), 'True'"),
    ],
)
def test_names_that_mean_nothing_beside_parts_are_refused_with_the_known_ones(names, unknown):
    with pytest.raises(DatasetError, match="Known parts are train, training; valid") as caught:
        read_split(names.split())
    assert unknown in str(caught.value)
    assert "--split-column" in str(caught.value)


@pytest.mark.parametrize("names", [["train", "", "test", None], [1, None, 2, "nan"]])
def test_a_clip_without_a_value_is_in_no_part_and_counted(names):
    with pytest.warns(SkippedSourcesWarning, match="2 of 4 clips have no value in the split"):
        (*_, fold) = plan_folds(list("abab"), split=np.array(names, dtype=object))
    assert sorted([*fold.train, *fold.test]) == [0, 2]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_a_holdout_keeps_groups_whole_and_every_class_to_learn_from(seed, grouped):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 60)
    groups = np.repeat(np.arange(20), 3) if grouped else None
    train, valid = holdout(y, groups, 0.2, seed)
    assert sorted([*train, *valid]) == list(range(60))
    assert len(valid) >= 1
    if grouped:
        assert not set(groups[train]) & set(groups[valid])
        spread = [name for name in np.unique(y) if len(set(groups[y == name])) > 1]
        assert set(spread) <= set(y[train])
    else:
        assert set(y[train]) == set(y)


def test_a_single_group_cannot_be_held_out():
    with pytest.raises(DatasetError, match="single clip or group"):
        holdout(["a", "b"], [0, 0])
    with pytest.raises(ParameterError, match="between 0 and 1"):
        holdout(["a", "b"], None, 1.5)


@pytest.mark.parametrize(("n_shared", "shown"), [(1, "1 group is"), (3, "3 groups are"), (4, "4 groups are")])
def test_groups_on_both_sides_are_counted_and_three_are_named(n_shared, shown):
    groups = np.array([f"g{i}" for i in range(5)] * 2)
    fold = Fold("1", np.arange(5), np.arange(5, 5 + n_shared))
    (said,) = describe_shared_groups([fold], groups)
    assert shown in said
    assert said.count("'") == 2 * min(n_shared, 3)
    assert (", ...)" in said) == (n_shared > 3)
    assert describe_shared_groups([Fold("1", np.arange(5), np.arange(5, 5))], groups) == []


@pytest.mark.parametrize(
    ("n_lone", "begin"), [(1, "Not every class"), (2, "Cannot be judged"), (3, "Cannot be judged")]
)
def test_two_classes_with_several_groups_are_enough_to_judge(n_lone, begin):
    lone = {f"class {i}": f"speaker {i}" for i in range(n_lone)}
    assert describe_lone_classes(lone, 3).startswith(begin)
    assert describe_lone_classes({}, 3) == ""


@pytest.mark.parametrize(("fraction", "n_groups"), [(0.22, 1), (0.28, 1), (0.32, 2), (0.48, 2), (0.52, 3)])
def test_the_share_held_out_is_the_nearest_that_whole_groups_allow(fraction, n_groups):
    groups = np.repeat(np.arange(5), 4)
    for seed in range(3):
        train, valid = holdout(["a", "a", "b", "b"] * 5, groups, fraction=fraction, seed=seed)
        assert len(np.unique(groups[valid])) == n_groups
        assert len(train) == 20 - 4 * n_groups


def test_where_no_group_fits_the_one_that_costs_no_class_is_held_out():
    labels = ["a"] * 10 + ["b"] * 2 + ["b"] * 30
    groups = np.array(["small"] * 12 + ["large"] * 30)
    _, valid = holdout(labels, groups, fraction=0.1)
    assert set(groups[valid]) == {"large"}
