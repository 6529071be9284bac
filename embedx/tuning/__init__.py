"""tune(): the only modules that import optuna. They see the clips that they are given and no others."""

from __future__ import annotations

from embedx.tuning.budgets import BUDGETS, Budget
from embedx.tuning.run import Tuned, tune

__all__ = ["BUDGETS", "Budget", "Tuned", "tune"]
