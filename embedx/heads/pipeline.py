"""The pipeline that every head is: probabilities leave it as float64 rows that sum to one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from embedx.heads.calibration import as_distribution

__all__ = ["HeadPipeline"]


class HeadPipeline(Pipeline):
    """A `sklearn.pipeline.Pipeline` whose probabilities sum to one in float64, whatever the last step computes in."""

    def predict_proba(self, X: Any, **params: Any) -> NDArray[np.float64]:
        """Return probabilities of shape (n, n_classes), float64."""
        return as_distribution(super().predict_proba(X, **params))
