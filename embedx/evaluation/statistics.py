"""How far a score can be trusted: intervals and paired tests that respect groups.

All of it is conditional on the fitted folds: the clips (or groups) are resampled, nothing is fitted again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

__all__ = [
    "MIN_GROUPS",
    "Interval",
    "cluster_bootstrap",
    "cluster_permutation",
    "group_totals",
    "holm",
    "mcnemar_exact",
    "paired_swap",
    "resampled_sums",
    "widened",
    "wilson",
]

MIN_GROUPS = 10
"""With fewer groups no interval is given: what a handful of groups says of the next one is not a 95 % statement."""

Interval = tuple[float, float]
Alternative = Literal["greater", "two-sided"]
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_EXACT_GROUPS = 12
_FEW_SURPRISES = 5
_CHUNK_NUMBERS = 10_000_000


def wilson(n_correct: float, n: float, *, confidence: float = 0.95) -> Interval:
    """Return the score interval of a proportion, sound for few clips and near 0 and 1 (Wilson 1927).

    Parameters
    ----------
    n_correct, n : float
        Clips that are right, and clips.
    confidence : float
        Coverage.

    Examples
    --------
    >>> low, high = wilson(9, 10)
    >>> round(low, 3), round(high, 3)
    (0.596, 0.982)
    """
    z = special.ndtri((1 + confidence) / 2)
    share = n_correct / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def widened(interval: Interval, right: NDArray[np.float64], counts: NDArray[np.float64]) -> Interval:
    """Widen the interval of an accuracy near 0 or 1, where resampled groups hold too few surprises.

    A bootstrap cannot draw what was not seen: with 30 groups and an accuracy of 95 % it covers in 80 to
    90 % instead of 95 % when mistakes come in whole groups. Below five effective mistakes (or hits) the
    interval is joined with Wilson's at the effective number of clips (Korn and Graubard 1998), at most
    the number of groups.

    Parameters
    ----------
    interval : (low, high)
        From `cluster_bootstrap`.
    right, counts : ndarray of shape (G,)
        Clips that are right, and clips, of every group.
    """
    n_groups, total = len(counts), counts.sum()
    share = right.sum() / total
    squared_error = n_groups / (n_groups - 1) * ((right - share * counts) ** 2).sum() / total**2
    effective = min(share * (1 - share) / squared_error, total) if squared_error > 0 else n_groups
    if effective * min(share, 1 - share) >= _FEW_SURPRISES:
        return interval
    n = min(effective, n_groups)
    low, high = wilson(share * n, n)
    return min(low, interval[0]), max(high, interval[1])


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of one family so that any false alarm stays as rare as one (Holm 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = (len(values) - np.arange(len(values))) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]


def mcnemar_exact(a: ArrayLike, b: ArrayLike, *, alternative: Alternative = "two-sided") -> float:
    """Test whether one head is right on more clips than another, clip by clip (McNemar 1947, exact).

    For clips that are independent of each other only; with groups use `cluster_permutation`.

    Parameters
    ----------
    a, b : array-like of shape (n,), bool
        Whether each head is right.
    alternative : {'two-sided', 'greater'}
        ``"greater"`` asks whether ``a`` is better.

    Returns
    -------
    float
        p-value; 1 when the heads never differ.

    Examples
    --------
    >>> mcnemar_exact([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])
    0.0625
    """
    first, second = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    if wins + losses == 0:
        return 1.0
    return float(stats.binomtest(wins, wins + losses, 0.5, alternative=alternative).pvalue)


def cluster_permutation(
    differences: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    alternative: Alternative = "two-sided",
    n_permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """Test whether a paired difference is more than chance, flipping the sign of whole groups.

    Parameters
    ----------
    differences : array-like of shape (n,)
        Clip by clip, one head minus the other (averaged over repeats).
    groups : array-like of shape (n,), optional
        Clips of one group are flipped together; without groups each clip is its own.
    alternative : {'two-sided', 'greater'}
        ``"greater"`` asks whether the differences are above zero.
    n_permutations : int
        Random flips; up to 12 groups all flips are enumerated and the p-value is exact.
    seed : int
        Seed of the flips.

    Returns
    -------
    float
        p-value. Random flips count the observed one, so that it is never 0 (Phipson and Smyth 2010).

    Examples
    --------
    >>> cluster_permutation([1, 1, 1, 1, 1], alternative="greater")
    0.03125
    """
    totals = np.asarray(differences, dtype=np.float64)
    if groups is not None:
        totals = group_totals(totals, groups)
    totals = totals[totals != 0]
    if not len(totals):
        return 1.0
    exact = len(totals) <= _EXACT_GROUPS
    kept = _every_half(totals) if exact else _random_halves(totals, n_permutations, seed)
    observed = totals.sum()
    drawn = 2 * kept - observed  # the signs of all but the kept groups are flipped
    if alternative == "two-sided":
        observed, drawn = abs(observed), np.abs(drawn)
    extreme = int((drawn >= observed - 1e-9).sum())
    return extreme / len(drawn) if exact else (extreme + 1) / (len(drawn) + 1)


def paired_swap(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    statistic: Statistic,
    *,
    alternative: Alternative = "two-sided",
    n_permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """Test whether a statistic of sums differs between two heads, swapping their answers on whole groups.

    Approximate randomisation, as for F1 in Yeh (2000), More accurate tests for the statistical significance of result
    differences: for statistics such as F1, which are no means over clips.

    Parameters
    ----------
    a, b : ndarray of shape (G, m)
        Sums of each group, of one head and of the other.
    statistic : callable
        Maps sums (B, m) to values (B,).
    alternative, n_permutations, seed
        As in `cluster_permutation`; up to 12 groups that differ, all swaps are enumerated.

    Returns
    -------
    float
        p-value; 1 when the heads never differ.

    Examples
    --------
    >>> right, wrong = np.array([[1.0, 1]] * 5), np.array([[0.0, 1]] * 5)
    >>> paired_swap(right, wrong, lambda sums: sums[:, 0] / sums[:, 1], alternative="greater")
    0.03125
    """
    differences = (a - b)[(a != b).any(1)]
    if not len(differences):
        return 1.0
    exact = len(differences) <= _EXACT_GROUPS
    kept = _every_half(differences) if exact else _random_halves(differences, n_permutations, seed)
    first, second = a.sum(0), b.sum(0)
    observed = float(statistic(first[None])[0] - statistic(second[None])[0])
    drawn = statistic(kept + second) - statistic(first - kept)
    if alternative == "two-sided":
        observed, drawn = abs(observed), np.abs(drawn)
    extreme = int((drawn >= observed - 1e-9).sum())
    return extreme / len(drawn) if exact else (extreme + 1) / (len(drawn) + 1)


def _every_half(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of all 2**n subsets."""
    n = len(totals)
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    sums: NDArray[np.float64] = bits @ totals
    return sums


def _random_halves(totals: NDArray[np.float64], n_draws: int, seed: int) -> NDArray[np.float64]:
    """Return the sums of random subsets, each group in or out by a coin."""
    rng, n = np.random.default_rng(seed), len(totals)
    chunk = max(1, _CHUNK_NUMBERS // n)
    sizes = [min(chunk, n_draws - start) for start in range(0, n_draws, chunk)]
    coins = (rng.integers(0, 2, (size, n), dtype=np.int8) for size in sizes)
    return np.concatenate([toss.astype(np.float64) @ totals for toss in coins])


def group_totals(values: ArrayLike, groups: ArrayLike) -> NDArray[np.float64]:
    """Add up rows of clips by group.

    Parameters
    ----------
    values : array-like of shape (n, ...)
        One row a clip.
    groups : array-like of shape (n,)
        Group of each clip.

    Returns
    -------
    ndarray of shape (G, ...)
        In the order of the sorted groups.
    """
    rows = np.asarray(values, dtype=np.float64)
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    totals = np.zeros((len(names), *rows.shape[1:]))
    np.add.at(totals, index, rows)
    return totals


def resampled_sums(totals: NDArray[np.float64], *, n_draws: int = 2000, seed: int = 0) -> NDArray[np.float64]:
    """Return the sums of bootstrap samples of whole groups.

    Parameters
    ----------
    totals : ndarray of shape (G, ...)
        From `group_totals`.
    n_draws : int
        Samples of G groups each, drawn with replacement.
    seed : int
        One seed gives all heads the same samples, so that their intervals compare.

    Returns
    -------
    ndarray of shape (n_draws, ...)
    """
    n, flat = len(totals), totals.reshape(len(totals), -1)
    rng, chunk = np.random.default_rng(seed), max(1, _CHUNK_NUMBERS // n)
    parts = [_draws(rng, n, min(chunk, n_draws - start)) @ flat for start in range(0, n_draws, chunk)]
    return np.concatenate(parts).reshape(n_draws, *totals.shape[1:])


def _draws(rng: np.random.Generator, n: int, size: int) -> NDArray[np.float64]:
    """Return how often each of n groups is in each of so many samples of n."""
    drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * size).reshape(size, n).astype(np.float64)


def cluster_bootstrap(
    totals: NDArray[np.float64],
    statistics: Mapping[str, Statistic],
    *,
    n_draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Return intervals of statistics of sums, resampling whole groups.

    The bias-corrected and accelerated bootstrap (Efron 1987), with the tails widened for few groups
    as by the t distribution (as in the expanded percentile interval of Hesterberg 2015).

    Parameters
    ----------
    totals : ndarray of shape (G, ...)
        Sums of every group, from `group_totals`; at least 2 groups.
    statistics : mapping of str to callable
        Each maps sums (B, ...) to values (B,).
    n_draws, seed : int
        See `resampled_sums`.
    confidence : float
        Coverage.

    Returns
    -------
    dict of str to (low, high)

    Examples
    --------
    >>> totals = group_totals([[1.0, 1], [0, 1], [1, 1], [1, 1]] * 10, np.arange(40))
    >>> low, high = cluster_bootstrap(totals, {"mean": lambda t: t[:, 0] / t[:, 1]})["mean"]
    >>> bool(0.55 < low < 0.65 and 0.84 < high < 0.90)
    True
    """
    drawn = resampled_sums(totals, n_draws=n_draws, seed=seed)
    whole = totals.sum(0)[None]
    left_out = whole - totals
    return {name: _bca(of(drawn), float(of(whole)[0]), of(left_out), confidence) for name, of in statistics.items()}


def _bca(drawn: NDArray[np.float64], whole: float, left_out: NDArray[np.float64], confidence: float) -> Interval:
    levels = _bca_levels(drawn, whole, left_out, len(left_out), confidence)
    low, high = np.nanquantile(drawn, levels)
    return float(low), float(high)


def _bca_levels(
    drawn: NDArray[np.float64], whole: float, left_out: NDArray[np.float64], n: int, confidence: float
) -> Interval:
    tail = special.ndtr(np.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 - confidence) / 2))
    below = (np.nanmean(drawn < whole) + np.nanmean(drawn <= whole)) / 2
    shift = special.ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
    lean = np.nanmean(left_out) - left_out
    spread = np.nansum(lean**2) ** 1.5
    skew = np.nansum(lean**3) / (6 * spread) if spread > 0 else 0.0
    levels = []
    for z in (special.ndtri(tail), special.ndtri(1 - tail)):
        moved = shift + z
        levels.append(float(special.ndtr(shift + moved / max(1 - skew * moved, 0.1))))
    return levels[0], levels[1]
