"""One binary classifier for each class, for clips that may have several."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

__all__ = ["OneVsRest"]


class OneVsRest(BaseEstimator):
    """Fit a classifier for each column of Y, with its own parameters unchanged.

    As `sklearn.multiclass.OneVsRestClassifier`, which warns of a class without a clip and takes one column for the
    labels of a single-label problem; folds of few groups have both.

    Parameters
    ----------
    estimator : classifier
        Cloned for each class.

    Attributes
    ----------
    estimators_ : list of (classifier or None)
        By class; None for a class that no clip or every clip has.
    constants_ : ndarray of shape (n_classes,), float64
        What is predicted of such a class: 0 or 1.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, Y = np.array([[0.0], [1.0], [2.0]]), np.array([[0, 0, 0], [0, 1, 0], [1, 1, 0]])
    >>> OneVsRest(LogisticRegression()).fit(X, Y).predict_proba(X).round(1)
    array([[0.2, 0.5, 0. ],
           [0.3, 0.7, 0. ],
           [0.5, 0.8, 0. ]])
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, Y: Any) -> OneVsRest:
        """Learn which classes clips have: X of shape (n, n_features), Y of shape (n, n_classes), 0 or 1."""
        columns = np.asarray(Y).astype(np.int64).T
        self.constants_ = np.array([float(column[0]) for column in columns])
        self.estimators_ = [clone(self.estimator).fit(X, c) if c.min() < c.max() else None for c in columns]
        self.n_features_in_ = int(X.shape[1])
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, shape (n, n_classes); rows do not sum to one."""
        check_is_fitted(self)
        columns = [
            np.full(len(X), constant) if one is None else one.predict_proba(X)[:, 1]
            for one, constant in zip(self.estimators_, self.constants_, strict=True)
        ]
        return np.column_stack(columns).astype(np.float64)
