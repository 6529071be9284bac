"""Metrics agree with scikit-learn and with arithmetic done by hand."""

import numpy as np
import pytest
from sklearn import metrics as reference

from embedx.errors import ParameterError
from embedx.evaluation.labels import find_suspects
from embedx.evaluation.metrics import align_proba, expected_calibration_error, reliability, score


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(4), 200)
    return rng.integers(0, 4, 200), proba


def test_scores_agree_with_scikit_learn(drawn):
    truth, proba = drawn
    found = score(truth, proba, [0, 1, 2, 3])
    said = proba.argmax(1)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, said))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, said))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(truth, said, average="macro"))
    assert found["log_loss"] == pytest.approx(reference.log_loss(truth, proba))
    assert found["brier"] == pytest.approx(((proba - np.eye(4)[truth]) ** 2).sum(1).mean())
    assert np.array(found["confusion"]).sum() == 200


def test_a_class_without_clips_has_no_recall_and_does_not_count():
    found = score(["a", "a"], [[0.9, 0.1, 0.0], [0.8, 0.1, 0.1]], ["a", "b", "c"])
    assert found["recall"] == {"a": 1.0, "b": None, "c": None}
    assert found["balanced_accuracy"] == 1.0


def test_a_certain_mistake_is_finite():
    assert score(["a"], [[0.0, 1.0]], ["a", "b"])["log_loss"] == pytest.approx(16.118, abs=1e-3)


def test_calibration_error_is_the_gap_of_the_bins():
    sure, right = [0.95] * 10 + [0.55] * 10, [1] * 9 + [0] + [1] * 5 + [0] * 5
    assert expected_calibration_error(sure, right) == pytest.approx(0.05)
    assert sum(row["n"] for row in reliability(sure, right)) == 20
    assert expected_calibration_error([0.0, 1.0], [0, 1]) == 0.0


def test_a_head_that_missed_a_class_is_aligned():
    assert align_proba([[1.0]], ["b"], ["a", "b"]).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("labels", "proba", "word"),
    [
        (["a"], [[0.5, 0.5, 0.0]], "classes, but"),
        (["z"], [[0.5, 0.5]], "no class: 'z'"),
        (["a"], [[np.nan, 0.5]], "not a finite"),
        ([], np.zeros((0, 2)), "0 labels"),
    ],
)
def test_nonsense_is_refused(labels, proba, word):
    with pytest.raises(ParameterError, match=word):
        score(labels, proba, ["a", "b"])


def test_planted_wrong_labels_are_found_and_come_first():
    rng = np.random.default_rng(1)
    truth = np.arange(300) % 3
    proba = 0.7 * np.eye(3)[truth] + 0.3 * rng.dirichlet(np.ones(3), 300)
    given = truth.copy()
    planted = rng.choice(300, 15, replace=False)
    given[planted] = (given[planted] + 1) % 3
    found = find_suspects(proba, given)
    assert {one.index for one in found} <= set(planted.tolist())
    assert len(found) >= 8
    assert all(one.suggested == truth[one.index] for one in found)


def test_untested_clips_are_never_suspects():
    proba = np.array([[0.9, 0.1], [0.9, 0.1], [np.nan, np.nan], [0.1, 0.9]])
    assert all(one.index != 2 for one in find_suspects(proba, np.array([0, 0, 1, 1])))
