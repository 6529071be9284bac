"""tune(): ask, try, tell, until the budget is spent."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_choice, require_number, require_seed
from embedx.dataset import Dataset
from embedx.errors import DatasetError, EmbedxError, EmbedxWarning
from embedx.evaluation.splits import Fold, most_folds, plan_folds
from embedx.heads.catalog import HeadSpec, as_spec, default_parameters, search_space, with_recipe
from embedx.heads.multi_label import require_multi_label_head
from embedx.heads.search_space import Dimension, holds
from embedx.tuning.objective import HeadError, HeadRefusal, Objective, Task
from embedx.tuning.parallel import joined, require_jobs

__all__ = ["METRICS", "PRUNERS", "Tuned", "tune"]

METRICS = {"log_loss": "minimize", "balanced_accuracy": "maximize"}
METRICS_OF_SETS = {"mean_average_precision": "maximize"}
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
        ``"log_loss"``, ``"balanced_accuracy"`` or ``"mean_average_precision"``.
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
    dataset: Dataset,
    head: str | HeadSpec | Any,
    *,
    space: Mapping[str, Dimension] | None = None,
    n_trials: int = 50,
    timeout_seconds: float | None = None,
    metric: str | None = None,
    n_folds: int = 5,
    seed: int = 0,
    study: str | None = None,
    pruner: str = "median",
    progress: Callable[..., None] | None = None,
    n_jobs: int = 1,
    jobs_backend: str = "loky",
    address: str | None = None,
) -> Tuned:
    """Find good parameters by inner cross-validation on the clips of ``dataset`` alone.

    The head's defaults are trial 0, so the result is never worse than they are on the inner folds.
    The sampler is TPE (Bergstra et al. 2011; multivariate as in Falkner et al. 2018).

    Parameters
    ----------
    dataset : Dataset
        The training part, never the test part. Its groups are kept whole in the inner folds.
    head : str, HeadSpec or estimator
        What to tune; an estimator of your own needs ``space`` (without it only its layer is tuned).
    space : mapping of str to Dimension, optional
        What to try instead of the head's own space.
    n_trials : int
        Trials, those of an earlier run of the same study and of other processes included.
    timeout_seconds : float, optional
        No trial starts later; a running one is given up at its next fold.
    metric : {'log_loss', 'balanced_accuracy'} or 'mean_average_precision'
        What is optimised: log-loss by default. Where a clip may have several labels (`Dataset.multi_label`) it is the
        mean over the classes of their average precision, which needs no threshold.
    n_folds : int
        Inner folds, stratified by class (iteratively where a clip may have several labels); fewer when the smallest
        class of two clips or more or the groups do not allow so many. A clip whose class a fold does not learn is not
        scored there.
    seed : int
        Seed of folds, heads and sampler.
    study : str, optional
        File (sqlite; a journal when it ends in ``.journal``) or database URL that keeps the study. Several processes
        may work on one study; the same call goes on with it after a kill. Other clips, heads or
        settings are another study in the same file.
    pruner : {'median', 'hyperband', 'none'}
        When a trial is given up: worse than the median of earlier ones after the same folds (and, for heads trained
        by epochs, the same epochs of the first fold); by Hyperband (Li et al. 2018), whose resource is the number of
        folds; or never. The defaults, trial 0, are always finished.
    progress : callable, optional
        Called as ``progress(done, total, best=...)``.
    n_jobs : int
        Processes that share the folds of a trial.
    jobs_backend : {'loky', 'ray'}
        Processes of this machine, or of a Ray cluster (``embedx[ray]``).
    address : str, optional
        Of a running cluster, for ``"ray"``; without it Ray is started on this machine.

    Returns
    -------
    Tuned

    Raises
    ------
    DatasetError
        Labels or groups that cannot be cross-validated.
    ParameterError
        An unknown head, metric or pruner, a number out of range, or a study that cannot be opened.

    Examples
    --------
    >>> from embedx.testing import make_dataset
    >>> found = tune(make_dataset(), "logreg", n_trials=2, n_folds=2)
    >>> sorted(found.params)
    ['C', 'class_weight', 'layer']
    """
    started = time.monotonic()
    if isinstance(head, Dataset):  # the order of an earlier version
        warnings.warn("tune(head, dataset) is now tune(dataset, head)", EmbedxWarning, stacklevel=2)
        dataset, head = head, dataset
    metrics = METRICS if dataset.label_separator is None else METRICS_OF_SETS
    metric = next(iter(metrics)) if metric is None else metric
    require_choice("metric", metric, tuple(metrics))
    _check(pruner, timeout_seconds, n_trials, n_folds, n_jobs)
    require_jobs(n_jobs, jobs_backend, address)
    seed = require_seed(seed)
    if dataset.label_separator is not None:
        require_multi_label_head(head)
    spec = as_spec(with_recipe(head, dataset.recipe), space=space)
    task = _task(spec, dataset, metric=metric, n_folds=n_folds, seed=seed)
    dimensions = search_space(task.spec, n_layers=task.n_layers)
    deadline = None if timeout_seconds is None else started + timeout_seconds
    objective = Objective(
        task,
        dimensions,
        n_jobs=n_jobs,
        epochs=pruner != "hyperband",
        deadline=deadline,
        backend=jobs_backend,
        address=address,
    )
    found = _open(study, objective, dataset, pruner)
    with joined(jobs_backend, address):
        _run(found, objective, n_trials if dimensions else 1, progress, study)
    from embedx.tuning.studies import study_errors

    with study_errors(study):
        return _tuned(found, task, time.monotonic() - started)


def _check(pruner: str, timeout_seconds: Any, n_trials: Any, n_folds: Any, n_jobs: Any) -> None:
    require_choice("pruner", pruner, PRUNERS)
    for name, value, least in (("n_trials", n_trials, 1), ("n_folds", n_folds, 2), ("n_jobs", n_jobs, 1)):
        require_number(name, value, least, whole=True)
    require_number("timeout_seconds", timeout_seconds, 0, open_low=True, optional=True)


def _task(spec: HeadSpec, dataset: Dataset, *, metric: str, n_folds: int, seed: int) -> Task:
    learnable = dataset.require_learnable(least=1)
    is_several = learnable.label_separator is not None
    y = learnable.label_matrix(learnable.classes) if is_several else learnable.y
    groups = learnable.groups
    assert y is not None
    folds = plan_folds(y, groups=groups, n_folds=min(n_folds, _most_folds(y, groups)), seed=seed)
    usable = tuple(fold for fold in folds if _can_be_scored(y, fold))
    if not usable:
        raise DatasetError(
            "no inner fold has two classes to learn from and a clip of them to score: "
            "tuning needs classes in several groups"
        )
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


def _can_be_scored(y: NDArray[Any], fold: Fold) -> bool:
    """Say whether a fold has classes to tell apart, and tests one that it learns."""
    if y.ndim == 2:
        return bool((y[fold.train].any(0) & y[fold.test].any(0)).any())
    return len(np.unique(y[fold.train])) > 1 and bool(np.isin(y[fold.test], y[fold.train]).any())


def _most_folds(y: NDArray[Any], groups: NDArray[Any] | None) -> int:
    """Return how many inner folds there can be; a class of a single clip is learned or left out, never scored."""
    n_units = len(y) if groups is None else len(np.unique(groups))
    most = most_folds(y, groups) if y.ndim == 1 else n_units
    if most > 1:
        return most
    if groups is not None and n_units < 2:
        raise DatasetError("every clip is of one group: tuning needs two groups or more for its inner folds")
    raise DatasetError("every class has a single clip: tuning needs classes of two or more for its inner folds")


def _open(place: str | None, objective: Objective, dataset: Dataset, pruner: str) -> Any:
    from embedx.tuning.pruners import make_pruner
    from embedx.tuning.studies import check_trials, open_study, study_errors

    task = objective.task
    study = open_study(
        place,
        name=f"{task.spec.name}-{_fingerprint(objective, dataset)[:16]}",
        direction=(METRICS | METRICS_OF_SETS)[task.metric],  # type: ignore[arg-type]
        seed=task.seed,
        pruner=make_pruner(pruner, n_folds=len(task.folds)),
    )
    check_trials(study, objective.dimensions, task.metric, place)
    defaults = default_parameters(task.spec)
    if objective.dimensions:
        allowed = {n: defaults[n] for n, d in objective.dimensions.items() if n in defaults and holds(d, defaults[n])}
        with study_errors(place):
            study.enqueue_trial(allowed, skip_if_exists=True)
    return study


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


def _run(
    study: Any, objective: Objective, n_trials: int, progress: Callable[..., None] | None, place: str | None
) -> None:
    from optuna.trial import TrialState

    from embedx.tuning.studies import WORKER, study_errors, worker_name

    worker = worker_name()

    def attempt(trial: Any) -> float:
        trial.set_user_attr(WORKER, worker)
        try:
            return objective(trial)
        except HeadRefusal as error:
            trial.set_user_attr("error", str(error)[:300])
            raise

    while True:
        with study_errors(place):
            trials = study.get_trials(deepcopy=False)
            done = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED) or "error" in t.user_attrs]
            complete = [t for t in done if t.state == TrialState.COMPLETE]
            best = study.best_value if complete else None
        if progress is not None and complete:
            progress(min(len(done), n_trials), n_trials, best=f"{best:.4f}")
        late = objective.deadline is not None and time.monotonic() > objective.deadline
        if complete and (late or len(done) >= n_trials):
            return
        # Parameters that a head refuses on these clips cost a trial; the defaults have to work.
        try:
            with study_errors(place):
                study.optimize(attempt, n_trials=1, catch=(HeadRefusal,) if complete else ())
        except HeadError as error:
            cause = error.__cause__
            if isinstance(error, HeadRefusal) and not isinstance(cause, EmbedxError):
                cause = DatasetError(f"head {objective.task.spec.name!r} cannot learn from these clips: {error}")
            raise cause or error from error


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
        estimator=task.make(params),
        n_trials=sum(t.state.name in ("COMPLETE", "PRUNED") for t in trials),
        n_pruned=sum(t.state.name == "PRUNED" for t in trials),
        seconds=seconds,
        history=history,
    )
