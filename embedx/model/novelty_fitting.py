"""What a model learns of unknown sounds: distances of clips held out, and how well classes left out are told."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset
from embedx.evaluation.inner_folds import plan_inner_folds
from embedx.evaluation.splits import Fold
from embedx.heads.novelty import ClassDistances, Novelty, novelty_inputs

__all__ = ["fit_novelty"]

MOST_CLIPS = 5_000
"""Clips that are learned from, drawn evenly: a covariance of a thousand columns is known from them."""

_MOST_LEFT_OUT = 5
_MOST_JUDGED = 1_000
_ENOUGH_HELD_OUT = 1_000


def fit_novelty(dataset: Dataset, head: Any, input_kind: str, seed: int) -> tuple[Novelty | None, dict[str, Any]]:
    """Learn what a model needs to say that a clip is unlike all that it learned from.

    Parameters
    ----------
    dataset : Dataset
        What the head learned from, all of it labelled.
    head : estimator
        Fitted.
    input_kind : str
        What it takes: a head on audio has no novelty (held-out distances would take a training a fold).
    seed : int
        Of the draw and of the folds.

    Returns
    -------
    novelty : Novelty or None
        None for a head on audio, and where no clip can be held out.
    scores : dict
        ``n_clips`` held out; ``auroc`` and ``told``, the share of clips of classes that were left out, in turns, which
        are called unknown when 5 % of the known ones are. Empty without novelty.
    """
    if input_kind == "sources":
        return None, {}
    dataset = _drawn(dataset, MOST_CLIPS, seed)
    n_layers = dataset.n_layers if input_kind == "embeddings" else 0
    values = novelty_inputs(head, dataset.X, dataset.control, n_layers=n_layers)
    codes = np.unique(np.asarray(dataset.y), return_inverse=True)[1]
    folds = plan_inner_folds(codes, dataset.groups, seed)
    held_out = _held_out(values, codes, folds) if np.isfinite(values).all() else np.zeros(0)
    if not len(held_out):
        return None, {}
    novelty = Novelty.from_held_out(ClassDistances.learn(values, codes), held_out)
    return novelty, {"n_clips": len(held_out), **_told_apart(values, codes, folds, seed)}


def _drawn(dataset: Dataset, most: int, seed: int) -> Dataset:
    if len(dataset) <= most:
        return dataset
    return dataset.take(np.sort(np.random.default_rng(seed).choice(len(dataset), most, replace=False)))


def _held_out(values: NDArray[np.float32], codes: NDArray[np.intp], folds: tuple[Fold, ...]) -> NDArray[np.float64]:
    """Return the distances of clips to classes learned from other groups; a clip of a class not learned has none.

    Folds are held out in turns until enough clips were.
    """
    found = [np.zeros(0)]
    for fold in folds:
        if sum(map(len, found)) >= _ENOUGH_HELD_OUT:
            break
        part = ClassDistances.learn(values[fold.train], codes[fold.train])
        found.append(part.nearest(values[fold.test[np.isin(codes[fold.test], codes[fold.train])]]))
    return np.concatenate(found)


def _told_apart(
    values: NDArray[np.float32], codes: NDArray[np.intp], folds: tuple[Fold, ...], seed: int
) -> dict[str, float]:
    """Leave classes out in turns, and say how well their clips are told from held-out clips of the others."""
    from sklearn.metrics import roc_auc_score

    order = np.random.default_rng(seed).permutation(len(codes))
    judged = np.isin(np.arange(len(codes)), order[:_MOST_JUDGED])
    n_turns = min(int(codes.max()) + 1, _MOST_LEFT_OUT)
    known, unknown = [np.zeros(0)], [np.zeros(0)]
    for turn in range(n_turns):
        fold, left_out = folds[turn % len(folds)], codes % n_turns == turn
        train = fold.train[(judged & ~left_out)[fold.train]]
        if len(train) < 2:
            continue
        distances = ClassDistances.learn(values[train], codes[train])
        test = fold.test[judged[fold.test] & np.isin(codes[fold.test], codes[train])]
        known.append(distances.nearest(values[test]))
        unknown.append(distances.nearest(values[judged & left_out]))
    near, far = np.concatenate(known), np.concatenate(unknown)
    if not len(near) or not len(far):
        return {}
    auroc = roc_auc_score(np.repeat([0, 1], [len(near), len(far)]), np.concatenate([near, far]))
    return {"auroc": float(auroc), "told": float((far > np.quantile(near, 0.95)).mean())}
