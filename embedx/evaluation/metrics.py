"""What a score is: discrimination, probability quality and calibration, from labels and probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from embedx.errors import ParameterError

__all__ = ["METRICS", "align_proba", "calibration_gap", "clip_losses", "reliability", "score"]

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log-loss",
    "brier": "Brier",
    "ece": "calibration error",
}
"""Name, and what a table prints."""

N_BINS = 15
_TINY = 1e-7
"""Probabilities are kept this far from 0: a single certain mistake costs 16.1 nats, not infinity."""


def score(y_true: ArrayLike, proba: ArrayLike, classes: Sequence[Any] | NDArray[Any]) -> dict[str, Any]:
    """Judge predicted probabilities by every metric that a comparison shows.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels, all of them in ``classes``.
    proba : array-like of shape (n, k)
        Predicted probability of each class; rows sum to 1.
    classes : sequence of length k
        Class of each column.

    Returns
    -------
    dict
        ``accuracy``; ``balanced_accuracy`` (mean recall of the classes present in ``y_true``); ``macro_f1``
        (over classes that occur or are predicted); ``log_loss`` in nats; ``brier`` (Brier 1950, summed over
        classes, 0 to 2); ``ece`` (Guo et al. 2017, 15 equal bins of the top probability); ``recall`` by
        class (None for a class without clips); ``confusion`` (k rows of counts: true by predicted).

    Raises
    ------
    ParameterError
        Shapes do not fit, a label is unknown, or a probability is not finite.

    Examples
    --------
    >>> result = score(["a", "b", "b"], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], ["a", "b"])
    >>> round(result["accuracy"], 3), result["balanced_accuracy"], result["recall"]
    (0.667, 0.75, {'a': 1.0, 'b': 0.5})
    """
    truth, probability = _checked(y_true, proba, classes)
    predicted = probability.argmax(1)
    names = range(len(classes))
    present = np.unique(truth)
    recall = recall_score(truth, predicted, labels=list(names), average=None, zero_division=0)
    losses = clip_losses(truth, probability)
    return {
        "accuracy": float(losses["accuracy"].mean()),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
        "log_loss": float(losses["log_loss"].mean()),
        "brier": float(losses["brier"].mean()),
        "ece": expected_calibration_error(probability.max(1), predicted == truth),
        "recall": {str(classes[i]): float(recall[i]) if i in present else None for i in names},
        "confusion": confusion_matrix(truth, predicted, labels=list(names)).tolist(),
    }


def _checked(y_true: ArrayLike, proba: ArrayLike, classes: Sequence[Any] | NDArray[Any]) -> tuple[Any, Any]:
    labels, probability = np.asarray(y_true), np.asarray(proba, dtype=np.float64)
    if probability.shape != (len(labels), len(classes)) or not len(labels):
        raise ParameterError(f"{len(labels)} labels and {len(classes)} classes, but probabilities {probability.shape}")
    if not np.isfinite(probability).all():
        raise ParameterError("a predicted probability is not a finite number")
    index = {str(name): i for i, name in enumerate(classes)}
    unknown = sorted({str(label) for label in labels} - set(index))
    if unknown:
        raise ParameterError(f"labels that are no class: {', '.join(map(repr, unknown[:3]))}")
    return np.array([index[str(label)] for label in labels], dtype=np.intp), probability


def clip_losses(truth: NDArray[np.intp], proba: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return what each clip adds to accuracy, log-loss and Brier score.

    Parameters
    ----------
    truth : ndarray of shape (n,), int
        Column of the true class.
    proba : ndarray of shape (n, k)
        Predicted probabilities.

    Returns
    -------
    dict of str to ndarray of shape (n,), float64
        ``accuracy`` (0 or 1), ``log_loss`` (nats), ``brier``.
    """
    own = proba[np.arange(len(truth)), truth]
    brier = (proba**2).sum(1) - 2 * own + 1
    return {
        "accuracy": (proba.argmax(1) == truth).astype(np.float64),
        "log_loss": -np.log(np.clip(own, _TINY, 1.0)),
        "brier": brier,
    }


def reliability(confidence: ArrayLike, correct: ArrayLike, *, n_bins: int = N_BINS) -> list[dict[str, float]]:
    """Return what a reliability diagram draws: how often a head is right when it is so sure.

    Parameters
    ----------
    confidence : array-like of shape (n,)
        Probability of the predicted class.
    correct : array-like of shape (n,), bool
        Whether the prediction is right.
    n_bins : int
        Equal bins between 0 and 1.

    Returns
    -------
    list of dict
        ``low``, ``high``, ``n``, ``confidence`` and ``accuracy`` (means) of every bin that holds a clip.

    Examples
    --------
    >>> reliability([0.9, 0.9, 0.2], [True, False, False], n_bins=2)[1]
    {'low': 0.5, 'high': 1.0, 'n': 2, 'confidence': 0.9, 'accuracy': 0.5}
    """
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.clip(np.ceil(sure * n_bins).astype(int) - 1, 0, n_bins - 1)
    rows = []
    for i in np.unique(bins):
        inside = bins == i
        means = {"confidence": float(sure[inside].mean()), "accuracy": float(right[inside].mean())}
        rows.append({"low": float(edges[i]), "high": float(edges[i + 1]), "n": int(inside.sum()), **means})
    return rows


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, n_bins: int = N_BINS) -> float:
    """Return the mean distance between how sure and how right a head is (Guo et al. 2017)."""
    return calibration_gap(reliability(confidence, correct, n_bins=n_bins))


def calibration_gap(bins: Sequence[Mapping[str, float]]) -> float:
    """Return the expected calibration error of bins from `reliability`."""
    total = sum(row["n"] for row in bins)
    return float(sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in bins) / total)


def align_proba(
    proba: ArrayLike, known: Sequence[Any] | NDArray[Any], classes: Sequence[Any] | NDArray[Any]
) -> NDArray[np.float64]:
    """Spread a head's columns over all classes; a class it never saw gets probability 0.

    Examples
    --------
    >>> align_proba([[0.3, 0.7]], ["a", "c"], ["a", "b", "c"]).tolist()
    [[0.3, 0.0, 0.7]]
    """
    given = np.asarray(proba, dtype=np.float64)
    index = {str(name): i for i, name in enumerate(classes)}
    spread = np.zeros((len(given), len(classes)))
    spread[:, [index[str(name)] for name in known]] = given
    return spread
