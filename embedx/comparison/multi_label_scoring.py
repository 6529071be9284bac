"""From probabilities and given sets to scores, intervals and tests; what is resampled and swapped is whole groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.comparison.result import ALPHA, Test
from embedx.evaluation import statistics
from embedx.evaluation.multi_label_metrics import MULTI_LABEL_METRICS, association, rank_scores
from embedx.evaluation.splits import Fold
from embedx.evaluation.statistics import MIN_GROUPS, Interval

__all__ = ["SetScores", "test_sets"]

N_DRAWS = 1000
MOST_UNITS = 2000
"""Of more groups, several are resampled together, so that memory stays bounded."""

Sums = NDArray[np.float64]


class SetScores:
    """One row's scores of every tested clip; repetitions are averaged.

    Parameters
    ----------
    Y : ndarray of shape (n, k), bool
        Which classes each clip has.
    proba : ndarray of shape (R, n, k)
        NaN where a clip was not tested.
    given : ndarray of shape (R, n, k), bool
        Which classes each clip was given.
    groups : ndarray of shape (n,) or None
        What is resampled together.
    """

    def __init__(
        self, Y: NDArray[np.bool_], proba: NDArray[Any], given: NDArray[np.bool_], groups: NDArray[Any] | None
    ) -> None:
        self.proba, self.given = proba, given
        self.seen = ~np.isnan(proba[..., 0])
        self.tested = np.flatnonzero(self.seen.any(0))
        self.judged = np.flatnonzero(Y[self.tested].any(0))
        self.Y = Y
        names = np.arange(len(Y)) if groups is None else groups
        self.units = np.unique(names[self.tested], return_inverse=True)[1]
        self.n_units = int(self.units.max()) + 1
        table = set_table(Y, given, self.seen)[self.tested][:, :, self.judged]
        self.totals = statistics.group_totals(table.reshape(len(table), -1), self.units)

    def values(self, counts: Sums | None = None) -> dict[str, NDArray[np.float64]]:
        """Return the metrics for groups that are there ``counts`` (B, n_units) times; once each by default."""
        counts = np.ones((1, self.n_units)) if counts is None else counts
        sums = counts @ self.totals
        times = np.array([self._ranks(r, counts) for r in range(len(self.proba))])
        ranks = [_mean_known(times[:, i]) for i in range(2)]
        found = {"macro_f1": macro_f1(sums), "micro_f1": _micro_f1(sums)}
        return found | {"mean_average_precision": ranks[0], "roc_auc": ranks[1]}

    def _ranks(self, repeat: int, counts: Sums) -> NDArray[np.float64]:
        seen = self.seen[repeat, self.tested]
        clips, weights = self.tested[seen], counts[:, self.units[seen]]
        each = [rank_scores(self.Y[clips, j], self.proba[repeat, clips, j], weights) for j in self.judged]
        return np.array([_mean_known(np.array(values)) for values in zip(*each, strict=True)])

    def scores(self) -> dict[str, float]:
        """Return the metrics of all tested clips."""
        found = self.values()
        return {name: float(found[name][0]) for name in MULTI_LABEL_METRICS}

    def intervals(self, seed: int) -> dict[str, Interval]:
        """Return 95 % intervals; none with fewer than ten groups."""
        if self.n_units < MIN_GROUPS:
            return {}
        bundles = _bundles(self.n_units, seed)
        known: dict[int, dict[str, NDArray[np.float64]]] = {}

        def statistic(counts: Sums, name: str) -> NDArray[np.float64]:
            if id(counts) not in known:
                known[id(counts)] = self.values(counts[:, bundles])
            return known[id(counts)][name]

        own = {name: partial(statistic, name=name) for name in MULTI_LABEL_METRICS}
        return statistics.cluster_bootstrap(np.eye(bundles.max() + 1), own, n_draws=N_DRAWS, seed=seed)


def _bundles(n_units: int, seed: int) -> NDArray[np.intp]:
    if n_units <= MOST_UNITS:
        return np.arange(n_units)
    return np.random.default_rng(seed).permutation(n_units) % MOST_UNITS


def _mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over classes or repetitions (k, B) -> (B,), of those that have a value."""
    known = ~np.isnan(values)
    n = known.sum(0)
    return np.where(n > 0, np.where(known, values, 0.0).sum(0) / np.maximum(n, 1), np.nan)


def set_table(Y: NDArray[np.bool_], given: NDArray[np.bool_], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n, 2, k): twice what is given rightly, and what is given plus what is so; means over repetitions."""
    times = np.maximum(seen.sum(0), 1)[:, None]
    counted = given & seen[..., None]
    right, named = (counted & Y).sum(0) / times, counted.sum(0) / times
    return np.stack([2 * right, named + Y], axis=1).astype(np.float64)


def macro_f1(sums: Sums) -> NDArray[np.float64]:
    """Return macro F1 (B,) of sums (B, 2 k) of `set_table`; a class that is neither there nor given is left out."""
    pairs = sums.reshape(len(sums), 2, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nanmean(np.where(pairs[:, 1] > 1e-9, pairs[:, 0] / pairs[:, 1], np.nan), axis=1)


def _micro_f1(sums: Sums) -> NDArray[np.float64]:
    pairs = sums.reshape(len(sums), 2, -1).sum(2)
    return pairs[:, 0] / np.maximum(pairs[:, 1], 1e-9)


def test_sets(
    pairs: Sequence[tuple[str, str, str]],
    scored: Mapping[str, SetScores],
    cuts: Sequence[Fold],
    *,
    grouped: bool,
    seed: int,
) -> tuple[Test, ...]:
    """Test pairs of rows by macro F1, each family corrected for itself.

    The baseline that is tested against gives every class to every clip: no sets that do not depend on what is heard
    have a larger expected F1 (Lipton, Elkan and Naryanaswamy 2014). A head is better when two one-sided tests both say
    so: its F1 is larger (answers swapped on whole groups), and its probabilities are tied to the labels within the
    folds (signs of whole groups flipped). The first alone calls random heads better that leave out a few clips.

    Parameters
    ----------
    pairs : sequence of (family, a, b)
        What to test.
    scored : mapping of str to SetScores
        By row.
    cuts : sequence of Fold
        The folds.
    grouped : bool
        Whether groups are known.
    seed : int
        Seed of swaps and bootstrap.
    """
    raw = [_test_pair(family, scored[a], scored[b], cuts, grouped, seed) for family, a, b in pairs]
    found: list[Test] = []
    for family in dict.fromkeys(family for family, _, _ in pairs):
        members = [i for i, pair in enumerate(pairs) if pair[0] == family]
        sides = 1 if family == "baseline" else 2
        least = math.floor(math.log2(len(members) * sides / ALPHA)) + 1
        adjusted = statistics.holm([raw[i]["p_value"] for i in members])
        found += [
            Test(a=pairs[i][1], b=pairs[i][2], family=family, p_holm=p, n_needed=least, **raw[i])
            for i, p in zip(members, adjusted, strict=True)
        ]
    return tuple(found)


test_sets.__test__ = False  # type: ignore[attr-defined]


def _test_pair(
    family: str, a: SetScores, b: SetScores, cuts: Sequence[Fold], grouped: bool, seed: int
) -> dict[str, Any]:
    better = family == "baseline"
    totals = everything_given(a) if better else b.totals
    alternative: statistics.Alternative = "greater" if better else "two-sided"
    p_value = statistics.paired_swap(a.totals, totals, macro_f1, alternative=alternative, seed=seed)
    if better:
        ties = _ties(a, cuts)[a.tested]
        p_value = max(p_value, statistics.cluster_permutation(ties, a.units, alternative="greater", seed=seed))
    what = "groups" if grouped else "clips"
    method = f"macro F1, answers swapped on {what}" + (", and ranks tied to labels" if better else "")
    return {
        "difference": float(macro_f1(a.totals.sum(0)[None])[0] - macro_f1(totals.sum(0)[None])[0]),
        "interval": _difference_interval(a.totals, totals, seed),
        "p_value": p_value,
        "n_units": a.n_units,
        "method": f"{method}, {'one-sided' if better else 'two-sided'}, conditional on the fitted folds",
    }


def everything_given(scored: SetScores) -> Sums:
    """Return the sums of each group when every class is given to every clip."""
    table = set_table(scored.Y, np.ones_like(scored.given), scored.seen)[scored.tested][:, :, scored.judged]
    return statistics.group_totals(table.reshape(len(table), -1), scored.units)


def _ties(scored: SetScores, cuts: Sequence[Fold]) -> NDArray[np.float64]:
    ties = np.zeros(len(scored.Y))
    for fold in cuts:
        test = np.ix_(fold.test, scored.judged)
        ties[fold.test] += association(scored.Y[test], scored.proba[fold.repeat][test])
    return ties


def _difference_interval(a: Sums, b: Sums, seed: int) -> Interval | None:
    if len(a) < MIN_GROUPS or not (a != b).any():
        return None
    width = a.shape[1]

    def difference(sums: Sums) -> NDArray[np.float64]:
        return macro_f1(sums[:, :width]) - macro_f1(sums[:, width:])

    both = np.concatenate([a, b], axis=1)
    return statistics.cluster_bootstrap(both, {"difference": difference}, n_draws=N_DRAWS, seed=seed)["difference"]
