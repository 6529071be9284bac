"""What a comparison of heads for several labels a clip holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.comparison.result import Comparison, Row
from embedx.evaluation.multi_label_metrics import MULTI_LABEL_METRICS
from embedx.text import as_html

__all__ = ["MultiLabelComparison", "best_by_f1"]


def best_by_f1(rows: tuple[Row, ...]) -> Row:
    """Return the head with the best macro F1, macro average precision deciding ties; a control only without heads."""
    heads = [row for row in rows if row.kind == "head"]
    return max(heads or rows, key=lambda row: (row.scores["macro_f1"], row.scores["mean_average_precision"]))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MultiLabelComparison(Comparison):
    """Heads on the same folds, for clips that may have several labels: what `embedx.compare` returns of such.

    Rows have the scores ``macro_f1``, ``micro_f1``, ``mean_average_precision`` and ``roc_auc``; neither confusion nor
    reliability, and there are no curves. Tests are about macro F1.

    Parameters
    ----------
    separator : str
        What stands between the classes of a label.
    given : mapping of str to ndarray of shape (R, n, k), bool
        By row: which classes each clip was given in each repetition, by thresholds of the training part.
    class_scores : mapping of str to mapping
        By row and class: ``n_clips``, ``f1``, ``precision``, ``recall``, ``average_precision`` and ``roc_auc`` of the
        first repetition.
    """

    separator: str
    given: Mapping[str, NDArray[np.bool_]]
    class_scores: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def __repr__(self) -> str:
        scores = ", ".join(f"{row.name} {row.scores['macro_f1']:.3f}" for row in self.rows)
        return f"MultiLabelComparison({len(self.sources)} clips, {len(self.classes)} classes; macro F1: {scores})"

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        rows = [(row.title, *(f"{row.scores[name]:.3f}" for name in MULTI_LABEL_METRICS)) for row in self.rows]
        return as_html(self.headline, rows, header=("head", *MULTI_LABEL_METRICS.values()))

    @property
    def best(self) -> Row:
        """The head with the best macro F1; never a control."""
        return best_by_f1(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the predictions as plain values for JSON (``schema_version`` first)."""
        found = Comparison.to_dict(self)
        return {**found, "label_separator": self.separator, "class_scores": self.class_scores}
