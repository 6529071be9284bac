"""Folds that every head shares: stratified, grouped when groups are known, or taken from a column."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from embedx.errors import DatasetError, ParameterError

__all__ = ["Fold", "describe_problems", "holdout", "plan_folds"]

_TEST_NAMES = ("test", "testing", "eval", "evaluation")
_VALID_NAMES = ("valid", "validation", "val", "dev", "development")
_TRAIN_NAMES = ("train", "training", *_VALID_NAMES)


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
    y : array-like of shape (n,)
        Labels.
    groups : array-like of shape (n,), optional
        What must not be cut apart: speaker, video, source recording.
    split : array-like of shape (n,), optional
        Predefined parts. Names such as ``train``, ``valid``, ``test`` give one fold (valid is learned from
        when there is a test part); any other names give a fold each.
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
        cuts = _cut(labels, groups, n_folds, (seed + repeat) % 2**32)
        folds += [Fold(f"{prefix}{i}", *cut, repeat) for i, cut in enumerate(cuts, start=1)]
    return tuple(folds)


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
        raise DatasetError(f"{units} {what} cannot make {n_folds} folds: ask for fewer (--folds {units})")


def _cut(
    labels: NDArray[Any], groups: ArrayLike | None, n_folds: int, seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
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
    names = sorted({str(name) for name in split}, key=_natural)
    if len(names) < 2:
        raise DatasetError(f"every clip is in the part {names[0]!r}: a predefined split needs at least two parts")
    texts = np.array([str(name) for name in split])
    lower = np.array([name.lower() for name in texts])
    if np.isin(lower, _TRAIN_NAMES + _TEST_NAMES).all():
        return (_named_fold(lower),)
    return tuple(Fold(name, np.flatnonzero(texts != name), np.flatnonzero(texts == name)) for name in names)


def _named_fold(lower: NDArray[Any]) -> Fold:
    is_test = np.isin(lower, _TEST_NAMES)
    if not is_test.any():
        is_test = np.isin(lower, _VALID_NAMES)
    if is_test.all() or not is_test.any():
        raise DatasetError("the predefined split has no part to learn from or none to be judged on")
    return Fold(str(lower[is_test][0]), np.flatnonzero(~is_test), np.flatnonzero(is_test))


def _natural(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isascii() and name.isdigit() else (1, 0, name)


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
    notes = _class_problems(folds, labels)
    names, counts = np.unique(labels, return_counts=True)
    per_repeat = sum(fold.repeat == 0 for fold in folds)
    few = [f"{str(name)!r} ({count})" for name, count in zip(names, counts, strict=True) if 1 < per_repeat > count]
    if few:
        notes.insert(0, f"fewer clips than the {per_repeat} folds: class {', '.join(few)}")
    if groups is not None:
        notes += _group_problems(folds, np.asarray(groups))
    return tuple(notes)


def _class_problems(folds: Sequence[Fold], labels: NDArray[Any]) -> list[str]:
    notes = []
    for fold in folds:
        for name in np.setdiff1d(labels, labels[fold.train]):
            notes.append(f"fold {fold.name} learns nothing of class {str(name)!r}: no head can find it there")
        for name in np.setdiff1d(labels, labels[fold.test]):
            notes.append(f"fold {fold.name} tests no clip of class {str(name)!r}")
    return notes


def _group_problems(folds: Sequence[Fold], groups: NDArray[Any]) -> list[str]:
    leaks = [(fold.name, np.intersect1d(groups[fold.train], groups[fold.test])) for fold in folds]
    spanning = sorted({str(group) for _, shared in leaks for group in shared})
    if not spanning:
        return []
    shown = ", ".join(repr(group) for group in spanning[:3]) + (", ..." if len(spanning) > 3 else "")
    return [
        f"{len(spanning)} groups are both learned from and tested on ({shown}): "
        "scores are too good by what a group shares"
    ]


def holdout(
    y: ArrayLike, groups: ArrayLike | None = None, fraction: float = 0.2, seed: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Set a part of the training clips aside, for early stopping, calibration or selection.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels.
    groups : array-like of shape (n,), optional
        What must not be cut apart.
    fraction : float
        About how much is set aside, between 0 and 1.
    seed : int
        Seed of the draw.

    Returns
    -------
    train, valid : ndarray of int
        Indices, ascending. Every class stays in ``train`` as long as its clips are in at least two groups.

    Raises
    ------
    DatasetError
        Fewer than two clips or groups.
    ParameterError
        ``fraction`` is not between 0 and 1.

    Examples
    --------
    >>> train, valid = holdout(["a", "b"] * 10, fraction=0.2)
    >>> len(train), len(valid)
    (16, 4)
    """
    if not 0 < fraction < 1:
        raise ParameterError(f"fraction is {fraction}: it must lie between 0 and 1")
    labels = np.asarray(y)
    names = np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(np.unique(names)) < 2:
        raise DatasetError("a part cannot be set aside: there is a single clip or group. Add clips of other groups")
    valid = _draw_groups(labels, names, fraction, np.random.default_rng(seed))
    return np.flatnonzero(~valid), np.flatnonzero(valid)


def _draw_groups(
    labels: NDArray[Any], names: NDArray[np.intp], fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Move whole groups aside, class by class, never the last group of a class."""
    classes = np.unique(labels, return_inverse=True)[1]
    counts = np.zeros((names.max() + 1, classes.max() + 1), dtype=np.intp)
    np.add.at(counts, (names, classes), 1)
    wanted = fraction * counts.sum(0)
    left, aside = counts.sum(0), np.zeros(counts.shape[1])
    taken = np.zeros(len(counts), dtype=bool)
    for group in rng.permutation(len(counts)):
        has = counts[group] > 0
        helps = (aside + counts[group] / 2 <= wanted)[has].all()
        if helps and (left - counts[group] > 0)[has].all():
            taken[group], left, aside = True, left - counts[group], aside + counts[group]
    if not taken.any():
        taken[_smallest_spare(counts, rng)] = True
    return taken[names]


def _smallest_spare(counts: NDArray[np.intp], rng: np.random.Generator) -> int:
    """Return the group that costs the training part the least: no class lost if possible, then the smallest."""
    lost = ((counts.sum(0) - counts) == 0).sum(1)
    return int(np.lexsort((rng.random(len(counts)), counts.sum(1), lost))[0])
