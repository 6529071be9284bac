"""The small network for clips that may have several labels: a sigmoid for each class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from embedx.errors import ParameterError
from embedx.evaluation.iterative_stratification import holdout_of_sets
from embedx.heads.mlp import MLPClassifier, forward

__all__ = ["MultiLabelMLP"]


class MultiLabelMLP(MLPClassifier):
    """`MLPClassifier` with binary cross-entropy, summed over the classes, and a probability of each class of its own.

    Parameters are those of `MLPClassifier`, but that ``class_weight`` must be None. The part held out for stopping has
    every class, or there is none.
    """

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        on_epoch: Callable[[int, float], None] | None = None,
    ) -> MultiLabelMLP:
        """Learn which classes clips have: X of shape (n, n_features), y of shape (n, n_classes), 0 or 1."""
        self.check()
        if self.class_weight is not None or sample_weight is not None:
            raise ParameterError(
                "the MLP takes no weights where a clip may have several labels: leave class_weight out"
            )
        X, y = validate_data(self, X, y, dtype=(np.float32, np.float64), multi_output=True)
        self._require_layers(X)
        self.classes_ = np.arange(y.shape[1])
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        train, valid = holdout_of_sets(y, groups, self.validation_fraction, seed)
        self._train(X, y.astype(np.float32), np.ones(len(X)), train, valid, seed, on_epoch)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.floating]:
        """Return the probability of each class, shape (n, n_classes); rows do not sum to one."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=(np.float32, np.float64))
        return expit(forward(self.weights_, X).astype(np.float64))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return which classes are more probable than not, shape (n, n_classes), bool."""
        return self.predict_proba(X) >= 0.5
