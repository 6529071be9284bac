"""One trial: suggest parameters, fit on every inner fold, score, give up early when it is hopeless."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.errors import EmbedxError
from embedx.evaluation.metrics import score
from embedx.evaluation.multi_label_metrics import score_sets
from embedx.evaluation.splits import Fold
from embedx.heads.catalog import HeadSpec, fit_head, make_head
from embedx.heads.multi_label import make_multi_label_head
from embedx.heads.search_space import Choice, Dimension, Integer
from embedx.text import first_line

__all__ = ["FOLD_STEP", "HeadError", "HeadRefusal", "Objective", "Task"]

FOLD_STEP = 1000
"""Where epochs are reported too, steps from here on are folds; those below are epochs of the first fold."""


class HeadError(EmbedxError):
    """What a head raised, its cause, told apart from what the storage of a study raises."""


class HeadRefusal(HeadError):
    """Parameters or clips that a head cannot work with: they cost a trial, not the study."""


@contextmanager
def _head_errors(but: list[Exception]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if error in but:
            raise
        kind = HeadRefusal if isinstance(error, ValueError | np.linalg.LinAlgError) else HeadError
        raise kind(first_line(error)) from error


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Task:
    """What is learned, from which clips, in which folds, judged by what.

    Parameters
    ----------
    spec : HeadSpec
        The head.
    X, y : ndarray
        As the head takes them; labels (n,), or (n, k), bool, where a clip may have several.
    groups : ndarray of shape (n,) or None
        For early stopping.
    folds : tuple of Fold
        Inner folds.
    n_layers : int
        Layers in X.
    metric : str
        ``"log_loss"`` or ``"balanced_accuracy"``; ``"mean_average_precision"`` where a clip may have several labels.
    seed : int
        Seed of the heads.
    """

    spec: HeadSpec
    X: Any
    y: NDArray[Any]
    groups: NDArray[np.str_] | None
    folds: tuple[Fold, ...]
    n_layers: int
    metric: str
    seed: int

    def make(self, params: Mapping[str, Any]) -> Any:
        """Return the head with these parameters, unfitted."""
        make: Callable[..., Any] = make_head if self.y.ndim == 1 else make_multi_label_head
        return make(self.spec, n_layers=self.n_layers, random_state=self.seed, **params)

    def score(
        self, params: Mapping[str, Any], fold: Fold, on_epoch: Callable[[int, float], None] | None = None
    ) -> float:
        """Fit on one fold's training part and score its test part, the clips of classes that were learned."""
        head = self.make(params)
        groups = None if self.groups is None else self.groups[fold.train]
        fit_head(head, self.X[fold.train], self.y[fold.train], groups=groups, on_epoch=on_epoch)
        if self.y.ndim == 2:
            return self._score_sets(head, fold)
        test = fold.test[np.isin(self.y[fold.test], self.y[fold.train])]
        return float(score(self.y[test], head.predict_proba(self.X[test]), head.classes_)[self.metric])

    def _score_sets(self, head: Any, fold: Fold) -> float:
        learned = self.y[fold.train].any(0)
        proba = head.predict_proba(self.X[fold.test])[:, learned]
        return score_sets(self.y[fold.test][:, learned], proba, proba >= 0.5)[self.metric]


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
        Whether the epochs of the first fold are reported too, as steps ahead of `FOLD_STEP`. If not, the steps are
        the folds, counted from 1: the resource that Hyperband shares out.
    deadline : float or None
        Time (``time.monotonic``) after which a trial that is not the first one is given up between two folds.
    backend, address : str
        As in `embedx.tuning.parallel.parallel`.
    """

    task: Task
    dimensions: Mapping[str, Dimension]
    n_jobs: int = 1
    epochs: bool = True
    deadline: float | None = None
    backend: str = "loky"
    address: str | None = None

    def __call__(self, trial: Any) -> float:
        params = {name: _suggest(trial, name, dimension) for name, dimension in self.dimensions.items()}
        scores: list[float] = []
        before = FOLD_STEP if self.epochs else 0
        for some in self._waves(trial, params):
            scores += some
            trial.report(float(np.mean(scores)), before + len(scores))
            if len(scores) < len(self.task.folds):
                self._give_up(trial)
        return float(np.mean(scores))

    def _waves(self, trial: Any, params: Mapping[str, Any]) -> Iterator[list[float]]:
        folds = self.task.folds
        if self.n_jobs == 1 and self.backend == "loky":
            for i, fold in enumerate(folds):
                stops: list[Exception] = []
                epochs = i == 0 and self.epochs and self.task.metric == "log_loss"
                watch = self._watch(trial, stops) if epochs else None
                with _head_errors(but=stops):
                    scores = [self.task.score(params, fold, watch)]
                yield scores
            return
        from joblib import Parallel, delayed

        from embedx.tuning.parallel import parallel

        with parallel(self.n_jobs, self.backend, self.address), Parallel() as pool:
            for start in range(0, len(folds), self.n_jobs):
                some = folds[start : start + self.n_jobs]
                with _head_errors(but=[]):
                    scores = pool(delayed(self.task.score)(params, fold) for fold in some)
                yield scores

    def _watch(self, trial: Any, stops: list[Exception]) -> Callable[[int, float], None]:
        def on_epoch(epoch: int, loss: float) -> None:
            try:
                if epoch < FOLD_STEP:
                    trial.report(loss, epoch)
                    self._give_up(trial)
            except Exception as error:
                stops.append(error)
                raise

        return on_epoch

    def _give_up(self, trial: Any) -> None:
        from optuna import TrialPruned

        late = self.deadline is not None and trial.number > 0 and time.monotonic() > self.deadline
        worse = trial.should_prune() and trial.number > 0  # the defaults are what the others are held against
        if late or worse:
            raise TrialPruned("out of time" if late else "worse than others at this step")


def _suggest(trial: Any, name: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.options)
    if isinstance(dimension, Integer):
        return trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
