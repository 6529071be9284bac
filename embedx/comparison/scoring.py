"""From probabilities to scores, intervals and tests; repeats are averaged per clip before anything is resampled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.comparison.result import ALPHA, Test
from embedx.evaluation import metrics, statistics
from embedx.evaluation.statistics import MIN_GROUPS, Interval

__all__ = ["RowScores", "describe_group_scores", "score_row", "test_rows"]

COLLAPSE_SHARE = 0.98
"""A head whose predictions name one class so often has collapsed."""

Table = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RowScores:
    """How one row did on every tested clip, averaged over repeats.

    Parameters
    ----------
    scores, intervals, recall, confusion, reliability, collapsed
        As in `embedx.comparison.result.Row`.
    correct : ndarray of shape (n,), float64
        Share of repetitions in which the clip was right; NaN where it was never tested.
    """

    scores: Mapping[str, float]
    intervals: Mapping[str, Interval]
    recall: Mapping[str, float | None]
    confusion: list[list[float]]
    reliability: list[dict[str, float]]
    collapsed: str | None
    correct: NDArray[np.float64]


def score_row(
    proba: NDArray[Any], truth: NDArray[np.intp], groups: NDArray[Any] | None, classes: Sequence[str], *, seed: int
) -> RowScores:
    """Score one row.

    Parameters
    ----------
    proba : ndarray of shape (R, n, k)
        NaN where a clip was not tested.
    truth : ndarray of shape (n,), int
        Column of the true class.
    groups : ndarray of shape (n,) or None
        What is resampled together.
    classes : sequence of str
        Columns.
    seed : int
        Seed of the bootstrap: one for all rows.
    """
    tested = ~np.isnan(proba).any(axis=(0, 2)) if len(proba) == 1 else ~np.isnan(proba[..., 0]).all(axis=0)
    table = _clip_table(proba[:, tested], truth[tested])
    totals = statistics.group_totals(table, _units(groups, tested))
    whole = table.sum(0)[None]
    scores = {name: float(of(whole)[0]) for name, of in STATISTICS.items()}
    bins = _reliability(proba, truth)
    scores["ece"] = metrics.calibration_gap(bins)
    confusion = _confusion(proba[:, tested], truth[tested])
    sums = confusion.sum(1)
    recall = {name: float(confusion[i, i] / sums[i]) if sums[i] else None for i, name in enumerate(classes)}
    correct = np.full(len(truth), np.nan)
    correct[tested] = table[:, 0, :].sum(1)
    return RowScores(
        scores=scores,
        intervals=_intervals(totals, scores, grouped=groups is not None, seed=seed),
        recall=recall,
        confusion=np.round(confusion, 6).tolist(),
        reliability=bins,
        collapsed=_collapsed(confusion, classes),
        correct=correct,
    )


def _units(groups: NDArray[Any] | None, tested: NDArray[np.bool_]) -> NDArray[Any]:
    return np.arange(int(tested.sum())) if groups is None else groups[tested]


def _clip_table(proba: NDArray[Any], truth: NDArray[np.intp]) -> Table:
    """Return (n, 4, k): right, true and predicted by class, and a row with log-loss and Brier first."""
    n, k = proba.shape[1:]
    table = np.zeros((n, 4, max(k, 2)))
    n_times = (~np.isnan(proba[..., 0])).sum(0)
    for once in proba:
        seen = np.flatnonzero(~np.isnan(once[:, 0]))
        losses = metrics.clip_losses(truth[seen], once[seen].astype(np.float64))
        table[seen, 0, truth[seen]] += losses["accuracy"]
        table[seen, 1, truth[seen]] += 1
        table[seen, 2, once[seen].argmax(1)] += 1
        table[seen, 3, 0] += losses["log_loss"]
        table[seen, 3, 1] += losses["brier"]
    return table / n_times[:, None, None]


def _accuracy(sums: Table) -> NDArray[np.float64]:
    return sums[:, 0].sum(1) / sums[:, 1].sum(1)


def _balanced_accuracy(sums: Table) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nanmean(np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan), axis=1)


def _macro_f1(sums: Table) -> NDArray[np.float64]:
    both = sums[:, 1] + sums[:, 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nanmean(np.where(both > 1e-12, 2 * sums[:, 0] / both, np.nan), axis=1)


def _log_loss(sums: Table) -> NDArray[np.float64]:
    return sums[:, 3, 0] / sums[:, 1].sum(1)


def _brier(sums: Table) -> NDArray[np.float64]:
    return sums[:, 3, 1] / sums[:, 1].sum(1)


STATISTICS = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "log_loss": _log_loss,
    "brier": _brier,
}


def _intervals(totals: Table, scores: Mapping[str, float], *, grouped: bool, seed: int) -> dict[str, Interval]:
    n = len(totals)
    if n < MIN_GROUPS:
        return {}
    found = statistics.cluster_bootstrap(totals, STATISTICS, seed=seed)
    if grouped:
        right_and_all = totals[:, :2].sum(2)
        found["accuracy"] = statistics.widened(found["accuracy"], right_and_all[:, 0], right_and_all[:, 1])
    else:
        found["accuracy"] = statistics.wilson(scores["accuracy"] * n, n)
    return found


def _confusion(proba: NDArray[Any], truth: NDArray[np.intp]) -> NDArray[np.float64]:
    k = proba.shape[2]
    confusion = np.zeros((k, k))
    share = 1 / (~np.isnan(proba[..., 0])).sum(0)
    for once in proba:
        seen = np.flatnonzero(~np.isnan(once[:, 0]))
        np.add.at(confusion, (truth[seen], once[seen].argmax(1)), share[seen])
    return confusion


def _reliability(proba: NDArray[Any], truth: NDArray[np.intp]) -> list[dict[str, float]]:
    seen = ~np.isnan(proba[..., 0])
    rows = proba[seen]
    return metrics.reliability(rows.max(1), rows.argmax(1) == np.broadcast_to(truth, seen.shape)[seen])


def _collapsed(confusion: NDArray[np.float64], classes: Sequence[str]) -> str | None:
    named = confusion.sum(0)
    return str(classes[int(named.argmax())]) if named.max() >= COLLAPSE_SHARE * named.sum() else None


def describe_group_scores(correct: NDArray[np.float64], groups: NDArray[Any]) -> dict[str, float]:
    """Return the accuracy of every group, for when there are too few groups for an interval."""
    return {
        str(name): float(np.nanmean(correct[groups == name]))
        for name in np.unique(groups)
        if not np.isnan(correct[groups == name]).all()
    }


def test_rows(
    pairs: Sequence[tuple[str, str, str]],
    correct: Mapping[str, NDArray[np.float64]],
    groups: NDArray[Any] | None,
    labels: NDArray[Any],
    *,
    once: bool,
    seed: int,
) -> tuple[Test, ...]:
    """Test pairs of rows, each family corrected for itself.

    Against the baseline the question is "better?", else "different?". The baseline that is tested against
    is the most frequent class of all tested clips, not the row's refitted guess: in cross-validation the most
    frequent class of a training part is by construction rarer in its test part, so that the refitted
    guess falls below chance and random heads would beat it in 10 % of grouped random labels (our simulation).

    Parameters
    ----------
    pairs : sequence of (family, a, b)
        What to test.
    correct : mapping of str to ndarray of shape (n,)
        `RowScores.correct` by row.
    groups : ndarray of shape (n,) or None
        What is flipped and resampled together.
    labels : ndarray of shape (n,)
        True classes.
    once : bool
        Whether ``correct`` holds only 0 and 1 (one repetition), as McNemar's test needs.
    seed : int
        Seed of flips and bootstrap.
    """
    raw = []
    for family, a, b in pairs:
        other = _best_guess(correct[b], labels) if family == "baseline" else correct[b]
        raw.append(_test_pair(correct[a], other, groups, better=family == "baseline", once=once, seed=seed))
    adjusted: dict[int, float] = {}
    for family in dict.fromkeys(family for family, _, _ in pairs):
        members = [i for i, pair in enumerate(pairs) if pair[0] == family]
        adjusted |= dict(zip(members, statistics.holm([raw[i]["p_value"] for i in members]), strict=True))
        for i in members:
            sides = 1 if family == "baseline" else 2
            least = math.floor(math.log2(len(members) * sides / ALPHA)) + 1  # m sides / 2**n < 5 %
            raw[i]["n_needed"] = math.ceil(least * raw[i]["n_units"] / max(1, raw[i].pop("n_able")))
    return tuple(Test(a=a, b=b, family=family, p_holm=adjusted[i], **raw[i]) for i, (family, a, b) in enumerate(pairs))


test_rows.__test__ = False  # type: ignore[attr-defined]


def _best_guess(baseline: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.float64]:
    tested = ~np.isnan(baseline)
    names, counts = np.unique(labels[tested], return_counts=True)
    return np.where(tested, (labels == names[counts.argmax()]).astype(np.float64), np.nan)


def _test_pair(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    groups: NDArray[Any] | None,
    *,
    better: bool,
    once: bool,
    seed: int,
) -> dict[str, Any]:
    tested = ~(np.isnan(a) | np.isnan(b))
    units, differences = _units(groups, tested), a[tested] - b[tested]
    alternative: statistics.Alternative = "greater" if better else "two-sided"
    if groups is None and once:
        method = "exact McNemar"
        p_value = statistics.mcnemar_exact(a[tested], b[tested], alternative=alternative)
    else:
        method = "paired permutation of " + ("clips" if groups is None else "groups")
        p_value = statistics.cluster_permutation(differences, units, alternative=alternative, seed=seed)
    return {
        "difference": float(differences.mean()),
        "interval": _difference_interval(differences, units, seed),
        "p_value": p_value,
        "n_units": len(np.unique(units)),
        "n_able": len(np.unique(units[b[tested] < 1] if better else units)),  # a guess that is right cannot be beaten
        "method": f"{method}, {'one-sided' if better else 'two-sided'}, conditional on the fitted folds",
    }


def _difference_interval(differences: NDArray[np.float64], units: NDArray[Any], seed: int) -> Interval | None:
    totals = statistics.group_totals(np.stack([differences, np.ones(len(differences))], axis=1), units)
    if len(totals) < MIN_GROUPS or not differences.any():
        return None
    return statistics.cluster_bootstrap(totals, {"mean": lambda sums: sums[:, 0] / sums[:, 1]}, seed=seed)["mean"]
