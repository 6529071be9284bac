"""Folds that every head shares: stratified, grouped when groups are known, or taken from a column."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from embedx.errors import DatasetError, ParameterError
from embedx.evaluation.holdouts import holdout, stratified_holdout
from embedx.evaluation.iterative_stratification import assign_folds
from embedx.evaluation.split_names import Parts, read_split
from embedx.text import count

__all__ = [
    "UNKNOWN_GROUPS",
    "Fold",
    "Parts",
    "describe_lone_classes",
    "describe_problems",
    "describe_shared_groups",
    "holdout",
    "lone_classes",
    "most_folds",
    "plan_folds",
    "read_split",
    "seed_of_repeat",
    "stratified_holdout",
]


UNKNOWN_GROUPS = "speakers or recordings are unknown: if a class is one of them, these numbers mean nothing"

_TOLD_SINGLY = 3
"""Of more cases of one kind the first so many are named and all are counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One way to cut the clips into a part to learn from and a part to be judged on.

    Parameters
    ----------
    name : str
        The fold's number from 1, or its name in the split column; repeats are told apart as ``r2:1``.
    train, test : ndarray of int
        Indices into the data set, ascending, without overlap.
    repeat : int
        Which repetition of the cut it belongs to, from 0.
    """

    name: str
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    repeat: int = 0


def plan_folds(
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    split: ArrayLike | None = None,
    n_folds: int = 5,
    n_repeats: int = 1,
    seed: int = 0,
) -> tuple[Fold, ...]:
    """Cut the clips into folds that keep classes balanced and groups whole.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, k)
        Labels; where a clip may have several, which of k classes it has (`assign_folds` then cuts).
    groups : array-like of shape (n,), optional
        What must not be cut apart: speaker, video, source recording.
    split : array-like of shape (n,), optional
        Predefined parts, see `read_split`: ``train``, ``valid`` and ``test`` give one fold (valid is learned from
        when there is a test part); folds give one each. Clips without a value are in none.
    n_folds : int
        Folds of one repetition, at least 2. Ignored with ``split``.
    n_repeats : int
        How often the clips are cut anew, each time with another seed. Ignored with ``split``.
    seed : int
        Seed of the cuts.

    Returns
    -------
    tuple of Fold
        Repetition after repetition. With ``n_repeats`` repetitions every clip is tested so many times.

    Raises
    ------
    DatasetError
        Fewer clips or groups than folds, or a split with a single part.
    ParameterError
        ``n_folds`` below 2 or ``n_repeats`` below 1.

    Examples
    --------
    >>> folds = plan_folds(["a", "b"] * 4, groups=[0, 0, 1, 1, 2, 2, 3, 3], n_folds=2)
    >>> [(fold.name, len(fold.train), len(fold.test)) for fold in folds]
    [('1', 4, 4), ('2', 4, 4)]
    """
    labels = np.asarray(y)
    if split is not None:
        return _split_folds(np.asarray(split))
    _require_folds(labels, groups, n_folds, n_repeats)
    folds: list[Fold] = []
    for repeat in range(n_repeats):
        prefix = "" if n_repeats == 1 else f"r{repeat + 1}:"
        cuts = _cut(labels, groups, n_folds, seed_of_repeat(seed, repeat))
        folds += [Fold(f"{prefix}{i}", *cut, repeat) for i, cut in enumerate(cuts, start=1)]
    return tuple(folds)


def seed_of_repeat(seed: int, repeat: int) -> int:
    """Return the seed of one repetition, which is in range for every seed that is."""
    return (seed + repeat) % 2**32


def most_folds(y: ArrayLike, groups: ArrayLike | None = None) -> int:
    """Return into how many folds `plan_folds` can cut clips; 1 when they cannot be cut.

    Without groups every class of two clips or more has a clip in each of the folds.

    Examples
    --------
    >>> most_folds(["a", "a", "a", "b", "b"]), most_folds(["a", "a", "b", "b"], groups=[0, 1, 2, 3])
    (2, 2)
    """
    counts = np.unique(np.asarray(y), return_counts=True)[1]
    if groups is not None:
        return min(len(np.unique(np.asarray(groups))), int(counts.max()))
    return int(counts[counts > 1].min()) if counts.max() > 1 else 1


def _require_folds(labels: NDArray[Any], groups: ArrayLike | None, n_folds: int, n_repeats: int) -> None:
    if n_folds < 2:
        raise ParameterError(f"n_folds is {n_folds}: at least 2 folds are needed to test on clips not learned from")
    if n_repeats < 1:
        raise ParameterError(f"n_repeats is {n_repeats}: at least 1")
    units = len(labels) if groups is None else np.unique(np.asarray(groups)).size
    if units < n_folds:
        what = "groups" if groups is not None else "clips"
        if units < 2:
            raise DatasetError(
                f"all {len(labels)} clips are one group and cannot be cut apart: add clips of other groups"
            )
        alone = {} if labels.ndim > 1 else lone_classes(labels, groups)
        lone = describe_lone_classes(alone, len(np.unique(labels)))
        way_on = f": ask for fewer (--folds {units})" if not lone else f". {lone}"
        raise DatasetError(f"{units} {what} cannot make {n_folds} folds{way_on}")


def _cut(
    labels: NDArray[Any], groups: ArrayLike | None, n_folds: int, seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    if labels.ndim > 1:
        fold = assign_folds(labels, groups, n_folds=n_folds, seed=seed)
        return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(n_folds)]
    counts = np.unique(labels, return_counts=True)[1]
    if counts.max() < n_folds:
        raise DatasetError(
            f"every class has fewer clips than {n_folds} folds (the largest {counts.max()}): "
            f"ask for fewer (--folds {max(int(counts.min()), 2)}) or add clips"
        )
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():  # `describe_problems` says it, with names
        warnings.simplefilter("ignore", UserWarning)
        cuts = list(kind(n_folds, shuffle=True, random_state=seed).split(np.zeros(len(labels)), labels, groups))
    return [(train, test) for train, test in cuts if len(train) and len(test)]


def _split_folds(split: NDArray[Any]) -> tuple[Fold, ...]:
    parts = read_split(split)
    names = sorted({str(split[i]) for i in parts.placed})
    if len(names) < 2:
        told = f"every clip is in the part {names[0]!r}" if names else "no clip has a value in the split"
        raise DatasetError(f"{told}: a predefined split needs at least two parts")
    if parts.folds:
        return tuple(Fold(name, np.setdiff1d(parts.placed, test), test) for name, test in parts.folds.items())
    test = parts.test if len(parts.test) else parts.valid
    train = np.setdiff1d(parts.placed, test)
    if not len(train) or not len(test):
        raise DatasetError(
            f"the predefined split has no part to learn from or none to be judged on: its parts are {', '.join(names)}"
        )
    return (Fold(str(split[test[0]]).lower(), train, test),)


def describe_problems(folds: Sequence[Fold], y: ArrayLike, *, groups: ArrayLike | None = None) -> tuple[str, ...]:
    """Say in words what is unsound about a cut; nothing is mended.

    Parameters
    ----------
    folds : sequence of Fold
        From `plan_folds`.
    y, groups : array-like of shape (n,)
        Labels, and what should have been kept whole.

    Returns
    -------
    tuple of str
        One sentence for each kind of problem; empty for a sound cut.

    Examples
    --------
    >>> folds = plan_folds(["a", "a", "b", "b", "c", "a"], split=[1, 2, 1, 2, 1, 2])
    >>> for problem in describe_problems(folds, ["a", "a", "b", "b", "c", "a"]):
    ...     print(problem)
    fewer clips than the 2 folds: class 'c' (1)
    fold 1 learns nothing of class 'c': no head can find it there
    fold 2 tests no clip of class 'c'
    """
    labels = np.asarray(y)
    names, counts = np.unique(labels, return_counts=True)
    per_repeat = sum(fold.repeat == 0 for fold in folds)
    few = [f"{str(name)!r} ({n})" for name, n in zip(names, counts, strict=True) if 1 < per_repeat > n]
    notes = [f"fewer clips than the {per_repeat} folds: class {_first(few, ', ')}"] if few else []
    return (*notes, *_class_problems(folds, labels), *describe_shared_groups(folds, groups))


def _class_problems(folds: Sequence[Fold], labels: NDArray[Any]) -> list[str]:
    unlearned, untested = [], []
    for fold in folds:
        unlearned += [(fold.name, str(name)) for name in np.setdiff1d(labels, labels[fold.train])]
        untested += [(fold.name, str(name)) for name in np.setdiff1d(labels, labels[fold.test])]
    return [
        *_told(unlearned, "learns nothing of", ": no head can find it there"),
        *_told(untested, "tests no clip of", ""),
    ]


def _told(cases: list[tuple[str, str]], what: str, tail: str) -> list[str]:
    """Say a few cases one by one, and many of them in one sentence."""
    if len(cases) <= _TOLD_SINGLY:
        return [f"fold {fold} {what} class {name!r}{tail}" for fold, name in cases]
    shown = _first([f"{name!r} in fold {fold}" for fold, name in cases], ", ")
    return [f"{count(len(cases), 'time')} a fold {what} a class ({shown}){tail}"]


def _first(texts: Sequence[str], between: str) -> str:
    more = f"{between}and {len(texts) - _TOLD_SINGLY} more" if len(texts) > _TOLD_SINGLY else ""
    return between.join(texts[:_TOLD_SINGLY]) + more


def lone_classes(y: ArrayLike, groups: ArrayLike | None) -> dict[str, str]:
    """Return the classes whose clips are all of one group, each with that group.

    Whether a head knows such a class or the group, no cut can tell.

    Examples
    --------
    >>> lone_classes(["fr", "fr", "it", "it"], groups=["anna", "anna", "carlo", "dora"])
    {'fr': 'anna'}
    """
    if groups is None:
        return {}
    classes, of_class = np.unique(np.asarray(y), return_inverse=True)
    names, of_group = np.unique(np.asarray(groups), return_inverse=True)
    pairs = np.unique(np.stack([of_class, of_group], axis=1), axis=0)
    first, n_groups = np.unique(pairs[:, 0], return_index=True, return_counts=True)[1:]
    found = zip(classes, first, n_groups, strict=True)
    return {str(name): str(names[pairs[i, 1]]) for name, i, n in found if n == 1}


def describe_lone_classes(lone: Mapping[str, str], n_classes: int) -> str:
    """Say which classes cannot be judged, and whether anything can; empty when all can.

    Parameters
    ----------
    lone : mapping of str to str
        From `lone_classes`.
    n_classes : int
        All classes.
    """
    if not lone:
        return ""
    shown = _first([f"every clip of {name!r} is of one group ({group!r})" for name, group in lone.items()], ", ")
    most = n_classes - len(lone) < 2
    begin = f"Cannot be judged: {shown}" if most else f"Not every class can be judged: {shown}"
    return (
        f"{begin}. A head may know the group instead of the class: add clips of other groups (speakers, recordings) to "
        "such classes, or say with --group-column what must not be cut apart"
    )


def describe_shared_groups(folds: Sequence[Fold], groups: ArrayLike | None) -> list[str]:
    """Say which groups are on both sides of a cut; empty when none is."""
    if groups is None:
        return []
    names = np.asarray(groups)
    shared = (np.intersect1d(names[fold.train], names[fold.test]) for fold in folds)
    spanning = sorted({str(group) for some in shared for group in some})
    if not spanning:
        return []
    shown = ", ".join(repr(group) for group in spanning[:3]) + (", ..." if len(spanning) > 3 else "")
    are = "is" if len(spanning) == 1 else "are"
    both = f"{count(len(spanning), 'group')} {are} both learned from and tested on ({shown})"
    return [f"{both}: scores are too good by what a group shares"]
