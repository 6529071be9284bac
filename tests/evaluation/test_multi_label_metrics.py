"""Scores of sets are those of scikit-learn; weighted ones are those of clips that are there so many times."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from embedx.comparison.multi_label_scoring import macro_f1
from embedx.errors import ParameterError
from embedx.evaluation.multi_label_metrics import association, rank_scores, score_classes, score_sets
from embedx.evaluation.statistics import cluster_permutation, paired_swap


def draw(seed=0, n=60, k=4):
    rng = np.random.default_rng(seed)
    Y = rng.random((n, k)) < [0.1, 0.3, 0.5, 0.8]
    proba = np.round(np.clip(rng.normal(0.4, 0.2, (n, k)) + 0.2 * Y, 0, 1), 2)  # with ties
    return Y, proba, proba > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed):
    Y, proba, given = draw(seed)
    found = score_sets(Y, proba, given)
    assert found["macro_f1"] == pytest.approx(f1_score(Y, given, average="macro"))
    assert found["micro_f1"] == pytest.approx(f1_score(Y, given, average="micro"))
    assert found["mean_average_precision"] == pytest.approx(average_precision_score(Y, proba, average="macro"))
    assert found["roc_auc"] == pytest.approx(roc_auc_score(Y, proba, average="macro"))


@pytest.mark.parametrize("seed", range(5))
def test_weighted_rank_scores_are_those_of_scikit_learn(seed):
    Y, proba, _ = draw(seed)
    weights = np.random.default_rng(seed).integers(0, 3, (3, len(Y))).astype(float)
    for j in range(Y.shape[1]):
        precision, auc = rank_scores(Y[:, j], proba[:, j], weights)
        for b in range(3):
            given = {"sample_weight": weights[b]}
            assert precision[b] == pytest.approx(average_precision_score(Y[:, j], proba[:, j], **given))
            assert auc[b] == pytest.approx(roc_auc_score(Y[:, j], proba[:, j], **given))


def test_a_class_without_a_clip_is_left_out_of_the_means():
    Y, proba, given = draw()
    more = np.column_stack([Y, np.zeros(len(Y), bool)])
    alone = score_sets(Y, proba, given)
    both = score_sets(more, np.column_stack([proba, proba[:, 0]]), np.column_stack([given, given[:, 0]]))
    assert both == pytest.approx(alone)
    each = score_classes(more, np.column_stack([proba, proba[:, 0]]), np.column_stack([given, given[:, 0]]), "abcde")
    assert (each["e"]["n_clips"], each["e"]["f1"], each["e"]["roc_auc"]) == (0, None, None)


def test_the_association_adds_up_to_the_distance_from_chance():
    Y, proba, _ = draw()
    auc = roc_auc_score(Y, proba, average="macro")
    assert association(Y, proba).sum() / len(Y) == pytest.approx(2 * (auc - 0.5))


@pytest.mark.parametrize("n_groups", [15, 100])
def test_random_scores_are_rarely_called_associated(n_groups):
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(300):
        groups = np.arange(200) % n_groups
        Y = (rng.random((n_groups, 3)) < 0.15)[groups]
        proba = rng.random((n_groups, 3))[groups] + 0.01 * rng.random((200, 3))
        found += cluster_permutation(association(Y, proba), groups, alternative="greater", n_permutations=400) < 0.05
    assert found / 300 < 0.09


def test_a_swap_alone_praises_random_sets_that_leave_a_few_clips_out():
    rng = np.random.default_rng(2)
    swaps = ties = 0
    for _ in range(60):
        Y, scores = rng.random((100, 3)) < 0.05, rng.random((100, 3))
        given, everything = scores < 0.9, np.ones((100, 3), bool)
        sums = [np.concatenate([2 * (Y & one), Y.astype(float) + one], axis=1) for one in (given, everything)]
        swaps += paired_swap(*sums, macro_f1, alternative="greater", n_permutations=300) < 0.05
        ties += cluster_permutation(association(Y, scores), alternative="greater", n_permutations=300) < 0.05
    assert swaps / 60 > 0.1
    assert ties / 60 < 0.12


def test_a_swap_of_all_groups_is_the_permutation_of_their_differences():
    rng = np.random.default_rng(0)
    right = rng.random((2, 10)) < 0.6
    sums = [np.column_stack([one, np.ones(10)]).astype(float) for one in right]
    mean = lambda sums: sums[:, 0] / sums[:, 1]  # noqa: E731
    own = paired_swap(*sums, mean)
    assert own == pytest.approx(cluster_permutation(right[0].astype(float) - right[1]))
    assert paired_swap(sums[0], sums[0], mean) == 1.0


def test_what_cannot_be_scored_is_refused():
    Y, proba, given = draw()
    with pytest.raises(ParameterError, match="shapes do not fit"):
        score_sets(Y, proba[:, :2], given)
    with pytest.raises(ParameterError, match="not a finite number"):
        score_sets(Y, np.where(proba > 0.9, np.nan, proba * np.nan), given)
