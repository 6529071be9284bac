"""``auto``: head and layer chosen inside each training part, the honest price of picking the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.comparison.fold_fitting import Learned, fit_part
from embedx.dataset import Dataset
from embedx.errors import DatasetError
from embedx.evaluation.metrics import align_proba, score
from embedx.evaluation.splits import Fold, plan_folds
from embedx.evaluation.statistics import group_totals
from embedx.heads.catalog import as_spec

__all__ = ["fits_of_auto", "learn_auto"]

N_INNER = 3
OUT_OF_REACH = 2.5
"""Standard errors, over groups, by which a head must trail the leader to be tried on no further inner fold."""

Entry = tuple[int, int | None]
"""Which head, at the position of which layer (None for its default)."""


def learn_auto(part: Dataset, seed: int, *, heads: Sequence[Any]) -> Learned:
    """Choose the layer, then the head, by folds inside ``part``, and fit the choice on all of it.

    The layer is chosen with the first head that has layers (its default, the mean of all, and each layer are tried);
    then every other head is tried once, with what was chosen. What falls far behind on one inner fold is not
    tried on the next, as in the races of Maron and Moore (1994).

    Parameters
    ----------
    part : Dataset
        Training part of an outer fold.
    seed : int
        Seed of inner folds and heads.
    heads : sequence of str, HeadSpec or estimator
        The candidates.
    """
    race = _Race(part, heads, seed)
    layered = [i for i, head in enumerate(heads) if as_spec(head).layered and part.n_layers > 1]
    best: Entry = (0, None)
    if layered:
        best = race.run([(layered[0], layer) for layer in (None, *range(part.n_layers))])
    best = race.run([entry for i in range(len(heads)) if (entry := (i, best[1] if i in layered else None)) != best])
    learned = fit_part(part, heads[best[0]], seed=seed, params=_at(best[1]))
    name = "default" if best[1] is None else part.layers[best[1]]
    facts = {"head": as_spec(heads[best[0]]).name, "layer": name, "inner_accuracy": race.scores(best)[0]}
    return Learned(estimator=learned.estimator, input_kind=learned.input_kind, chosen=facts)


def fits_of_auto(heads: Sequence[Any], n_layers: int) -> dict[str, float]:
    """Return how many fits of each head on the whole of a part `learn_auto` may cost, if nobody leaves the race."""
    share = N_INNER - 1.0  # inner folds, each with the rest of them to learn from
    found = {as_spec(head).name: share for head in heads}
    layered = [as_spec(head).name for head in heads if as_spec(head).layered and n_layers > 1]
    return found | dict.fromkeys(layered[:1], share * (n_layers + 1))


def _at(layer: int | None) -> dict[str, int]:
    return {} if layer is None else {"layer": layer}


class _Race:
    """Entries that run over the same inner folds; whoever is out of reach of the leader leaves."""

    def __init__(self, part: Dataset, heads: Sequence[Any], seed: int) -> None:
        self.part, self.heads, self.seed = part, heads, seed
        self.folds = _inner_folds(part, seed)
        self.classes, self.truth = np.unique(np.asarray(part.y), return_inverse=True)
        groups = np.arange(len(part)) if part.groups is None else part.groups
        self.units = np.unique(groups, return_inverse=True)[1]
        self.running: dict[Entry, NDArray[np.float64]] = {}

    def run(self, entries: Sequence[Entry]) -> Entry:
        """Try more entries against those that are still in, and return the best of all."""
        shape = (len(self.part), len(self.classes))
        self.running |= {entry: np.zeros(shape) for entry in entries if entry not in self.running}
        seen = np.zeros(len(self.part), dtype=bool)
        for fold in self.folds:
            train, test = self.part.take(fold.train), self.part.take(fold.test)
            for head, layer in entries:
                if (head, layer) in self.running:
                    self.running[head, layer][fold.test] = self._predict(train, test, self.heads[head], _at(layer))
            seen[fold.test] = True
            self._drop(np.flatnonzero(seen))
        return max(self.running, key=self.scores)

    def _predict(self, train: Dataset, test: Dataset, head: Any, params: Mapping[str, Any]) -> NDArray[np.float64]:
        learned = fit_part(train, head, seed=self.seed, params=params)
        proba = learned.estimator.predict_proba(test.inputs_for(learned))
        return align_proba(proba, learned.estimator.classes_, self.classes)

    def _drop(self, seen: NDArray[np.intp]) -> None:
        right = {entry: proba[seen].argmax(1) == self.truth[seen] for entry, proba in self.running.items()}
        most = max(right.values(), key=np.sum).astype(float)
        for entry, own in right.items():
            behind = group_totals(most - own, self.units[seen])
            if behind.sum() > OUT_OF_REACH * np.sqrt((behind**2).sum()):
                del self.running[entry]

    def scores(self, entry: Entry) -> tuple[float, float]:
        """Return accuracy and negative log-loss over the inner folds, both better when larger."""
        result = score(np.asarray(self.part.y), self.running[entry], self.classes)
        return result["accuracy"], -result["log_loss"]


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
