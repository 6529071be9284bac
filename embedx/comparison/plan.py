"""What is compared on what: stores in one order, groups, the cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset, describe_doubts
from embedx.errors import DatasetError, ParameterError
from embedx.evaluation.iterative_stratification import holdout_of_sets
from embedx.evaluation.splits import (
    UNKNOWN_GROUPS,
    Fold,
    describe_lone_classes,
    holdout,
    lone_classes,
    plan_folds,
    read_split,
    seed_of_repeat,
)
from embedx.text import count

__all__ = ["align_stores", "choose_groups", "cut_clips", "fold_names", "only_placed", "plan_cut"]


def align_stores(dataset: Dataset | Mapping[str, Dataset]) -> dict[str, Dataset]:
    """Return the stores by name with the same labelled clips in the same order.

    Raises
    ------
    DatasetError
        No store, no common clip, or labels that differ between stores.
    """
    if isinstance(dataset, Dataset):
        return {"": dataset.require_learnable()}
    if not dataset:
        raise DatasetError("there is no store to compare: give at least one")
    stores = {name: one.require_learnable() for name, one in dataset.items()}
    common = set.intersection(*({source.key for source in one.sources} for one in stores.values()))
    if not common:
        raise DatasetError(f"the stores {', '.join(stores)} have no clip in common: they must hold the same audio")
    aligned = {name: _ordered(one, common) for name, one in stores.items()}
    _require_same_labels(aligned)
    return aligned


def _ordered(dataset: Dataset, common: set[Any]) -> Dataset:
    kept = [i for i, source in enumerate(dataset.sources) if source.key in common]
    return dataset.take(sorted(kept, key=lambda i: dataset.sources[i].sort_key)).require_learnable()


def _require_same_labels(stores: Mapping[str, Dataset]) -> None:
    (first_name, first), *others = stores.items()
    for name, other in others:
        for mine, theirs in zip(first.sources, other.sources, strict=True):
            if (mine.label, mine.group, mine.split) != (theirs.label, theirs.group, theirs.split):
                raise DatasetError(
                    f"{mine.id} is labelled or grouped differently in {first_name} and {name}: "
                    "give one CSV for all with --labels"
                )


def only_placed(stores: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """Return the clips that have a value in the predefined split, with a warning when some have none."""
    split = next(iter(stores.values())).split
    if split is None:
        return dict(stores)
    placed = read_split(split).placed
    return {name: one.take(placed).require_learnable() for name, one in stores.items()}


def choose_groups(dataset: Dataset) -> tuple[NDArray[Any] | None, list[str]]:
    """Return what must not be cut apart (`Dataset.groups`), and what is to be said about it.

    Groups of one clip are no groups: None then.
    """
    groups = dataset.groups
    if all(source.group is None for source in dataset.sources):
        together = [] if groups is None else ["no groups were given: segments and copies of one file are kept together"]
        notes = [*together, UNKNOWN_GROUPS, *describe_doubts(dataset)]
    else:
        notes = describe_doubts(dataset)
    if groups is not None and len(np.unique(groups)) == len(groups):
        return None, [*notes, "every clip is a group of its own: clips are treated as independent"]
    return groups, notes


def plan_cut(
    dataset: Dataset,
    groups: NDArray[Any] | None,
    *,
    folds: int | str,
    repeats: int,
    valid_fraction: float | None,
    seed: int,
) -> tuple[Fold, ...]:
    """Return the folds that every head shares.

    Raises
    ------
    DatasetError
        The clips cannot be cut so.
    ParameterError
        ``folds`` is neither a number nor ``"split"``, or a number is out of range.
    """
    labels = np.asarray(dataset.y)
    cuts = cut_clips(dataset, labels, groups, folds=folds, repeats=repeats, valid_fraction=valid_fraction, seed=seed)
    for fold in cuts:
        if len(np.unique(labels[fold.train])) < 2:
            lone = describe_lone_classes(lone_classes(labels, groups), len(np.unique(labels)))
            way_on = f". {lone}" if lone else ": ask for other folds or add clips of other classes (in other groups)"
            raise DatasetError(
                f"fold {fold.name} would learn from {count(len(fold.train), 'clip')} of a single class{way_on}"
            )
    return cuts


def cut_clips(
    dataset: Dataset,
    labels: NDArray[Any],
    groups: NDArray[Any] | None,
    *,
    folds: int | str,
    repeats: int,
    valid_fraction: float | None,
    seed: int,
) -> tuple[Fold, ...]:
    """Cut clips as asked; ``labels`` (n,), or (n, k) where a clip may have several.

    Raises
    ------
    DatasetError, ParameterError
        As `plan_cut` does.
    """
    if repeats < 1:
        raise ParameterError(f"repeats={repeats}: at least 1")
    if valid_fraction is not None:
        hold_out = holdout if labels.ndim == 1 else partial(holdout_of_sets, required=True)
        cuts = [hold_out(labels, groups, valid_fraction, seed_of_repeat(seed, i)) for i in range(repeats)]
        return tuple(Fold("holdout" if repeats == 1 else f"r{i + 1}:holdout", *cut, i) for i, cut in enumerate(cuts))
    if folds == "split":
        if dataset.split is None:
            raise DatasetError(
                "the folds were to come from a column, but not every clip has a value there (none has): "
                "give --labels CSV with the column, or a number of folds"
            )
        if repeats > 1:
            raise ParameterError("predefined folds are cut once: leave --repeats out, or give a number of folds")
        return plan_folds(labels, split=dataset.split)
    if isinstance(folds, str | bool):
        raise ParameterError(f"folds={folds!r}: a number of folds, or 'split' for the clips' own")
    return plan_folds(labels, groups=groups, n_folds=int(folds), n_repeats=repeats, seed=seed)


def fold_names(cuts: Sequence[Fold], n: int) -> NDArray[np.str_]:
    """Return the fold that tested each of n clips in each repetition (R, n), empty where none did."""
    width = max(len(fold.name) for fold in cuts)
    names = np.full((1 + max(fold.repeat for fold in cuts), n), "", dtype=f"U{width}")
    for fold in cuts:
        names[fold.repeat, fold.test] = fold.name
    return names
