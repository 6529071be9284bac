"""tune(): the only room that knows optuna. It sees the clips that it is given and no others."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset
from embedx.errors import DatasetError, ParameterError, unknown_name
from embedx.heads.catalog import HeadSpec, as_spec, default_parameters, fit_head, make_head, search_space
from embedx.heads.space import Choice, Dimension, Integer

__all__ = ["BUDGETS", "Budget", "Tuned", "tune"]


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
"""Named budgets for people who do not want to choose three numbers."""

METRICS = {"log_loss": "minimize", "balanced_accuracy": "maximize"}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tuned:
    """What a study found.

    Parameters
    ----------
    params : dict
        Best parameters of the head's factory.
    value : float
        Their score over the inner folds.
    metric : str
        ``"log_loss"`` or ``"balanced_accuracy"``.
    estimator : estimator
        Unfitted head with these parameters.
    n_trials : int
        Finished trials, pruned ones included.
    n_pruned : int
        Trials that were given up early.
    seconds : float
        Time this call took.
    history : tuple of dict
        ``number``, ``state``, ``value`` and ``params`` of every trial, in order.
    """

    params: dict[str, Any]
    value: float
    metric: str
    estimator: Any
    n_trials: int
    n_pruned: int
    seconds: float
    history: tuple[dict[str, Any], ...]


def tune(
    head: str | HeadSpec | Any,
    dataset: Dataset,
    *,
    space: Mapping[str, Dimension] | None = None,
    n_trials: int = 50,
    timeout_seconds: float | None = None,
    metric: str = "log_loss",
    n_folds: int = 5,
    seed: int = 0,
    study: str | None = None,
    progress: Callable[..., None] | None = None,
    n_jobs: int = 1,
) -> Tuned:
    """Find good parameters by inner cross-validation on the clips of ``dataset`` alone.

    The head's defaults are trial 0, so the result is never worse than they are on the inner folds.

    Parameters
    ----------
    head : str, HeadSpec or estimator
        What to tune; an estimator of your own needs ``space``.
    dataset : Dataset
        The training part, never the test part. Its groups are kept together in the inner folds.
    space : mapping of str to Dimension, optional
        What to try instead of the head's own space.
    n_trials : int
        Trials, those of an earlier run of the same study included.
    timeout_seconds : float, optional
        No trial starts later.
    metric : {'log_loss', 'balanced_accuracy'}
        What is optimised.
    n_folds : int
        Inner folds; fewer when a class or the groups do not allow so many.
    seed : int
        Seed of folds, heads and sampler.
    study : str, optional
        File (sqlite; a journal when it ends in ``.journal``) or database URL that keeps the study.
    progress : callable, optional
        Called as ``progress(done, total, best=...)``.
    n_jobs : int
        Processes that share the folds of a trial.

    Returns
    -------
    Tuned

    Raises
    ------
    DatasetError
        Labels or groups that cannot be cross-validated.
    ParameterError
        An unknown head or metric, or a study that cannot be opened.
    """
    import optuna

    if metric not in METRICS:
        raise ParameterError(unknown_name("metric", metric, METRICS))
    started = time.monotonic()
    spec = as_spec(head, space=space)
    dataset = dataset.require_learnable(least=2)
    dimensions = search_space(spec, n_layers=dataset.n_layers)
    objective = _Objective(spec, dataset, dimensions, metric, _folds(dataset, n_folds, seed), seed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = optuna.create_study(direction=METRICS[metric], sampler=optuna.samplers.TPESampler(seed=seed))
    defaults = {name: value for name, value in default_parameters(spec).items() if name in dimensions}
    found.enqueue_trial(defaults, skip_if_exists=True)

    def report(study: Any, trial: Any) -> None:
        if progress is not None:
            progress(len(study.trials), n_trials, best=f"{study.best_value:.4f}")

    found.optimize(objective, n_trials=n_trials if dimensions else 1, timeout=timeout_seconds, callbacks=[report])
    return _tuned(found, spec, dataset, metric, seed, time.monotonic() - started)


def _tuned(study: Any, spec: HeadSpec, dataset: Dataset, metric: str, seed: int, seconds: float) -> Tuned:
    trials = study.trials
    history = tuple(
        {"number": t.number, "state": t.state.name.lower(), "value": t.value, "params": dict(t.params)} for t in trials
    )
    params = dict(study.best_trial.params)
    return Tuned(
        params=params,
        value=float(study.best_value),
        metric=metric,
        estimator=make_head(spec, n_layers=dataset.n_layers, random_state=seed, **params),
        n_trials=sum(t.state.is_finished() for t in trials),
        n_pruned=sum(t.state.name == "PRUNED" for t in trials),
        seconds=seconds,
        history=history,
    )


@dataclass(frozen=True, slots=True)
class _Objective:
    """One trial: suggest, fit on every inner fold, score."""

    spec: HeadSpec
    dataset: Dataset
    dimensions: Mapping[str, Dimension]
    metric: str
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]]
    seed: int

    def __call__(self, trial: Any) -> float:
        params = {name: _suggest(trial, name, dimension) for name, dimension in self.dimensions.items()}
        scores = [self._score(params, train, test) for train, test in self.folds]
        return float(np.mean(scores))

    def _score(self, params: Mapping[str, Any], train: NDArray[np.intp], test: NDArray[np.intp]) -> float:
        dataset = self.dataset
        X, y, groups = dataset.inputs_for(self.spec), dataset.y, dataset.groups
        assert y is not None
        head = make_head(self.spec, n_layers=dataset.n_layers, random_state=self.seed, **params)
        fit_head(head, X[train], y[train], groups=None if groups is None else groups[train])
        classes = np.unique(y)
        proba = np.zeros((len(test), len(classes)))
        proba[:, np.searchsorted(classes, head.classes_)] = head.predict_proba(X[test])
        return _metric(self.metric, y[test], proba, classes)


def _metric(metric: str, y: NDArray[Any], proba: NDArray[np.float64], classes: NDArray[Any]) -> float:
    from sklearn.metrics import balanced_accuracy_score

    if metric == "balanced_accuracy":
        return float(balanced_accuracy_score(y, classes[proba.argmax(axis=1)]))
    chosen = proba[np.arange(len(y)), np.searchsorted(classes, y)]
    return float(-np.log(np.clip(chosen, 1e-15, 1)).mean())


def _suggest(trial: Any, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.options)
    if isinstance(dimension, Integer):
        return trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def _folds(dataset: Dataset, n_folds: int, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    y, groups = dataset.y, dataset.groups
    assert y is not None
    most = int(np.unique(y, return_counts=True)[1].min()) if groups is None else len(np.unique(groups))
    n_folds = min(n_folds, most)
    if n_folds < 2:
        raise DatasetError("all clips are of one group: tuning needs two groups or more for its inner folds")
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return list(kind(n_folds, shuffle=True, random_state=seed).split(y, y, groups))
