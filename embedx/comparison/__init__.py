"""Heads side by side on the same folds: scores with intervals, tests, costs, and a verdict in plain words."""

from embedx.comparison.result import Comparison, Row, Test
from embedx.comparison.run import compare
from embedx.comparison.schedule import Cost

__all__ = ["Comparison", "Cost", "Row", "Test", "compare"]
