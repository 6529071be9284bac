"""What heads say of the clips, and which clips a page holds when it cannot hold all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedx.comparison import Comparison
from embedx.evaluation.labels import Suspect, find_suspects

__all__ = ["MOST_CLIPS", "Said", "choose_clips", "mean_proba", "most_wrong", "said_of", "suspicious"]

N_SUSPECTS, N_WRONG = 24, 24
MOST_CLIPS = 3000
"""Clips that the page holds; of more, those worth hearing and a sample of every class, so that it stays small."""

Said = tuple[NDArray[np.intp], NDArray[np.float64]]
"""Predicted class of each clip (-1 where it was not tested), and how surely."""


def mean_proba(proba: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean over repetitions, (n, k); NaN where a clip was not tested."""
    times = (~np.isnan(proba)).sum(0)
    with np.errstate(invalid="ignore"):
        return np.where(times > 0, np.nansum(proba.astype(np.float64), axis=0) / times, np.nan)


def suspicious(comparison: Comparison, truth: NDArray[np.intp]) -> tuple[Suspect, ...]:
    """Return the clips that all heads together take for another class."""
    heads = [row.name for row in comparison.rows if row.kind in ("head", "tuned") and row.collapsed is None]
    if not heads:
        return ()
    total = mean_proba(comparison.proba[heads[0]])
    for name in heads[1:]:
        total += mean_proba(comparison.proba[name])  # one at a time: with many classes all of them are too large
    return find_suspects(total / len(heads), truth)[:N_SUSPECTS]


def said_of(proba: NDArray[np.float64]) -> Said:
    """Return what a head says of each clip."""
    tested = ~np.isnan(proba[:, 0])
    filled = np.where(tested[:, None], proba, 0.0)
    return np.where(tested, filled.argmax(1), -1), filled.max(1)


def most_wrong(said: Said, truth: NDArray[np.intp]) -> list[int]:
    """Return the clips where a head was surest and mistaken."""
    wrong = np.flatnonzero((said[0] >= 0) & (said[0] != truth))
    return [int(i) for i in wrong[np.argsort(-said[1][wrong], kind="stable")][:N_WRONG]]


def choose_clips(truth: NDArray[np.intp], wanted: Sequence[int]) -> NDArray[np.intp]:
    """Return the clips that the page holds, in order: all, or the wanted ones and as many of every class as fit."""
    if len(truth) <= MOST_CLIPS:
        return np.arange(len(truth))
    rank = np.empty(len(truth), dtype=np.intp)
    shuffled = np.random.default_rng(0).permutation(len(truth))
    for label in np.unique(truth):
        members = shuffled[truth[shuffled] == label]
        rank[members] = np.arange(len(members))
    rank[list(wanted)] = -1 - np.arange(len(wanted))[::-1]
    return np.sort(np.argsort(rank, kind="stable")[:MOST_CLIPS])
