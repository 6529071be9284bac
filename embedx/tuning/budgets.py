"""How much a study may cost, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BUDGETS", "Budget"]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a study may cost.

    Parameters
    ----------
    n_trials : int
        Trials, all processes together.
    timeout_seconds : float or None
        No trial starts later than this.
    n_folds : int
        Inner folds.
    """

    n_trials: int
    timeout_seconds: float | None
    n_folds: int


BUDGETS: Mapping[str, Budget] = {
    "fast": Budget(15, 60.0, 3),
    "default": Budget(50, 600.0, 5),
    "thorough": Budget(200, 3600.0, 5),
}
"""For people who do not want to choose three numbers."""
