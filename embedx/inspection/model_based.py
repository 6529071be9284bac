"""What a simple head gives away: labels that are probably wrong, and classes told by what should not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from embedx.dataset import Dataset
from embedx.errors import DatasetError
from embedx.evaluation.labels import find_suspects
from embedx.evaluation.metrics import align_proba
from embedx.evaluation.splits import UNKNOWN_GROUPS, Fold, describe_lone_classes, lone_classes, plan_folds
from embedx.evaluation.statistics import MIN_GROUPS, cluster_permutation, holm
from embedx.heads.catalog import fit_head, make_head
from embedx.inspection.finding import Finding, Level
from embedx.text import count

__all__ = ["find_confounds", "find_wrong_labels"]


def find_wrong_labels(dataset: Dataset, *, seed: int = 0, progress: Callable[..., None] | None = None) -> Finding:
    """Find clips whose label a logistic regression that never learned from them contradicts (confident learning).

    Parameters
    ----------
    dataset : Dataset
        All of it labelled.
    seed : int
        Seed of folds and head.
    progress : callable, optional
        Called as ``progress(done, total)`` in folds.
    """
    lone = lone_classes(np.asarray(dataset.y), dataset.groups)
    if lone:
        dataset = dataset.take([i for i, label in enumerate(np.asarray(dataset.y)) if label not in lone])
    if len(dataset) == 0 or len(np.unique(np.asarray(dataset.y))) < 2:
        text = "Not looked for: that needs two classes, each with clips of two groups or more (see Confounds)."
        return Finding(check="labels", title="Labels", level="note", text=text)
    labels = np.asarray(dataset.y)
    folds = _folds(labels, dataset.groups, seed)
    if not folds:
        text = "Not looked for: there are too few clips or groups to hold some out."
        return Finding(check="labels", title="Labels", level="note", text=text)
    classes, truth = np.unique(labels, return_inverse=True)
    proba = np.full((len(labels), len(classes)), np.nan)
    for n_done, fold in enumerate(folds, start=1):
        head = make_head("logreg", n_layers=dataset.n_layers, random_state=seed)
        fit_head(head, dataset.X[fold.train], labels[fold.train])
        proba[fold.test] = align_proba(head.predict_proba(dataset.X[fold.test]), head.classes_, classes)
        if progress is not None:
            progress(n_done, len(folds))
    suspects = find_suspects(proba, truth)
    if not suspects:
        text = "No label is contradicted by a head that never learned from the clip."
        return Finding(check="labels", title="Labels", level="good", text=text)
    items = tuple(
        f"{dataset.sources[one.index].id} [{labels[one.index]}] sounds like {classes[one.suggested]} "
        f"({one.p_suggested:.0%}; its own label {one.p_own:.0%})"
        for one in suspects
    )
    are = "is" if len(items) == 1 else "are"
    text = (
        f"{len(items)} of {len(labels)} labels {are} contradicted by a head that never learned from the clip: listen."
    )
    share = len(items) / len(labels)
    facts = {"clips": [dataset.sources[one.index].id for one in suspects], "share": share}
    return Finding(check="labels", title="Labels", level="note", text=text, items=items, facts=facts)


def _folds(labels: NDArray[Any], groups: NDArray[Any] | None, seed: int) -> tuple[Fold, ...]:
    for n_folds in (5, 3, 2):
        try:
            folds = plan_folds(labels, groups=groups, n_folds=n_folds, seed=seed)
        except DatasetError:
            continue
        return tuple(fold for fold in folds if len(np.unique(labels[fold.train])) > 1)
    return ()


def find_confounds(dataset: Dataset, *, seed: int = 0) -> Finding:
    """Ask whether a small tree can tell the class from duration, loudness or group alone.

    Duration and loudness are judged on held-out groups; the group is judged on held-out clips of known groups.
    """
    labels, groups = np.asarray(dataset.y), dataset.groups
    found = {
        "duration": _tell_by_number(np.log(dataset.seconds + 1e-3), labels, groups, seed),
        "loudness": _tell_by_number(dataset.control[:, :64].mean(1), labels, groups, seed),
    }
    if groups is not None and len(np.unique(groups)) < len(groups):
        found["group"] = _tell_by_group(labels, groups, seed)
    judged = {name: result for name, result in found.items() if result is not None}
    corrected = dict(zip(judged, holm([p_value for _, p_value in judged.values()]), strict=True))
    guess = np.unique(labels, return_counts=True)[1].max() / len(labels)
    strong = [name for name in judged if corrected[name] < 0.05]
    items = tuple(
        f"{name}: {accuracy:.1%} (guessing {guess:.1%}), p {corrected[name]:.3f}"
        for name, (accuracy, _) in judged.items()
    )
    facts = {name: {"accuracy": value[0], "p_holm": corrected[name]} for name, value in judged.items()}
    told = [
        _lone(labels, groups),
        _strong(strong),
        "" if strong else _weak(groups),
        f"S{UNKNOWN_GROUPS[1:]}." if groups is None else "",
    ]
    level: Level = "bad" if told[0] or "duration" in strong else "note" if strong or groups is None else "good"
    return Finding(
        check="confounds", title="Confounds", level=level, text=" ".join(filter(None, told)), items=items, facts=facts
    )


def _lone(labels: NDArray[Any], groups: NDArray[Any] | None) -> str:
    text = describe_lone_classes(lone_classes(labels, groups), len(np.unique(labels)))
    return f"{text}." if text else ""


def _strong(strong: list[str]) -> str:
    if not strong:
        return ""
    text = f"The class can be told from {' and from '.join(strong)} alone. A head may use that instead of the sound"
    return text + (
        ": keep groups apart in the folds." if strong == ["group"] else ", and fail where that no longer holds."
    )


def _weak(groups: NDArray[Any] | None) -> str:
    text = "Nothing of this tells the class better than guessing by more than chance."
    n_groups = 0 if groups is None else len(np.unique(groups))
    few = f" With {count(n_groups, 'group')} little can be shown: look at the numbers."
    return text + (few if 0 < n_groups < MIN_GROUPS else "")


def _tell_by_number(
    values: NDArray[Any], labels: NDArray[Any], groups: NDArray[Any] | None, seed: int
) -> tuple[float, float] | None:
    """Return how well a small tree tells the class from one number on held-out groups, and its p-value."""
    from sklearn.tree import DecisionTreeClassifier

    folds = _folds(labels, groups, seed)
    if not folds or np.ptp(values) == 0:
        return None
    said = np.empty_like(labels)
    for fold in folds:
        tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=seed)
        said[fold.test] = tree.fit(values[fold.train, None], labels[fold.train]).predict(values[fold.test, None])
    return _worth(said == labels, labels, groups, seed)


def _tell_by_group(labels: NDArray[Any], groups: NDArray[Any], seed: int) -> tuple[float, float] | None:
    """Return how well the group alone tells the class of held-out clips, and its p-value."""
    folds = _folds(labels, None, seed)
    if not folds:
        return None
    classes, of_class = np.unique(labels, return_inverse=True)
    of_group = np.unique(groups, return_inverse=True)[1]
    said = np.empty(len(labels), dtype=np.intp)
    for fold in folds:
        by_group = _class_of_groups(of_class[fold.train], of_group[fold.train], len(classes), of_group.max() + 1)
        said[fold.test] = by_group[of_group[fold.test]]
    return _worth(said == of_class, labels, groups, seed)


def _class_of_groups(
    of_class: NDArray[np.intp], of_group: NDArray[np.intp], n_classes: int, n_groups: int
) -> NDArray[np.intp]:
    """Return the class that naive Bayes (Bernoulli, one feature a group) says of a clip of each group, shape (G,).

    In closed form, from the pairs of class and group that occur: a table of all of them grows with the square of the
    clips where groups are small.
    """
    pairs, n_pair = np.unique(of_group * n_classes + of_class, return_counts=True)
    group, own = np.divmod(pairs, n_classes)
    n_class = np.bincount(of_class, minlength=n_classes)
    share, unseen = (n_pair + 1) / (n_class[own] + 2), 1 / (n_class + 2)
    absent = (n_groups - np.bincount(own, minlength=n_classes)) * np.log1p(-unseen)
    absent += np.bincount(own, weights=np.log1p(-share), minlength=n_classes)
    with np.errstate(divide="ignore"):
        prior = np.log(n_class / len(of_class)) + absent
    elsewhere = prior + special.logit(unseen)
    said = np.full(n_groups, elsewhere.argmax())
    likely = prior[own] + special.logit(share)
    order = np.lexsort((-own, likely, group))  # the last of each group is its likeliest class, the first of equals
    order = order[likely[order] > elsewhere.max()]
    said[group[order]] = own[order]
    return said


def _worth(
    right: NDArray[np.bool_], labels: NDArray[Any], groups: NDArray[Any] | None, seed: int
) -> tuple[float, float]:
    """Return the accuracy, and the p-value of its being better than the most frequent class."""
    names, counts = np.unique(labels, return_counts=True)
    guess = labels == names[counts.argmax()]
    differences = right.astype(float) - guess
    return float(right.mean()), cluster_permutation(differences, groups, alternative="greater", seed=seed)
