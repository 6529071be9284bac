"""Scores of sets of labels: F1 of what is given, average precision and ROC-AUC of how clips are ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from embedx.errors import ParameterError

__all__ = ["MULTI_LABEL_METRICS", "association", "rank_scores", "score_classes", "score_sets"]

MULTI_LABEL_METRICS = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "mean_average_precision": "mAP",
    "roc_auc": "ROC-AUC",
}
"""Name, and what a table prints; the first is what verdict and tests are about."""


def score_classes(
    Y: NDArray[np.bool_], proba: NDArray[Any], given: NDArray[np.bool_], classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Score each class for itself, as scikit-learn does.

    Parameters
    ----------
    Y : ndarray of shape (n, k), bool
        Which classes each clip has.
    proba : ndarray of shape (n, k)
        Predicted probability of each class; finite.
    given : ndarray of shape (n, k), bool
        Which classes each clip is given.
    classes : sequence of str
        Columns.

    Returns
    -------
    dict of str to dict
        ``n_clips`` (that have the class), ``f1``, ``precision``, ``recall``, ``average_precision``, ``roc_auc``; None
        where no clip has the class (ROC-AUC also where every clip has it).

    Raises
    ------
    ParameterError
        Shapes do not fit, or a probability is not finite.
    """
    if not (Y.shape == proba.shape == given.shape and Y.shape[1] == len(classes)) or not len(Y):
        raise ParameterError(f"labels {Y.shape}, probabilities {proba.shape}, sets {given.shape}: shapes do not fit")
    if not np.isfinite(proba).all():
        raise ParameterError("a predicted probability is not a finite number")
    return {
        str(name): _one_class(Y[:, j], proba[:, j].astype(np.float64), given[:, j]) for j, name in enumerate(classes)
    }


def _one_class(truth: NDArray[np.bool_], proba: NDArray[np.float64], given: NDArray[np.bool_]) -> dict[str, Any]:
    found: dict[str, Any] = {"n_clips": int(truth.sum())}
    if not truth.any():
        return found | dict.fromkeys(("f1", "precision", "recall", "average_precision", "roc_auc"))
    return found | {
        "f1": float(f1_score(truth, given, zero_division=0)),
        "precision": float(precision_score(truth, given, zero_division=0)),
        "recall": float(recall_score(truth, given, zero_division=0)),
        "average_precision": float(average_precision_score(truth, proba)),
        "roc_auc": None if truth.all() else float(roc_auc_score(truth, proba)),
    }


def score_sets(Y: NDArray[np.bool_], proba: NDArray[Any], given: NDArray[np.bool_]) -> dict[str, float]:
    """Judge sets of labels by every metric that a comparison of several labels a clip shows.

    Parameters
    ----------
    Y, proba, given
        As in `score_classes`.

    Returns
    -------
    dict of str to float
        ``macro_f1``, ``mean_average_precision`` and ``roc_auc``: means over the classes that have one (NaN where none
        has); ``micro_f1`` over all classes and clips together.

    Examples
    --------
    >>> Y = np.array([[1, 0], [1, 1], [0, 0]], dtype=bool)
    >>> proba = np.array([[0.9, 0.2], [0.8, 0.1], [0.3, 0.3]])
    >>> {name: round(value, 2) for name, value in score_sets(Y, proba, proba > 0.5).items()}
    {'macro_f1': 0.5, 'micro_f1': 0.8, 'mean_average_precision': 0.67, 'roc_auc': 0.5}
    """
    each = score_classes(Y, proba, given, [str(j) for j in range(Y.shape[1])]).values()
    means = {"macro_f1": "f1", "mean_average_precision": "average_precision", "roc_auc": "roc_auc"}
    known = {name: [one[own] for one in each if one[own] is not None] for name, own in means.items()}
    found = {name: float(np.mean(values)) if values else float("nan") for name, values in known.items()}
    some = Y.any(0)
    found["micro_f1"] = float(f1_score(Y[:, some], given[:, some], average="micro", zero_division=0))
    return {name: found[name] for name in MULTI_LABEL_METRICS}


def rank_scores(
    truth: NDArray[np.bool_], proba: NDArray[Any], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return average precision and ROC-AUC of one class for many weightings of the clips at once.

    Parameters
    ----------
    truth : ndarray of shape (n,), bool
        Which clips have the class.
    proba : ndarray of shape (n,)
        Its predicted probability.
    weights : ndarray of shape (B, n)
        How much each clip counts.

    Returns
    -------
    average_precision, roc_auc : ndarray of shape (B,)
        As scikit-learn's with ``sample_weight``; NaN where the clips that count all have the class, or none has.

    Examples
    --------
    >>> precision, auc = rank_scores(np.array([True, False, True]), np.array([0.9, 0.5, 0.1]), np.ones((1, 3)))
    >>> precision.round(3).tolist(), auc.tolist()
    ([0.833], [0.5])
    """
    order = np.argsort(-proba, kind="stable")
    ranked = np.asarray(proba)[order]
    ends = np.flatnonzero(np.append(ranked[:-1] > ranked[1:], True))  # equal scores are one step
    sorted_weights = weights[:, order]
    every = sorted_weights.cumsum(1)[:, ends]
    right = (sorted_weights * truth[order]).cumsum(1)[:, ends]
    gained = np.diff(right, axis=1, prepend=0.0)
    total, others = right[:, -1], (every - right)[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = (gained * np.where(every > 0, right / every, 0.0)).sum(1) / total
        wrong = np.diff(every - right, axis=1, prepend=0.0)
        auc = (wrong * (right - gained / 2)).sum(1) / (total * others)
    return np.where(total > 0, precision, np.nan), np.where((total > 0) & (others > 0), auc, np.nan)


def association(Y: NDArray[np.bool_], proba: NDArray[Any]) -> NDArray[np.float64]:
    """Return what each clip adds to the tie between ranks and labels: zero on average when a head knows nothing.

    For each class the covariance of having it and of the rank of its probability, over its variance: the sum is twice
    the distance of the ROC-AUC from one half, averaged over the classes. Ranks are those of these clips alone, so the
    clips are of one fold.

    Parameters
    ----------
    Y : ndarray of shape (n, k), bool
        Which classes each clip has.
    proba : ndarray of shape (n, k)
        Predicted probability of each class.

    Returns
    -------
    ndarray of shape (n,), float64
    """
    n = len(Y)
    ranks = (rankdata(proba, axis=0) - (n + 1) / 2) / n
    shares = Y.mean(0)
    spread = shares * (1 - shares)
    scaled = np.divide(ranks, spread, out=np.zeros_like(ranks), where=spread > 0)
    return ((Y - shares) * scaled).mean(1) * 2
