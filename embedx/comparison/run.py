"""Every head on the same folds, whatever is chosen chosen inside the training part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_number, require_seed
from embedx.comparison.candidates import curve_candidates, probe_of, table_candidates
from embedx.comparison.curves import draw_curves
from embedx.comparison.fit_schedule import Cost, Schedule
from embedx.comparison.fold_fitting import Candidate, CurvePoint, FoldFit
from embedx.comparison.multi_label import compare_sets
from embedx.comparison.plan import align_stores, choose_groups, fold_names, only_placed, plan_cut
from embedx.comparison.provenance import gather_facts
from embedx.comparison.result import Comparison, FoldScore, Row
from embedx.comparison.saved_fits import KeptFits
from embedx.comparison.scoring import RowScores, describe_group_scores, score_row, test_rows
from embedx.comparison.verdict import describe_baseline, write_headline, write_verdict
from embedx.dataset import Dataset
from embedx.evaluation.metrics import METRICS, score
from embedx.evaluation.splits import Fold, describe_problems
from embedx.evaluation.statistics import MIN_GROUPS
from embedx.heads.catalog import as_spec
from embedx.tuning.parallel import require_jobs

__all__ = ["compare"]

Progress = Callable[..., None]


def compare(
    dataset: Dataset | Mapping[str, Dataset],
    heads: Sequence[Any] = ("logreg", "lgbm", "mlp"),
    *,
    folds: int | str = 5,
    repeats: int = 1,
    valid_fraction: float | None = None,
    n_trials: int = 0,
    auto: bool = True,
    curves: bool = True,
    seed: int = 0,
    n_jobs: int = 1,
    jobs_backend: str = "loky",
    address: str | None = None,
    keep: str | PathLike[str] | None = None,
    progress: Progress | None = None,
    on_cost: Callable[[Cost], None] | None = None,
) -> Comparison:
    """Learn which head to trust, on folds that never leak, against guessing and against log-mel.

    Parameters
    ----------
    dataset : Dataset or mapping of str to Dataset
        Embeddings with labels; several stores of the same clips by name.
    heads : sequence of str, HeadSpec or estimator
        Names of the catalogue, or scikit-learn classifiers. The majority baseline and the log-mel
        control are always there.
    folds : int or ``"split"``
        Number of stratified folds (grouped when groups are known), or the folds of the sources' ``split``.
    repeats : int
        How often the folds are cut anew; repeats are averaged per clip.
    valid_fraction : float, optional
        Judge on one held-out part of this size instead of folds.
    n_trials : int
        Trials of tuning inside each training part; each head then has a tuned row beside its default.
    auto : bool
        Whether to add the row whose head and layer are chosen inside each training part.
    curves : bool
        Whether to draw the learning curve and the curve over layers.
    seed : int
        Seed of everything.
    n_jobs : int
        Processes (-1 for all cores); each computes with one thread. Scores do not depend on it. What is done sooner
        than other processes would have started is done in this one.
    jobs_backend : {'loky', 'ray'}
        Processes of this machine, or of a Ray cluster (``embedx[ray]``).
    address : str, optional
        Of a running cluster, for ``"ray"``; without it Ray is started on this machine.
    keep : path-like, optional
        Folder that keeps every finished fit: the same call goes on with them after a kill. Remove it when done.
    progress : callable, optional
        Called as ``progress(done, total, row=..., fold=...)``.
    on_cost : callable, optional
        Called once with a `Cost`, when each head has been fitted once and all else is still to be done.

    Returns
    -------
    Comparison
        Where a clip may have several labels (`Dataset.multi_label`) a `MultiLabelComparison`: heads by macro F1, with
        thresholds from inside the training parts, and neither ``auto`` nor curves.

    Raises
    ------
    DatasetError
        No labels, one class, fewer clips or groups than folds, stores without common clips; a head learns from
        audio, and a file is missing or has changed since it was embedded.
    ParameterError
        An unknown head, or a number out of range.

    Examples
    --------
    >>> from embedx.testing import make_dataset
    >>> comparison = compare(make_dataset(), ["logreg", "knn"], folds=3, auto=False, curves=False)
    >>> comparison
    Comparison(60 clips, 3 classes; majority ..., logmel ..., logreg ..., knn ...)
    """
    require_number("n_trials", n_trials, 0, whole=True)
    require_jobs(n_jobs, jobs_backend, address)
    seed = require_seed(seed)
    stores = align_stores(dataset)
    if folds == "split" and valid_fraction is None:
        stores = only_placed(stores)
    if any(one.label_separator is not None for one in stores.values()):
        return compare_sets(
            stores,
            heads,
            folds=folds,
            repeats=repeats,
            valid_fraction=valid_fraction,
            n_trials=n_trials,
            left_out=[told for told, asked in (("the row auto", auto), ("the curves", curves)) if asked],
            seed=seed,
            n_jobs=n_jobs,
            jobs_backend=jobs_backend,
            address=address,
            keep=keep,
            progress=progress,
            on_cost=on_cost,
        )
    if any(as_spec(head).input_kind == "sources" for head in heads):
        stores = {name: one.require_audio() for name, one in stores.items()}
    first = next(iter(stores.values()))
    groups, notes = choose_groups(first)
    cuts = plan_cut(first, groups, folds=folds, repeats=repeats, valid_fraction=valid_fraction, seed=seed)
    table = table_candidates(stores, heads, n_trials=n_trials, auto=auto)
    probe = probe_of(heads) if curves else None
    candidates = [*table, *curve_candidates(stores, probe)]
    schedule = Schedule(candidates, stores, cuts, seed=seed, kept=KeptFits(keep, stores), progress=progress)
    schedule.finish(n_jobs, backend=jobs_backend, address=address, on_cost=on_cost)
    fits = schedule.fits()
    scored, proba = _score_all(candidates, fits, first, cuts, groups, seed)
    correct = {str(c.name): scored[c.name].correct for c in table}
    labels = np.asarray(first.y)
    parts: dict[str, Any] = {
        "rows": tuple(_row(c, scored[c.name], _fold_scores(cuts, fits[c.name], labels)) for c in table),
        "tests": test_rows(_pairs(table), correct, groups, labels, once=max(f.repeat for f in cuts) == 0, seed=seed),
        "notes": (*notes, *describe_problems(cuts, labels, groups=groups), *_few_groups(groups)),
        "classes": tuple(str(name) for name in np.unique(labels)),
        "sources": first.sources,
        "groups": None if groups is None else tuple(str(group) for group in groups),
        "proba": {str(c.name): proba[c.name].astype(np.float32) for c in table},
        "fold_of": fold_names(cuts, len(labels)),
        "group_scores": _group_scores(correct, groups),
        "curves": draw_curves(probe, stores, scored, fits, cuts, groups, seed=seed),
        "facts": gather_facts(
            stores,
            cuts,
            settings={"folds": folds, "repeats": repeats, "valid_fraction": valid_fraction, "n_trials": n_trials}
            | {"seed": seed, "n_jobs": n_jobs},
        ),
    }
    parts["notes"] += describe_baseline(parts["rows"], parts["tests"])
    return Comparison(headline=write_headline(**parts), verdict=write_verdict(**parts), **parts)


def _score_all(
    candidates: Sequence[Candidate],
    fits: Mapping[str | CurvePoint, Sequence[FoldFit]],
    dataset: Dataset,
    cuts: Sequence[Fold],
    groups: NDArray[Any] | None,
    seed: int,
) -> tuple[dict[str | CurvePoint, RowScores], dict[str | CurvePoint, NDArray[np.float64]]]:
    classes, truth = np.unique(np.asarray(dataset.y), return_inverse=True)
    names = tuple(str(name) for name in classes)
    proba = {c.name: _spread(cuts, fits[c.name], len(truth), len(classes)) for c in candidates}
    return {name: score_row(array, truth, groups, names, seed=seed) for name, array in proba.items()}, proba


def _spread(cuts: Sequence[Fold], fits: Sequence[FoldFit], n: int, k: int) -> NDArray[np.float64]:
    proba = np.full((1 + max(fold.repeat for fold in cuts), n, k), np.nan)
    for fold, fit in zip(cuts, fits, strict=True):
        proba[fold.repeat, fold.test] = fit.proba
    return proba


def _fold_scores(cuts: Sequence[Fold], fits: Sequence[FoldFit], labels: NDArray[Any]) -> tuple[FoldScore, ...]:
    classes = np.unique(labels)
    found = []
    for fold, fit in zip(cuts, fits, strict=True):
        scores = score(labels[fold.test], fit.proba, classes)
        found.append(
            FoldScore(
                fold=fold.name,
                repeat=fold.repeat,
                n_train=len(fold.train),
                n_test=len(fold.test),
                scores={name: scores[name] for name in METRICS},
                seconds_fit=fit.seconds_fit,
                seconds_predict=fit.seconds_predict,
                peak_bytes=fit.peak_bytes,
                chosen=fit.chosen,
                history=fit.history,
                epochs=fit.epochs,
            )
        )
    return tuple(found)


def _row(candidate: Candidate, scored: RowScores, folds: tuple[FoldScore, ...]) -> Row:
    return Row(
        name=str(candidate.name),
        title=candidate.title,
        kind=candidate.kind,
        head=candidate.head,
        store=candidate.store,
        scores=scored.scores,
        intervals=scored.intervals,
        recall=scored.recall,
        confusion=scored.confusion,
        reliability=scored.reliability,
        folds=folds,
        collapsed=scored.collapsed,
    )


def _pairs(candidates: Sequence[Candidate]) -> list[tuple[str, str, str]]:
    baseline, control, *others = (str(candidate.name) for candidate in candidates)
    heads = [str(candidate.name) for candidate in candidates if candidate.kind in ("head", "tuned")]
    pairs = [("baseline", name, baseline) for name in (control, *others)]
    pairs += [("control", name, control) for name in others]
    return pairs + [("heads", a, b) for i, a in enumerate(heads) for b in heads[i + 1 :]]


def _few_groups(groups: NDArray[Any] | None) -> tuple[str, ...]:
    n = 0 if groups is None else len(np.unique(groups))
    if not 0 < n < MIN_GROUPS:
        return ()
    return (
        f"{n} groups: no intervals, because fewer than {MIN_GROUPS} groups cannot tell how much another one would "
        "differ; the scores of each group are given instead",
    )


def _group_scores(
    correct: Mapping[str, NDArray[np.float64]], groups: NDArray[Any] | None
) -> dict[str, dict[str, float]]:
    if groups is None or len(np.unique(groups)) >= MIN_GROUPS:
        return {}
    return {name: describe_group_scores(values, groups) for name, values in correct.items()}
