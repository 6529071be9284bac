"""Heads for clips that may have several labels: one-vs-rest, and a threshold for each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.errors import ParameterError
from embedx.heads.catalog import CATALOG, as_spec, fit_head, make_head

__all__ = [
    "MULTI_LABEL_HEADS",
    "MultiLabelHead",
    "best_thresholds",
    "make_multi_label_head",
    "require_multi_label_head",
]

MULTI_LABEL_HEADS = ("majority", "logmel", "logreg", "lgbm", "mlp")
"""Names of the heads that can learn several labels a clip; the first two are the control rows."""

N_INNER = 3
"""Folds inside the training clips, whose out-of-fold scores the thresholds are chosen on."""


def require_multi_label_head(head: Any) -> str:
    """Return the name of a head that learns several labels a clip.

    Raises
    ------
    ParameterError
        It learns one.
    """
    spec = as_spec(head)
    if spec.name not in MULTI_LABEL_HEADS or spec.factory != CATALOG[spec.name].factory:
        raise ParameterError(
            f"head {spec.name!r} learns one label a clip: several a clip are learned by logreg, lgbm and mlp"
        )
    return spec.name


def make_multi_label_head(head: Any, /, *, n_layers: int, random_state: int = 0, **parameters: Any) -> Any:
    """Return an unfitted head that learns from Y of shape (n, k), with the parameters of the single-label one.

    Parameters
    ----------
    head : str or HeadSpec
        One of `MULTI_LABEL_HEADS`.
    n_layers, random_state, **parameters
        As in `embedx.heads.catalog.make_head`.

    Raises
    ------
    ParameterError
        The head learns one label a clip, or no such parameter.

    Examples
    --------
    >>> [type(step).__name__ for _, step in make_multi_label_head("logreg", n_layers=3).steps]
    ['LayerSelector', 'StandardScaler', 'OneVsRest']
    """
    from sklearn.pipeline import Pipeline

    from embedx.heads.multi_label_mlp import MultiLabelMLP
    from embedx.heads.one_vs_rest import OneVsRest

    name = require_multi_label_head(head)
    if isinstance(parameters.get("class_weight"), dict):
        raise ParameterError("class_weight by class is for one label a clip: give None or 'balanced'")
    made = make_head(head, n_layers=n_layers, random_state=random_state, **parameters)
    steps = list(getattr(made, "steps", [("head", made)]))
    title, last = steps[-1]
    binary = MultiLabelMLP(**last.get_params()) if name == "mlp" else OneVsRest(last)
    return Pipeline([*steps[:-1], (title, binary)])


class MultiLabelHead:
    """A head with the thresholds above which it names a class.

    Parameters
    ----------
    head : str or HeadSpec
        One of `MULTI_LABEL_HEADS`.
    n_layers, random_state, **parameters
        As in `make_multi_label_head`.

    Attributes
    ----------
    estimator_ : estimator
        Fitted on all clips.
    classes_ : ndarray of shape (k,)
        The classes.
    thresholds_ : ndarray of shape (k,), float64
        From scores of clips that were not learned from (`best_thresholds`); 0.5 for a class without such scores.

    Examples
    --------
    >>> from embedx.testing import make_dataset
    >>> dataset = make_dataset(n=60).multi_label()
    >>> head = MultiLabelHead("logreg", n_layers=3).fit(dataset.X, dataset.Y, dataset.classes, groups=dataset.groups)
    >>> head.predict(dataset.X).shape, len(head.thresholds_)
    ((60, 3), 3)
    """

    def __init__(self, head: Any, *, n_layers: int, random_state: int = 0, **parameters: Any) -> None:
        self.made = make_multi_label_head(head, n_layers=n_layers, random_state=random_state, **parameters)
        self.random_state = random_state

    def fit(self, X: Any, Y: NDArray[np.bool_], classes: Any, *, groups: Any = None) -> MultiLabelHead:
        """Learn from X and Y of shape (n, k); thresholds come from folds inside these clips."""
        from sklearn.base import clone

        from embedx.evaluation.iterative_stratification import assign_folds  # predicting needs nothing that judges

        self.classes_ = np.asarray(classes)
        held_out = np.full(Y.shape, np.nan)
        n_groups = len(Y) if groups is None else len(np.unique(groups))
        if n_groups > 1:
            n_folds = min(N_INNER, n_groups)
            fold = assign_folds(Y, groups, n_folds=n_folds, seed=self.random_state)
            for number in range(n_folds):
                train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
                part = fit_head(clone(self.made), X[train], Y[train], groups=None if groups is None else groups[train])
                held_out[test] = part.predict_proba(X[test])
                held_out[np.ix_(test, ~Y[train].any(0))] = np.nan
        self.thresholds_ = best_thresholds(Y, held_out)
        self.estimator_ = fit_head(self.made, X, Y, groups=groups)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, shape (n, k), float64."""
        return np.asarray(self.estimator_.predict_proba(X), dtype=np.float64)

    def predict(self, X: Any) -> NDArray[np.bool_]:
        """Return which classes each clip is given, shape (n, k), bool."""
        return self.predict_proba(X) >= self.thresholds_


def best_thresholds(Y: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each class the threshold of the largest F1: a class is given from it on.

    Parameters
    ----------
    Y : ndarray of shape (n, k), bool
        Which classes each clip has.
    scores : ndarray of shape (n, k)
        Of clips that were not learned from; NaN where there is none.

    Returns
    -------
    ndarray of shape (k,), float64
        Halfway between two scores; 0 where giving the class to every clip is best, 0.5 without scores or clips of
        the class.

    Examples
    --------
    >>> Y = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], dtype=bool)
    >>> best_thresholds(Y, np.array([[0.4, 0.1], [0.3, 0.1], [0.1, 0.2], [0.1, 0.3]])).tolist()
    [0.2, 0.5]
    """
    return np.array([_best_threshold(y, s) for y, s in zip(Y.T, scores.T, strict=True)])


def _best_threshold(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    known = ~np.isnan(scores)
    truth, scores = truth[known], scores[known]
    if not truth.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    found, named = np.cumsum(truth[order]), np.arange(1, len(ranked) + 1)
    f1 = 2 * found / (named + truth.sum())
    ends = np.flatnonzero(np.append(ranked[:-1] > ranked[1:], True))  # equal scores are given the class together
    best = ends[np.argmax(f1[ends])]
    if best == len(ranked) - 1:
        return 0.0
    middle = (ranked[best] + ranked[best + 1]) / 2
    return float(middle if middle > ranked[best + 1] else ranked[best])
