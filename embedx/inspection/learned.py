"""What a simple head gives away: labels that are probably wrong, and classes told by what should not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.dataset import Dataset
from embedx.errors import DatasetError
from embedx.evaluation.labels import find_suspects
from embedx.evaluation.metrics import align_proba
from embedx.evaluation.splits import Fold, plan_folds
from embedx.evaluation.statistics import MIN_GROUPS, cluster_permutation, holm
from embedx.heads.catalog import fit_head, make_head
from embedx.inspection.finding import Finding, Level

__all__ = ["find_confounds", "find_wrong_labels"]


def find_wrong_labels(dataset: Dataset, *, seed: int = 0) -> Finding:
    """Find clips whose label a logistic regression that never learned from them contradicts (confident learning)."""
    labels = np.asarray(dataset.y)
    folds = _folds(labels, dataset.groups, seed)
    if not folds:
        text = "Not looked for: there are too few clips or groups to hold some out."
        return Finding(check="labels", title="Labels", level="note", text=text)
    classes, truth = np.unique(labels, return_inverse=True)
    proba = np.full((len(labels), len(classes)), np.nan)
    for fold in folds:
        head = make_head("logreg", n_layers=dataset.n_layers, random_state=seed)
        fit_head(head, dataset.X[fold.train], labels[fold.train])
        proba[fold.test] = align_proba(head.predict_proba(dataset.X[fold.test]), head.classes_, classes)
    suspects = find_suspects(proba, truth)
    if not suspects:
        text = "No label is contradicted by a head that never learned from the clip."
        return Finding(check="labels", title="Labels", level="good", text=text)
    items = tuple(
        f"{dataset.sources[one.index].id} [{labels[one.index]}] sounds like {classes[one.suggested]} "
        f"({one.p_suggested:.0%}; its own label {one.p_own:.0%})"
        for one in suspects
    )
    text = f"{len(items)} of {len(labels)} labels are contradicted by a head that never learned from the clip: listen."
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
    told = {
        "duration": (np.log(dataset.seconds + 1e-3)[:, None], groups),
        "loudness": (dataset.control[:, :64].mean(1)[:, None], groups),
    }
    if groups is not None and len(np.unique(groups)) < len(groups):
        told["group"] = (_one_hot(groups), None)
    found = {name: _tell(values, labels, apart, groups, seed) for name, (values, apart) in told.items()}
    judged = {name: result for name, result in found.items() if result is not None}
    corrected = dict(zip(judged, holm([p_value for _, p_value in judged.values()]), strict=True))
    guess = np.unique(labels, return_counts=True)[1].max() / len(labels)
    strong = [name for name in judged if corrected[name] < 0.05]
    items = tuple(
        f"{name}: {accuracy:.1%} (guessing {guess:.1%}), p {corrected[name]:.3f}"
        for name, (accuracy, _) in judged.items()
    )
    facts = {name: {"accuracy": value[0], "p_holm": corrected[name]} for name, value in judged.items()}
    if not strong:
        text = "Nothing of this tells the class better than guessing by more than chance."
        n_groups = 0 if groups is None else len(np.unique(groups))
        if 0 < n_groups < MIN_GROUPS:
            text += f" With {n_groups} groups little can be shown: look at the numbers."
        return Finding(check="confounds", title="Confounds", level="good", text=text, items=items, facts=facts)
    text = f"The class can be told from {' and from '.join(strong)} alone. A head may use that instead of the sound"
    text += ": keep groups apart in the folds." if strong == ["group"] else ", and fail where that no longer holds."
    level: Level = "bad" if "duration" in strong else "note"
    return Finding(check="confounds", title="Confounds", level=level, text=text, items=items, facts=facts)


def _one_hot(groups: NDArray[Any]) -> NDArray[np.float32]:
    index = np.unique(groups, return_inverse=True)[1]
    return np.eye(index.max() + 1, dtype=np.float32)[index]


def _tell(
    values: NDArray[Any], labels: NDArray[Any], apart: NDArray[Any] | None, groups: NDArray[Any] | None, seed: int
) -> tuple[float, float] | None:
    """Return the accuracy of a small tree and the p-value of its being better than the most frequent class."""
    from sklearn.naive_bayes import BernoulliNB
    from sklearn.tree import DecisionTreeClassifier

    folds = _folds(labels, apart, seed)
    if not folds or np.ptp(values, axis=0).max() == 0:
        return None
    right = np.zeros(len(labels))
    for fold in folds:
        one_hot = values.shape[1] > 1
        head = BernoulliNB() if one_hot else DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=seed)
        head.fit(values[fold.train], labels[fold.train])
        right[fold.test] = head.predict(values[fold.test]) == labels[fold.test]
    names, counts = np.unique(labels, return_counts=True)
    guess = (labels == names[counts.argmax()]).astype(float)
    return float(right.mean()), cluster_permutation(right - guess, groups, alternative="greater", seed=seed)
