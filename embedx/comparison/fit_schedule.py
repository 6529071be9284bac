"""All fits of a comparison: those that were kept, one of each head, which says what the others cost, and the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from embedx.comparison.fold_fitting import Candidate, CurvePoint, FoldFit, fit_fold
from embedx.comparison.saved_fits import KeptFits
from embedx.dataset import Dataset
from embedx.evaluation.splits import Fold, seed_of_repeat
from embedx.tuning.parallel import each_result

__all__ = ["Cost", "Schedule"]

START_SECONDS = 6.0
"""What a process costs before it fits anything: it imports the numeric libraries anew."""

MOST_MEASURED = 2_000
"""Clips of the fit that is measured; where a training part has more, it is measured on some and thrown away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the fits of a comparison will cost, judged from one fit of each head.

    Parameters
    ----------
    n_fits : int
        Fits that are left.
    seconds : float
        Of all processes together.
    n_processes : int
        Processes that share them; 1 where starting others would take longer than they save.
    parts : mapping of str to float
        Seconds of ``"table"``, ``"tuned"``, ``"auto"`` and ``"curves"``.
    unknown : tuple of str
        Heads that learn from audio: they are not in it.
    """

    n_fits: int
    seconds: float
    n_processes: int
    parts: Mapping[str, float]
    unknown: tuple[str, ...] = ()


class Schedule:
    """Every candidate on every fold.

    Parameters
    ----------
    candidates : sequence of Candidate
        Who.
    stores : mapping of str to Dataset
        On what.
    cuts : sequence of Fold
        Where it is cut.
    seed : int
        Seed of everything.
    kept : KeptFits
        Fits of an earlier run, and the place for those of this one.
    progress : callable, optional
        Called as ``progress(done, total, row=..., fold=...)``.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        stores: Mapping[str, Dataset],
        cuts: Sequence[Fold],
        *,
        seed: int,
        kept: KeptFits,
        progress: Callable[..., None] | None,
    ) -> None:
        self.candidates, self.stores, self.cuts, self.seed = candidates, stores, cuts, seed
        self.kept, self.progress = kept, progress
        self.classes = np.array(next(iter(stores.values())).classes)
        self.jobs = [(candidate, fold) for candidate in candidates for fold in cuts]
        self.places: list[Path | None] = [kept.place(c, fold, self._seed(fold)) for c, fold in self.jobs]
        self.ready = {i: fit for i, place in enumerate(self.places) if (fit := kept.read(place)) is not None}

    def measure(self, n_jobs: int) -> Cost:
        """Fit each head once, on the first fold, and say what all that is left then will cost.

        Parameters
        ----------
        n_jobs : int
            Processes that are there, -1 for all cores.
        """
        seconds = {}
        for i, (candidate, fold) in enumerate(self.jobs):
            if fold is self.cuts[0] and candidate.is_plain:
                seconds[candidate.store, candidate.head] = self._seconds(i)
        left = [self.jobs[i][0] for i in self._left()]
        parts = dict.fromkeys(("table", "tuned", "auto", "curves"), 0.0)
        for candidate in left:
            cost = sum(seconds.get((candidate.store, head), 0.0) * n for head, n in candidate.fits.items())
            parts[_part_of(candidate)] += cost
        total, n = sum(parts.values()), joblib.effective_n_jobs(n_jobs)
        unknown = tuple(dict.fromkeys(c.head for c in left if c.on_audio))
        pays = total * (1 - 1 / n) > START_SECONDS or unknown
        return Cost(n_fits=len(left), seconds=total, n_processes=n if pays else 1, parts=parts, unknown=unknown)

    def finish(self, n_jobs: int, *, backend: str, address: str | None, on_cost: Callable[[Cost], None] | None) -> None:
        """Do all that is left, in as many processes as pay, and say before what it will cost."""
        n_processes = n_jobs
        if backend == "loky" and (n_jobs != 1 or on_cost is not None):
            cost = self.measure(n_jobs)
            n_processes = cost.n_processes
            if on_cost is not None:
                on_cost(cost)
        self.run(n_processes, backend=backend, address=address)

    def run(self, n_jobs: int, *, backend: str = "loky", address: str | None = None) -> None:
        """Do all that is left."""
        left = self._left()
        results = each_result(_fit, [self._task(i) for i in left], n_jobs, backend, address)
        for i, fit in zip(left, results, strict=True):
            self._record(i, fit)

    def fits(self) -> dict[str | CurvePoint, list[FoldFit]]:
        """Return what was found, by candidate, in the order of the folds."""
        return {
            c.name: [self.ready[i] for i, (owner, _) in enumerate(self.jobs) if owner is c] for c in self.candidates
        }

    def _left(self) -> list[int]:
        return [i for i in range(len(self.jobs)) if i not in self.ready]

    def _seconds(self, i: int) -> float:
        fold = self.jobs[i][1]
        if i in self.ready:
            part, fit = fold, self.ready[i]
        else:
            part = self._shortened(fold)
            fit = _fit(*self._task(i, part))
            if part is fold:
                self._record(i, fit)
        return (fit.seconds_fit + fit.seconds_predict) * len(fold.train) / len(part.train)

    def _shortened(self, fold: Fold) -> Fold:
        step = -(-len(fold.train) // MOST_MEASURED)
        train = fold.train[::step]
        labels = np.asarray(next(iter(self.stores.values())).y)
        if step == 1 or len(np.unique(labels[train])) < 2:
            return fold
        return Fold(fold.name, train, fold.test[::step], fold.repeat)

    def _task(self, i: int, fold: Fold | None = None) -> tuple[Any, ...]:
        candidate, own = self.jobs[i]
        return candidate, self.stores[candidate.store], fold or own, self.classes, self._seed(own)

    def _seed(self, fold: Fold) -> int:
        return seed_of_repeat(self.seed, fold.repeat)

    def _record(self, i: int, fit: FoldFit) -> None:
        self.kept.write(self.places[i], fit)
        self.ready[i] = fit
        if self.progress is not None:
            candidate, fold = self.jobs[i]
            self.progress(len(self.ready), len(self.jobs), row=str(candidate.name), fold=fold.name)


def _part_of(candidate: Candidate) -> str:
    if isinstance(candidate.name, CurvePoint):
        return "curves"
    return candidate.kind if candidate.kind in ("tuned", "auto") else "table"


def _fit(candidate: Candidate, dataset: Dataset, fold: Fold, classes: Any, seed: int) -> FoldFit:
    return fit_fold(candidate, dataset, fold, classes, seed=seed)
