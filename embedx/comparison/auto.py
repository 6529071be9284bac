"""``auto``: head and layer chosen inside each training part, the honest price of picking the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embedx.comparison.fitting import Learned, fit_part
from embedx.dataset import Dataset
from embedx.errors import DatasetError
from embedx.evaluation.metrics import align_proba, score
from embedx.evaluation.splits import Fold, plan_folds
from embedx.heads.catalog import as_spec

__all__ = ["learn_auto"]

N_INNER = 3


def learn_auto(part: Dataset, seed: int, *, heads: Sequence[Any]) -> Learned:
    """Choose the layer, then the head, by folds inside ``part``, and fit the choice on all of it.

    The layer is chosen with the first head that has layers (its default, the mean of all, and each layer are tried);
    then every other head is tried once, with what was chosen.

    Parameters
    ----------
    part : Dataset
        Training part of an outer fold.
    seed : int
        Seed of inner folds and heads.
    heads : sequence of str, HeadSpec or estimator
        The candidates.
    """
    folds = _inner_folds(part, seed)
    tried: dict[tuple[int, Any], tuple[float, float]] = {}
    layered = [i for i, head in enumerate(heads) if as_spec(head).layered and part.n_layers > 1]
    best_layer = None
    if layered:
        for layer in (None, *range(part.n_layers)):
            tried[layered[0], layer] = _inner_score(part, heads[layered[0]], _at(layer), folds, seed)
        best_layer = max(tried, key=tried.__getitem__)[1]
    for i in range(len(heads)):
        layer = best_layer if i in layered else None
        if (i, layer) not in tried:
            tried[i, layer] = _inner_score(part, heads[i], _at(layer), folds, seed)
    chosen, layer = max(tried, key=tried.__getitem__)
    learned = fit_part(part, heads[chosen], seed=seed, params=_at(layer))
    name = "default" if layer is None else part.layers[layer]
    facts = {"head": as_spec(heads[chosen]).name, "layer": name, "inner_accuracy": tried[chosen, layer][0]}
    return Learned(estimator=learned.estimator, input_kind=learned.input_kind, chosen=facts)


def _at(layer: int | None) -> dict[str, int]:
    return {} if layer is None else {"layer": layer}


def _inner_folds(part: Dataset, seed: int) -> tuple[Fold, ...]:
    labels = np.asarray(part.y)
    for n_folds in range(N_INNER, 1, -1):
        try:
            folds = plan_folds(labels, groups=part.groups, n_folds=n_folds, seed=seed)
        except DatasetError:
            continue
        if all(len(np.unique(labels[fold.train])) > 1 for fold in folds):
            return folds
    everything = np.arange(len(part))  # a single group: nothing can be set aside, the choice is blind
    return (Fold("all", everything, everything),)


def _inner_score(
    part: Dataset, head: Any, params: Mapping[str, Any], folds: Sequence[Fold], seed: int
) -> tuple[float, float]:
    """Return accuracy and negative log-loss over the inner folds, both better when larger."""
    labels = np.asarray(part.y)
    classes = np.unique(labels)
    proba = np.zeros((len(part), len(classes)))
    for fold in folds:
        learned = fit_part(part.take(fold.train), head, seed=seed, params=params)
        inputs = part.take(fold.test).inputs_for(learned)
        proba[fold.test] = align_proba(learned.estimator.predict_proba(inputs), learned.estimator.classes_, classes)
    result = score(labels, proba, classes)
    return result["accuracy"], -result["log_loss"]
