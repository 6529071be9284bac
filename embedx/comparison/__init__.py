"""Heads side by side on the same folds: scores with intervals, tests, costs, and a verdict in plain words."""

from embedx.comparison.fit_schedule import Cost
from embedx.comparison.multi_label_result import MultiLabelComparison
from embedx.comparison.result import Comparison, Row, Test
from embedx.comparison.run import compare

__all__ = ["Comparison", "Cost", "MultiLabelComparison", "Row", "Test", "compare"]
