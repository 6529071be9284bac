"""Every head on the same folds, whatever is chosen chosen inside the training part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from embedx.comparison.auto import learn_auto
from embedx.comparison.facts import gather_facts
from embedx.comparison.fitting import Contender, FoldFit, Learned, fit_fold, fit_part
from embedx.comparison.judge import Judged, describe_group_scores, judge, test_rows
from embedx.comparison.result import Comparison, FoldScore, Row
from embedx.comparison.verdict import write_verdict
from embedx.dataset import Dataset
from embedx.errors import DatasetError, ParameterError
from embedx.evaluation.metrics import METRICS, score
from embedx.evaluation.splits import Fold, describe_problems, holdout, plan_folds
from embedx.evaluation.statistics import MIN_GROUPS
from embedx.heads.catalog import as_spec

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
    seed: int = 0,
    n_jobs: int = 1,
    progress: Progress | None = None,
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
        Trials of tuning inside each training part; 0 tunes nothing.
    auto : bool
        Whether to add the row whose head and layer are chosen inside each training part.
    seed : int
        Seed of everything.
    n_jobs : int
        Processes; each computes with one thread. The result does not depend on it.
    progress : callable, optional
        Called as ``progress(done, total, row=..., fold=...)``.

    Returns
    -------
    Comparison

    Raises
    ------
    DatasetError
        No labels, one class, fewer clips or groups than folds, stores without common clips.
    ParameterError
        An unknown head, or a number out of range.
    """
    stores = _aligned(dataset)
    first = next(iter(stores.values()))
    labels = np.asarray(first.y)
    groups, notes = _groups_of(first)
    cuts = _plan(first, labels, groups, folds=folds, repeats=repeats, valid_fraction=valid_fraction, seed=seed)
    contenders = _contenders(stores, heads, n_trials=n_trials, auto=auto)
    classes = np.unique(labels)
    fits = _fit_all(contenders, stores, cuts, classes, seed=seed, n_jobs=n_jobs, progress=progress)
    proba = {c.name: _spread(cuts, fits[c.name], len(labels), len(classes)) for c in contenders}
    truth = np.searchsorted(classes, labels)
    names = tuple(str(name) for name in classes)
    judged = {name: judge(array, truth, groups, names, seed=seed) for name, array in proba.items()}
    rows = tuple(_row(c, judged[c.name], _fold_scores(cuts, fits[c.name], labels, classes)) for c in contenders)
    correct = {name: one.correct for name, one in judged.items()}
    tests = test_rows(_pairs(contenders), correct, groups, binary=_once(cuts), seed=seed)
    notes += describe_problems(cuts, labels, groups=groups)
    parts: dict[str, Any] = {
        "rows": rows,
        "tests": tests,
        "notes": tuple(notes),
        "classes": names,
        "sources": first.sources,
        "groups": None if groups is None else tuple(str(group) for group in groups),
        "proba": {name: array.astype(np.float32) for name, array in proba.items()},
        "fold_of": _fold_names(cuts, len(labels)),
        "group_scores": _group_scores(correct, groups),
        "curves": {},
        "facts": gather_facts(stores, cuts, seed=seed, n_jobs=n_jobs, n_trials=n_trials, folds=folds),
    }
    return Comparison(verdict=write_verdict(**parts), **parts)


def _aligned(dataset: Dataset | Mapping[str, Dataset]) -> dict[str, Dataset]:
    if isinstance(dataset, Dataset):
        return {"": dataset.require_learnable()}
    if not dataset:
        raise DatasetError("there is no store to compare: give at least one")
    stores = {name: one.require_learnable() for name, one in dataset.items()}
    keys = [{source.key for source in one.sources} for one in stores.values()]
    common = set.intersection(*keys)
    if not common:
        raise DatasetError(f"the stores {', '.join(stores)} have no clip in common: they must hold the same audio")
    return {name: _ordered(one, common) for name, one in stores.items()}


def _ordered(dataset: Dataset, common: set[Any]) -> Dataset:
    kept = [i for i, source in enumerate(dataset.sources) if source.key in common]
    return dataset.take(sorted(kept, key=lambda i: dataset.sources[i].sort_key)).require_learnable()


def _groups_of(dataset: Dataset) -> tuple[NDArray[Any] | None, list[str]]:
    groups, notes = dataset.groups, []
    if groups is None:
        uris = np.array([source.uri for source in dataset.sources])
        if len(np.unique(uris)) < len(uris):
            groups = uris
            notes.append("no groups were given: segments of one file are kept together")
    elif len(np.unique(groups)) == len(groups):
        groups = None
        notes.append("every clip is a group of its own: clips are treated as independent")
    return groups, notes


def _plan(
    dataset: Dataset,
    labels: NDArray[Any],
    groups: NDArray[Any] | None,
    *,
    folds: int | str,
    repeats: int,
    valid_fraction: float | None,
    seed: int,
) -> tuple[Fold, ...]:
    if valid_fraction is not None:
        cuts = [holdout(labels, groups, valid_fraction, seed + i) for i in range(repeats)]
        return tuple(Fold("holdout" if repeats == 1 else f"r{i + 1}:holdout", *cut, i) for i, cut in enumerate(cuts))
    if folds == "split":
        if dataset.split is None:
            raise DatasetError("folds were to come from a column, but not every clip has a value there")
        return plan_folds(labels, split=dataset.split)
    if isinstance(folds, str | bool):
        raise ParameterError(f"folds={folds!r}: a number of folds, or 'split' for the clips' own")
    return plan_folds(labels, groups=groups, n_folds=int(folds), n_repeats=repeats, seed=seed)


def _contenders(stores: Mapping[str, Dataset], heads: Sequence[Any], *, n_trials: int, auto: bool) -> list[Contender]:
    specs = [as_spec(head) for head in heads]
    first = next(iter(stores))
    found = [_contender("majority", first, kind="baseline"), _contender("logmel", first, kind="control")]
    for store in stores:
        chosen = [(head, spec) for head, spec in zip(heads, specs, strict=True) if not spec.is_control]
        found += [_contender(head, store, prefixed=len(stores) > 1) for head, _ in chosen]
        if n_trials:
            tunable = [head for head, spec in chosen if spec.space]
            found += [_contender(head, store, prefixed=len(stores) > 1, n_trials=n_trials) for head in tunable]
        cheap = [head for head, spec in chosen if spec.eats == "embeddings"]
        if auto and cheap:
            found.append(_auto_contender(cheap, store, prefixed=len(stores) > 1))
    names = [contender.name for contender in found]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ParameterError(f"the head {repeated[0]!r} is there twice: name each head once")
    return found


def _contender(head: Any, store: str, *, kind: Any = "head", prefixed: bool = False, n_trials: int = 0) -> Contender:
    spec = as_spec(head)
    tuned = " tuned" if n_trials else ""
    learn = partial(_learn_tuned, head=head, n_trials=n_trials) if n_trials else partial(_learn_plain, head=head)
    prefix = f"{store}:" if prefixed else ""
    return Contender(
        name=f"{prefix}{spec.name}{tuned}",
        title=f"{prefix} {spec.title}{', tuned' if n_trials else ''}".strip(),
        kind="tuned" if n_trials else kind,
        head=spec.name,
        store=store,
        learn=learn,
    )


def _auto_contender(heads: Sequence[Any], store: str, *, prefixed: bool) -> Contender:
    prefix = f"{store}:" if prefixed else ""
    return Contender(
        name=f"{prefix}auto",
        title=f"{prefix} auto (head and layer chosen inside)".strip(),
        kind="auto",
        head="auto",
        store=store,
        learn=partial(learn_auto, heads=tuple(heads)),
    )


def _learn_plain(part: Dataset, seed: int, *, head: Any) -> Learned:
    return fit_part(part, head, seed=seed)


def _learn_tuned(part: Dataset, seed: int, *, head: Any, n_trials: int) -> Learned:
    from embedx.tuning import tune

    tuned = tune(head, part, n_trials=n_trials, seed=seed)
    learned = fit_part(part, head, seed=seed, params=tuned.params)
    return Learned(
        estimator=learned.estimator, eats=learned.eats, chosen=dict(tuned.params), history=_history(tuned.history)
    )


def _history(values: Any) -> tuple[float, ...]:
    numbers = [float(getattr(value, "value", value)) for value in values]
    return tuple(float(value) for value in np.minimum.accumulate(numbers)) if numbers else ()


def _fit_all(
    contenders: Sequence[Contender],
    stores: Mapping[str, Dataset],
    cuts: Sequence[Fold],
    classes: NDArray[Any],
    *,
    seed: int,
    n_jobs: int,
    progress: Progress | None,
) -> dict[str, list[FoldFit]]:
    jobs = [(contender, fold) for contender in contenders for fold in cuts]
    tasks = (
        joblib.delayed(fit_fold)(contender, stores[contender.store], fold, classes, seed=seed + fold.repeat)
        for contender, fold in jobs
    )
    fits: dict[str, list[FoldFit]] = {contender.name: [] for contender in contenders}
    with joblib.parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1):
        results = joblib.Parallel(return_as="generator")(tasks)
        for done, ((contender, fold), fit) in enumerate(zip(jobs, results, strict=True), start=1):
            fits[contender.name].append(fit)
            if progress is not None:
                progress(done, len(jobs), row=contender.name, fold=fold.name)
    return fits


def _spread(cuts: Sequence[Fold], fits: Sequence[FoldFit], n: int, k: int) -> NDArray[np.float64]:
    proba = np.full((1 + max(fold.repeat for fold in cuts), n, k), np.nan)
    for fold, fit in zip(cuts, fits, strict=True):
        proba[fold.repeat, fold.test] = fit.proba
    return proba


def _fold_names(cuts: Sequence[Fold], n: int) -> NDArray[np.str_]:
    width = max(len(fold.name) for fold in cuts)
    names = np.full((1 + max(fold.repeat for fold in cuts), n), "", dtype=f"U{width}")
    for fold in cuts:
        names[fold.repeat, fold.test] = fold.name
    return names


def _fold_scores(
    cuts: Sequence[Fold], fits: Sequence[FoldFit], labels: NDArray[Any], classes: NDArray[Any]
) -> tuple[FoldScore, ...]:
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
            )
        )
    return tuple(found)


def _row(contender: Contender, judged: Judged, folds: tuple[FoldScore, ...]) -> Row:
    return Row(
        name=contender.name,
        title=contender.title,
        kind=contender.kind,
        head=contender.head,
        store=contender.store,
        scores=judged.scores,
        intervals=judged.intervals,
        recall=judged.recall,
        confusion=judged.confusion,
        reliability=judged.reliability,
        folds=folds,
        collapsed=judged.collapsed,
    )


def _pairs(contenders: Sequence[Contender]) -> list[tuple[str, str, str]]:
    baseline, control, *others = (contender.name for contender in contenders)
    heads = [contender.name for contender in contenders if contender.kind in ("head", "tuned")]
    pairs = [("baseline", name, baseline) for name in (control, *others)]
    pairs += [("control", name, control) for name in others]
    return pairs + [("heads", a, b) for i, a in enumerate(heads) for b in heads[i + 1 :]]


def _once(cuts: Sequence[Fold]) -> bool:
    return all(fold.repeat == 0 for fold in cuts)


def _group_scores(
    correct: Mapping[str, NDArray[np.float64]], groups: NDArray[Any] | None
) -> dict[str, dict[str, float]]:
    if groups is None or len(np.unique(groups)) >= MIN_GROUPS:
        return {}
    return {name: describe_group_scores(values, groups) for name, values in correct.items()}
