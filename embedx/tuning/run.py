"""tune(): ask, try, tell, until the budget is spent."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embedx.dataset import Dataset
from embedx.errors import DatasetError, EmbedxError, ParameterError, unknown_name
from embedx.evaluation.splits import plan_folds
from embedx.heads.catalog import HeadSpec, as_spec, default_parameters, make_head, search_space, with_recipe
from embedx.heads.space import Choice, Dimension
from embedx.tuning.objective import Objective, Task

__all__ = ["METRICS", "PRUNERS", "Tuned", "tune"]

METRICS = {"log_loss": "minimize", "balanced_accuracy": "maximize"}
PRUNERS = ("median", "hyperband", "none")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tuned:
    """What a study found.

    Parameters
    ----------
    params : dict
        Best parameters of the head's factory.
    value : float
        Their mean score over the inner folds.
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
        ``number``, ``state``, ``value`` (None unless complete), ``last_step`` and ``params`` of every trial, in order.
    """

    params: dict[str, Any]
    value: float
    metric: str
    estimator: Any
    n_trials: int
    n_pruned: int
    seconds: float
    history: tuple[dict[str, Any], ...] = field(repr=False)


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
    pruner: str = "median",
    progress: Callable[..., None] | None = None,
    n_jobs: int = 1,
) -> Tuned:
    """Find good parameters by inner cross-validation on the clips of ``dataset`` alone.

    The head's defaults are trial 0, so the result is never worse than they are on the inner folds.
    The sampler is TPE (Bergstra et al. 2011; multivariate as in Falkner et al. 2018).

    Parameters
    ----------
    head : str, HeadSpec or estimator
        What to tune; an estimator of your own needs ``space`` (without it only its layer is tuned).
    dataset : Dataset
        The training part, never the test part. Its groups are kept whole in the inner folds.
    space : mapping of str to Dimension, optional
        What to try instead of the head's own space.
    n_trials : int
        Trials, those of an earlier run of the same study and of other processes included.
    timeout_seconds : float, optional
        No trial starts later; a running one is given up at its next fold.
    metric : {'log_loss', 'balanced_accuracy'}
        What is optimised.
    n_folds : int
        Inner folds; fewer when the smallest class or the groups do not allow so many.
    seed : int
        Seed of folds, heads and sampler.
    study : str, optional
        File (sqlite; a journal when it ends in ``.journal``) or database URL that keeps the study. Several processes
        may work on one study; the same call goes on with it after a kill. Other clips, heads or
        settings are another study in the same file.
    pruner : {'median', 'hyperband', 'none'}
        When a trial is given up: below the median of earlier ones after the same folds (and, for heads trained by
        epochs, the same epochs of the first fold); by Hyperband (Li et al. 2018); or never.
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
        An unknown head, metric or pruner, a number out of range, or a study that cannot be opened.
    """
    started = time.monotonic()
    _check(metric, pruner, n_trials, n_folds, n_jobs, timeout_seconds)
    spec = as_spec(with_recipe(head, dataset.recipe), space=space)
    task = _task(spec, dataset, metric=metric, n_folds=n_folds, seed=seed)
    dimensions = search_space(task.spec, n_layers=task.n_layers)
    deadline = None if timeout_seconds is None else started + timeout_seconds
    objective = Objective(task, dimensions, n_jobs=n_jobs, epochs=pruner != "hyperband", deadline=deadline)
    found = _open(study, objective, dataset, pruner)
    _run(found, objective, n_trials if dimensions else 1, progress)
    return _tuned(found, task, time.monotonic() - started)


def _check(metric: str, pruner: str, n_trials: int, n_folds: int, n_jobs: int, timeout_seconds: float | None) -> None:
    if metric not in METRICS:
        raise ParameterError(unknown_name("metric", metric, METRICS))
    if pruner not in PRUNERS:
        raise ParameterError(unknown_name("pruner", pruner, PRUNERS))
    for name, value, least in (("n_trials", n_trials, 1), ("n_folds", n_folds, 2), ("n_jobs", n_jobs, 1)):
        if value < least:
            raise ParameterError(f"{name} is {value}: it must be {least} or more")
    if timeout_seconds is not None and not timeout_seconds > 0:
        raise ParameterError(f"timeout_seconds is {timeout_seconds}: it must be above 0")


def _task(spec: HeadSpec, dataset: Dataset, *, metric: str, n_folds: int, seed: int) -> Task:
    learnable = dataset.require_learnable(least=2)
    y, groups = learnable.y, learnable.groups
    assert y is not None
    smallest = int(np.unique(y, return_counts=True)[1].min())
    most = smallest if groups is None else len(np.unique(groups))
    if most < 2:
        raise DatasetError("every clip is of one group: tuning needs two groups or more for its inner folds")
    folds = plan_folds(y, groups=groups, n_folds=min(n_folds, most), seed=seed)
    usable = tuple(fold for fold in folds if len(np.unique(y[fold.train])) > 1)
    if not usable:
        raise DatasetError("no inner fold has two classes to learn from: tuning needs classes in several groups")
    return Task(
        spec=spec,
        X=learnable.inputs_for(spec),
        y=y,
        groups=groups,
        folds=usable,
        n_layers=learnable.n_layers,
        metric=metric,
        seed=seed,
    )


def _open(place: str | None, objective: Objective, dataset: Dataset, pruner: str) -> Any:
    from embedx.tuning.studies import open_study

    task = objective.task
    study = open_study(
        place,
        name=f"{task.spec.name}-{_fingerprint(objective, dataset)[:16]}",
        direction=METRICS[task.metric],  # type: ignore[arg-type]
        seed=task.seed,
        pruner=_pruner(pruner, len(task.folds)),
    )
    defaults = default_parameters(task.spec)
    if objective.dimensions:
        allowed = {n: defaults[n] for n, d in objective.dimensions.items() if n in defaults and _holds(d, defaults[n])}
        study.enqueue_trial(allowed, skip_if_exists=True)
    return study


def _holds(dimension: Dimension, value: Any) -> bool:
    """Say whether a space of the user's own allows a default."""
    if isinstance(dimension, Choice):
        return value in dimension.options
    return isinstance(value, int | float) and dimension.low <= value <= dimension.high


def _fingerprint(objective: Objective, dataset: Dataset) -> str:
    """Hash everything that a trial's value follows from."""
    task = objective.task
    facts = {
        "recipe": dataset.recipe.fingerprint(),
        "clips": [
            [s.id, s.label, s.group, bytes(h).hex()] for s, h in zip(dataset.sources, dataset.hashes, strict=True)
        ],
        "space": {name: repr(dimension) for name, dimension in objective.dimensions.items()},
        "head": repr(task.spec.factory) if task.spec.name not in _catalogue() else task.spec.name,
        "rest": [task.metric, task.seed, [fold.test.tolist() for fold in task.folds]],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _catalogue() -> Mapping[str, HeadSpec]:
    from embedx.heads.catalog import CATALOG

    return CATALOG


def _pruner(name: str, n_folds: int) -> Any:
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=10, n_min_trials=4)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=n_folds, reduction_factor=2)
    return optuna.pruners.NopPruner()


def _run(study: Any, objective: Objective, n_trials: int, progress: Callable[..., None] | None) -> None:
    from optuna.trial import TrialState

    from embedx.tuning.studies import WORKER, worker_name

    worker = worker_name()

    def attempt(trial: Any) -> float:
        trial.set_user_attr(WORKER, worker)
        try:
            return objective(trial)
        except (ValueError, np.linalg.LinAlgError) as error:
            trial.set_user_attr("error", str(error)[:300])
            raise

    while True:
        trials = study.get_trials(deepcopy=False)
        done = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED) or "error" in t.user_attrs]
        complete = [t for t in done if t.state == TrialState.COMPLETE]
        if progress is not None and complete:
            progress(min(len(done), n_trials), n_trials, best=f"{study.best_value:.4f}")
        late = objective.deadline is not None and time.monotonic() > objective.deadline
        if len(done) >= n_trials or (late and complete):
            return
        # Parameters that a head refuses on these clips cost a trial; the defaults have to work.
        try:
            study.optimize(attempt, n_trials=1, catch=(ValueError, np.linalg.LinAlgError) if complete else ())
        except ValueError as error:
            if isinstance(error, EmbedxError):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DatasetError(f"head {objective.task.spec.name!r} cannot learn from these clips: {reason}") from error


def _tuned(study: Any, task: Task, seconds: float) -> Tuned:
    trials = study.trials
    history = tuple(
        {
            "number": t.number,
            "state": t.state.name.lower(),
            "value": t.value if t.state.name == "COMPLETE" else None,
            "last_step": t.last_step,
            "params": dict(t.params),
        }
        for t in trials
    )
    params = dict(study.best_trial.params)
    return Tuned(
        params=params,
        value=float(study.best_value),
        metric=task.metric,
        estimator=make_head(task.spec, n_layers=task.n_layers, random_state=task.seed, **params),
        n_trials=sum(t.state.name in ("COMPLETE", "PRUNED") for t in trials),
        n_pruned=sum(t.state.name == "PRUNED" for t in trials),
        seconds=seconds,
        history=history,
    )
