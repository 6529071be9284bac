"""One trial: suggest parameters, fit on every inner fold, score, give up early when it is hopeless."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.evaluation.metrics import align_proba, score
from embedx.evaluation.splits import Fold
from embedx.heads.catalog import HeadSpec, fit_head, make_head
from embedx.heads.space import Choice, Dimension, Integer
from embedx.launch import safe_path

__all__ = ["FOLD_STEP", "Objective", "Task"]

FOLD_STEP = 1000
"""Steps from here on are folds; those below are epochs of the first fold."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Task:
    """What is learned, from which clips, in which folds, judged by what.

    Parameters
    ----------
    spec : HeadSpec
        The head.
    X, y : ndarray
        As the head eats them; labels (n,).
    groups : ndarray of shape (n,) or None
        For early stopping.
    folds : tuple of Fold
        Inner folds.
    n_layers : int
        Layers in X.
    metric : str
        ``"log_loss"`` or ``"balanced_accuracy"``.
    seed : int
        Seed of the heads.
    """

    spec: HeadSpec
    X: Any
    y: NDArray[np.str_]
    groups: NDArray[np.str_] | None
    folds: tuple[Fold, ...]
    n_layers: int
    metric: str
    seed: int

    def score(
        self, params: Mapping[str, Any], fold: Fold, on_epoch: Callable[[int, float], None] | None = None
    ) -> float:
        """Fit on one fold's training part and score its test part."""
        head = make_head(self.spec, n_layers=self.n_layers, random_state=self.seed, **params)
        groups = None if self.groups is None else self.groups[fold.train]
        fit_head(head, self.X[fold.train], self.y[fold.train], groups=groups, on_epoch=on_epoch)
        classes = np.unique(self.y)
        proba = align_proba(head.predict_proba(self.X[fold.test]), head.classes_, classes)
        return float(score(self.y[fold.test], proba, classes)[self.metric])


@dataclass(frozen=True, slots=True)
class Objective:
    """What optuna calls; a report after each fold lets its pruner end a trial.

    Parameters
    ----------
    task : Task
        What is learned.
    dimensions : mapping of str to Dimension
        What may be tried.
    n_jobs : int
        Processes that share the folds of a trial.
    epochs : bool
        Whether the epochs of the first fold are reported too.
    deadline : float or None
        Time (``time.monotonic``) after which a trial that is not the first one is given up between two folds.
    """

    task: Task
    dimensions: Mapping[str, Dimension]
    n_jobs: int = 1
    epochs: bool = True
    deadline: float | None = None

    def __call__(self, trial: Any) -> float:
        params = {name: _suggest(trial, name, dimension) for name, dimension in self.dimensions.items()}
        scores: list[float] = []
        for some in self._waves(trial, params):
            scores += some
            trial.report(float(np.mean(scores)), FOLD_STEP + len(scores))
            if len(scores) < len(self.task.folds):
                self._give_up(trial)
        return float(np.mean(scores))

    def _waves(self, trial: Any, params: Mapping[str, Any]) -> Iterator[list[float]]:
        folds = self.task.folds
        if self.n_jobs == 1:
            for i, fold in enumerate(folds):
                watch = self._watch(trial) if i == 0 and self.epochs and self.task.metric == "log_loss" else None
                yield [self.task.score(params, fold, watch)]
            return
        from joblib import Parallel, delayed, parallel_config

        loky = parallel_config("loky", n_jobs=self.n_jobs, inner_max_num_threads=1)
        with safe_path(), loky, Parallel() as pool:
            for start in range(0, len(folds), self.n_jobs):
                yield pool(delayed(self.task.score)(params, fold) for fold in folds[start : start + self.n_jobs])

    def _watch(self, trial: Any) -> Callable[[int, float], None]:
        def on_epoch(epoch: int, loss: float) -> None:
            if epoch < FOLD_STEP:
                trial.report(loss, epoch)
                self._give_up(trial)

        return on_epoch

    def _give_up(self, trial: Any) -> None:
        from optuna import TrialPruned

        late = self.deadline is not None and trial.number > 0 and time.monotonic() > self.deadline
        if late or trial.should_prune():
            raise TrialPruned("out of time" if late else "worse than the median at this step")


def _suggest(trial: Any, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.options)
    if isinstance(dimension, Integer):
        return trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
