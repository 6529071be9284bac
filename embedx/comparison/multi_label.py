"""Every head on the same folds, for clips that may have several labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.comparison.candidates import table_candidates
from embedx.comparison.fit_schedule import Cost, Schedule
from embedx.comparison.fold_fitting import Candidate, FoldFit
from embedx.comparison.multi_label_result import MultiLabelComparison
from embedx.comparison.multi_label_scoring import SetScores, test_sets
from embedx.comparison.multi_label_verdict import write_set_headline, write_set_verdict
from embedx.comparison.plan import choose_groups, cut_clips, fold_names
from embedx.comparison.provenance import gather_facts
from embedx.comparison.result import FoldScore, Row
from embedx.comparison.saved_fits import KeptFits
from embedx.dataset import Dataset
from embedx.errors import DatasetError, ParameterError
from embedx.evaluation.multi_label_metrics import score_classes, score_sets
from embedx.evaluation.splits import Fold, describe_shared_groups
from embedx.evaluation.statistics import MIN_GROUPS
from embedx.heads.multi_label import require_multi_label_head
from embedx.text import count

__all__ = ["compare_sets"]

_TOLD = 3


def compare_sets(
    stores: Mapping[str, Dataset],
    heads: Sequence[Any],
    *,
    folds: int | str,
    repeats: int,
    valid_fraction: float | None,
    n_trials: int,
    left_out: Sequence[str],
    seed: int,
    n_jobs: int,
    jobs_backend: str,
    address: str | None,
    keep: str | PathLike[str] | None,
    progress: Callable[..., None] | None,
    on_cost: Callable[[Cost], None] | None,
) -> MultiLabelComparison:
    """Compare heads on stores whose clips may have several labels; see `embedx.comparison.compare`.

    Parameters
    ----------
    stores : mapping of str to Dataset
        Aligned: the same labelled clips in the same order.
    heads, folds, repeats, valid_fraction, n_trials, seed, n_jobs, jobs_backend, address, keep, progress, on_cost
        As in `embedx.comparison.compare`; ``n_trials`` must be 0.
    left_out : sequence of str
        What was asked for and is not done for several labels a clip.

    Raises
    ------
    DatasetError
        The clips cannot be cut so, or the stores read their labels in two ways.
    ParameterError
        A head learns one label a clip, or tuning was asked for.
    """
    first = _require_comparable(stores, heads, n_trials)
    separator = str(first.label_separator)
    groups, notes = choose_groups(first)
    Y, classes = first.label_matrix(first.classes), first.classes
    cuts = _cut(first, Y, groups, folds=folds, repeats=repeats, valid_fraction=valid_fraction, seed=seed)
    candidates = _candidates(stores, heads)
    schedule = Schedule(candidates, stores, cuts, seed=seed, kept=KeptFits(keep, stores), progress=progress)
    schedule.finish(n_jobs, backend=jobs_backend, address=address, on_cost=on_cost)
    fits = schedule.fits()
    proba, given, scored = {}, {}, {}
    for candidate in candidates:
        name = str(candidate.name)
        proba[name], given[name] = _spread(cuts, fits[candidate.name], classes, len(Y))
        scored[name] = SetScores(Y, proba[name], given[name], groups)
    each = {name: _classes_of(Y, proba[name], given[name], classes) for name in proba}
    parts: dict[str, Any] = {
        "rows": tuple(_row(c, scored[str(c.name)], each[str(c.name)], Y, cuts, fits[c.name], seed) for c in candidates),
        "tests": test_sets(_pairs(candidates), scored, cuts, grouped=groups is not None, seed=seed),
        "notes": (*notes, *_notes(cuts, Y, classes, groups, left_out)),
        "classes": classes,
        "sources": first.sources,
        "groups": None if groups is None else tuple(str(group) for group in groups),
        "proba": {name: array.astype(np.float32) for name, array in proba.items()},
        "fold_of": fold_names(cuts, len(Y)),
        "group_scores": {},
        "curves": {},
        "facts": _facts(stores, cuts, Y, classes, groups, _settings(folds, repeats, valid_fraction, seed, n_jobs)),
    }
    return MultiLabelComparison(
        headline=write_set_headline(**parts),
        verdict=write_set_verdict(**parts),
        separator=separator,
        given=given,
        class_scores=each,
        **parts,
    )


def _settings(folds: int | str, repeats: int, valid_fraction: float | None, seed: int, n_jobs: int) -> dict[str, Any]:
    return {"folds": folds, "repeats": repeats, "valid_fraction": valid_fraction, "seed": seed, "n_jobs": n_jobs}


def _require_comparable(stores: Mapping[str, Dataset], heads: Sequence[Any], n_trials: int) -> Dataset:
    for head in heads:
        require_multi_label_head(head)
    if n_trials:
        raise ParameterError("tuning takes one label a clip: leave --trials out, or the separator of the labels")
    if len({one.label_separator for one in stores.values()}) > 1:
        raise DatasetError("one store has several labels a clip and another one label: read both in one way")
    return next(iter(stores.values()))


def _cut(dataset: Dataset, Y: NDArray[np.bool_], groups: NDArray[Any] | None, **how: Any) -> tuple[Fold, ...]:
    found = cut_clips(dataset, Y, groups, **how)
    empty = next((fold.name for fold in found if not Y[fold.train].any()), None)
    if empty is not None:
        raise DatasetError(f"fold {empty} would learn from clips of no class: ask for other folds or add clips")
    return found


def _candidates(stores: Mapping[str, Dataset], heads: Sequence[Any]) -> list[Candidate]:
    baseline, *others = table_candidates(stores, heads, n_trials=0, auto=False)
    return [replace(baseline, name="prevalence", title="class prevalence"), *others]


def _pairs(candidates: Sequence[Candidate]) -> list[tuple[str, str, str]]:
    baseline, control, *heads = (str(candidate.name) for candidate in candidates)
    pairs = [("baseline", name, baseline) for name in (control, *heads)]
    pairs += [("control", name, control) for name in heads]
    return pairs + [("heads", a, b) for i, a in enumerate(heads) for b in heads[i + 1 :]]


def _spread(
    cuts: Sequence[Fold], fits: Sequence[FoldFit], classes: Sequence[str], n: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return probabilities and sets (R, n, k); a class that a fold did not learn is given to no clip."""
    shape = (1 + max(fold.repeat for fold in cuts), n, len(classes))
    proba, given = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    for fold, fit in zip(cuts, fits, strict=True):
        thresholds = np.array([fit.chosen["thresholds"].get(name, np.inf) for name in classes])
        proba[fold.repeat, fold.test] = fit.proba
        given[fold.repeat, fold.test] = fit.proba >= thresholds
    return proba, given


def _classes_of(
    Y: NDArray[np.bool_], proba: NDArray[np.float64], given: NDArray[np.bool_], classes: Sequence[str]
) -> dict[str, dict[str, Any]]:
    seen = np.flatnonzero(~np.isnan(proba[0, :, 0]))
    return score_classes(Y[seen], proba[0, seen], given[0, seen], classes)


def _row(
    candidate: Candidate,
    scored: SetScores,
    each: Mapping[str, Mapping[str, Any]],
    Y: NDArray[np.bool_],
    cuts: Sequence[Fold],
    fits: Sequence[FoldFit],
    seed: int,
) -> Row:
    return Row(
        name=str(candidate.name),
        title=candidate.title,
        kind=candidate.kind,
        head=candidate.head,
        store=candidate.store,
        scores=scored.scores(),
        intervals=scored.intervals(seed),
        recall={name: one["recall"] for name, one in each.items()},
        confusion=[],
        reliability=[],
        folds=tuple(_fold_score(fold, fit, scored, Y) for fold, fit in zip(cuts, fits, strict=True)),
    )


def _fold_score(fold: Fold, fit: FoldFit, scored: SetScores, Y: NDArray[np.bool_]) -> FoldScore:
    return FoldScore(
        fold=fold.name,
        repeat=fold.repeat,
        n_train=len(fold.train),
        n_test=len(fold.test),
        scores=score_sets(Y[fold.test], fit.proba, scored.given[fold.repeat, fold.test]),
        seconds_fit=fit.seconds_fit,
        seconds_predict=fit.seconds_predict,
        peak_bytes=fit.peak_bytes,
        chosen=fit.chosen,
    )


def _notes(
    cuts: Sequence[Fold],
    Y: NDArray[np.bool_],
    classes: Sequence[str],
    groups: NDArray[Any] | None,
    left_out: Sequence[str],
) -> list[str]:
    """Say what is unsound about the cut, and what is not done."""
    told = [
        _missing(cuts, Y, classes, "train", "learns no clip of", "it gives it to none there"),
        _missing(cuts, Y, classes, "test", "tests no clip of", "its scores come from the other folds"),
    ]
    tested = np.unique(np.concatenate([fold.test for fold in cuts]))
    never = [name for name, some in zip(classes, Y[tested].any(0), strict=True) if not some]
    if never:
        told.append(f"no tested clip has the class {', '.join(map(repr, never[:_TOLD]))}: it is left out of all means")
    n_groups = len(Y) if groups is None else len(np.unique(groups))
    if n_groups < MIN_GROUPS:
        told.append(f"{n_groups} groups: no intervals, because fewer than {MIN_GROUPS} cannot tell how another differs")
    if left_out:
        told.append(f"for several labels a clip there is no {' and no '.join(left_out)}: left out")
    return [*filter(None, told), *describe_shared_groups(cuts, groups)]


def _missing(
    cuts: Sequence[Fold], Y: NDArray[np.bool_], classes: Sequence[str], part: str, what: str, then: str
) -> str:
    some = Y.any(0)
    found = [(c.name, classes[int(j)]) for c in cuts for j in np.flatnonzero(some & ~Y[getattr(c, part)].any(0))]
    if not found:
        return ""
    shown = ", ".join(f"{name!r} in fold {fold}" for fold, name in found[:_TOLD])
    more = f", and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return f"{count(len(found), 'time')} a fold {what} a class ({shown}{more}): {then}"


def _facts(
    stores: Mapping[str, Dataset],
    cuts: Sequence[Fold],
    Y: NDArray[np.bool_],
    classes: Sequence[str],
    groups: NDArray[Any] | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    found = gather_facts(stores, cuts, settings=settings)
    found["class_counts"] = {name: int(n) for name, n in zip(classes, Y.sum(0), strict=True)}
    found["labels_a_clip"] = float(Y.sum(1).mean())
    found["n_without_class"] = int((~Y.any(1)).sum())
    having = {} if groups is None else {name: np.unique(groups[Y[:, j]]) for j, name in enumerate(classes)}
    found["lone_classes"] = {name: str(some[0]) for name, some in having.items() if len(some) == 1}
    return found
