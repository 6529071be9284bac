"""When a trial is given up."""

from __future__ import annotations

import statistics
from typing import Any

from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.study import StudyDirection
from optuna.trial import TrialState

from embedx.tuning.objective import FOLD_STEP

__all__ = ["SameStepPruner", "make_pruner"]


class SameStepPruner(BasePruner):
    """Give a trial up that is worse than the median of the complete ones after the same folds or epochs.

    optuna's `MedianPruner` holds the best value of any step against the others' values at this one. Folds differ in
    difficulty and epochs are measured on other clips than folds, so a trial whose first value is its best would
    never be given up. Here folds are compared with the same folds; epochs, which go up and down, by their best.

    Parameters
    ----------
    n_startup_trials : int
        Complete trials before any is given up.
    n_warmup_epochs : int
        Epochs before any is given up.
    n_min_trials : int
        Complete trials that have reached the step.
    """

    def __init__(self, *, n_startup_trials: int = 5, n_warmup_epochs: int = 10, n_min_trials: int = 4) -> None:
        self._n_startup_trials = n_startup_trials
        self._n_warmup_epochs = n_warmup_epochs
        self._n_min_trials = n_min_trials

    def prune(self, study: Any, trial: Any) -> bool:
        """Say whether the trial is to be given up at its last step."""
        step = trial.last_step
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if step is None or step < self._n_warmup_epochs or len(complete) < self._n_startup_trials:
            return False
        others = [other.intermediate_values[step] for other in complete if step in other.intermediate_values]
        if len(others) < self._n_min_trials:
            return False
        sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
        values = trial.intermediate_values
        own = min(sign * values[s] for s in values if s == step or (s < step < FOLD_STEP))
        return not own <= statistics.median(sign * other for other in others)


def make_pruner(name: str, *, n_folds: int) -> BasePruner:
    """Return the pruner of this name; Hyperband's resource is folds, from 1 to all of them."""
    if name == "median":
        return SameStepPruner()
    if name == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=n_folds, reduction_factor=2)
    return NopPruner()
