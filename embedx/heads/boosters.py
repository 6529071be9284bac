"""LightGBM's text format: read back without running anything, after a check of every index in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_array

__all__ = ["BoosterClassifier", "read_booster"]


class BoosterClassifier(ClassifierMixin, BaseEstimator):
    """Predict with a LightGBM booster that was read from text.

    Parameters
    ----------
    booster : lightgbm.Booster
        What `read_booster` returned.
    classes : ndarray of shape (n_classes,)
        Labels in the order of the booster's outputs.
    """

    def __init__(self, booster: Any, classes: NDArray[Any]) -> None:
        self.booster = booster
        self.classes = classes

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels."""
        return self.classes

    @property
    def n_features_in_(self) -> int:
        """Columns of X."""
        return int(self.booster.num_feature())

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any) -> BoosterClassifier:
        """Refuse: a booster that was read is used as it is."""
        raise TypeError("a loaded booster cannot be fitted again: make a new head with make_head('lgbm', ...)")

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities of shape (n, n_classes)."""
        found = self.booster.predict(check_array(X, dtype=(np.float32, np.float64)), num_threads=1)
        return np.column_stack([1 - found, found]) if found.ndim == 1 else found

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each row, shape (n,)."""
        return self.classes[self.predict_proba(X).argmax(axis=1)]


def read_booster(text: str, *, n_classes: int, n_features: int) -> Any:
    """Read a booster.

    Parameters
    ----------
    text : str
        What ``Booster.model_to_string`` wrote.
    n_classes, n_features : int
        What it has to predict, and from how many columns.

    Raises
    ------
    ValueError
        The text is no such booster, in one line.
    """
    import lightgbm

    _check_text(text, n_classes, n_features)
    try:
        return lightgbm.Booster(model_str=text)
    except (lightgbm.basic.LightGBMError, ValueError, TypeError) as error:
        raise ValueError(f"LightGBM cannot read it: {str(error).splitlines()[0]}") from error


def _check_text(text: str, n_classes: int, n_features: int) -> None:
    """Check what LightGBM's parser trusts: sizes, child and feature indices (it reads out of bounds otherwise)."""
    end = text.find("\nend of trees")
    if not text.startswith("tree\n") or end < 0:
        raise ValueError("it does not start with 'tree' and end with 'end of trees'")
    head, *trees = text[:end].split("\nTree=")
    header = _fields(head)
    n_outputs = 1 if n_classes == 2 else n_classes
    expected = {
        "version": "v4",
        "num_class": str(n_outputs),
        "num_tree_per_iteration": str(n_outputs),
        "max_feature_idx": str(n_features - 1),
        "label_index": "0",
    }
    for name, value in expected.items():
        if header.get(name) != value:
            raise ValueError(f"{name} is {header.get(name, 'absent')[:40]}, not {value}")
    objective = header.get("objective", "")
    if objective.split(" ")[0] != ("binary" if n_outputs == 1 else "multiclass"):
        raise ValueError(f"objective is {objective[:40]!r}")
    if not trees or len(trees) % n_outputs:
        raise ValueError(f"it has {len(trees)} trees for {n_outputs} outputs")
    _check_sizes(text, header, trees)
    for number, tree in enumerate(trees):
        _check_tree(number, tree, n_features)


def _check_sizes(text: str, header: dict[str, str], trees: list[str]) -> None:
    names, infos = header.get("feature_names", "").split(), header.get("feature_infos", "").split()
    if len(names) != int(header["max_feature_idx"]) + 1 or len(infos) != len(names):
        raise ValueError("feature_names or feature_infos have a wrong length")
    sizes = _numbers(header, "tree_sizes", int)
    lengths = [len(f"Tree={tree}".encode()) + 1 for tree in trees]
    if len(sizes) != len(trees) or any(size < 1 for size in sizes) or sum(sizes) > sum(lengths) + 2 * len(trees):
        raise ValueError("tree_sizes do not fit the trees")
    starts = text.find("\nTree=") + 1
    for size in sizes:
        if not text.startswith("Tree=", starts):
            raise ValueError("tree_sizes do not point at trees")
        starts += size


def _check_tree(number: int, text: str, n_features: int) -> None:
    try:
        fields = _fields("Tree=" + text)
        (n_leaves,) = _numbers(fields, "num_leaves", int)
        n_splits = n_leaves - 1
        if fields.get("num_cat") != "0" or fields.get("is_linear", "0") != "0" or not 1 <= n_leaves <= 100_000:
            raise ValueError("num_cat, is_linear or num_leaves")
        lengths = {"leaf_value": n_leaves}
        if n_splits:
            lengths.update(dict.fromkeys(("split_feature", "threshold", "decision_type"), n_splits))
        for name, length in lengths.items():
            values = _numbers(fields, name, float)
            if len(values) != length or not np.isfinite(values).all():
                raise ValueError(name)
        _check_children(fields, n_leaves, n_features)
    except ValueError as error:
        raise ValueError(f"tree {number} is damaged: {str(error)[:80]}") from error


def _check_children(fields: dict[str, str], n_leaves: int, n_features: int) -> None:
    n_splits = n_leaves - 1
    if n_splits == 0:
        return
    if not all(0 <= feature < n_features for feature in _numbers(fields, "split_feature", int)):
        raise ValueError("split_feature")
    left, right = _numbers(fields, "left_child", int), _numbers(fields, "right_child", int)
    reached = sorted(left + right)
    if len(left) != n_splits or reached != sorted([*range(1, n_splits), *range(-n_leaves, 0)]):
        raise ValueError("left_child or right_child")
    if any(child >= 0 and child <= node for side in (left, right) for node, child in enumerate(side)):
        raise ValueError("a child ahead of its parent")


def _fields(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.split("\n") if "=" in line)


def _numbers(fields: dict[str, str], name: str, kind: Any) -> list[Any]:
    return [kind(value) for value in fields.get(name, "").split()]
