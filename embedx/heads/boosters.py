"""LightGBM's text format: read back without running anything, after a check of every index in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_array

from embedx.text import first_line

__all__ = ["BoosterClassifier", "Tree", "read_booster", "read_trees"]

Tree = dict[str, list[Any]]


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

    trees = read_trees(text, n_classes=n_classes, n_features=n_features)
    try:
        return lightgbm.Booster(model_str=_rewritten(trees, 1 if n_classes == 2 else n_classes, n_features))
    except (lightgbm.basic.LightGBMError, ValueError, TypeError) as error:
        raise ValueError(f"LightGBM cannot read it: {first_line(error)}") from error


def read_trees(text: str, *, n_classes: int, n_features: int) -> list[Tree]:
    """Read the trees of a booster: for each its numbers by LightGBM's names, checked.

    Parameters
    ----------
    text, n_classes, n_features
        As in `read_booster`.

    Returns
    -------
    list of dict of str to list
        ``split_feature``, ``threshold``, ``left_child``, ``right_child`` (a child below 0 is leaf ``-child - 1``;
        all four absent from a tree of one leaf) and ``leaf_value``. Two classes have one tree a round, more have
        one a class and round.

    Raises
    ------
    ValueError
        The text is no such booster, in one line.
    """
    n_outputs = 1 if n_classes == 2 else n_classes
    end = text.find("\nend of trees")
    if not text.startswith("tree\n") or end < 0:
        raise ValueError("the booster does not start with 'tree' and end with 'end of trees'")
    header, *blocks = text[:end].split("\nTree=")
    _check_header(_fields(header), n_outputs, n_features)
    if not blocks or len(blocks) % n_outputs:
        raise ValueError(f"the booster has {len(blocks)} trees for {n_outputs} outputs")
    return [_tree(number, block, n_features) for number, block in enumerate(blocks)]


def _rewritten(trees: list[Tree], n_outputs: int, n_features: int) -> str:
    """Write the checked numbers down anew: LightGBM's parser trusts what it reads, so it reads nothing but ours."""
    blocks = [_block(number, tree) for number, tree in enumerate(trees)]
    lines = [
        "tree",
        "version=v4",
        f"num_class={n_outputs}",
        f"num_tree_per_iteration={n_outputs}",
        "label_index=0",
        f"max_feature_idx={n_features - 1}",
        f"objective={_objective(n_outputs)}",
        "feature_names=" + " ".join(f"Column_{i}" for i in range(n_features)),
        "feature_infos=" + " ".join(["[-1:1]"] * n_features),
        "tree_sizes=" + " ".join(str(len(block)) for block in blocks),
        "",
    ]
    return "\n".join(lines) + "\n" + "".join(blocks) + "end of trees\n"


def _block(number: int, tree: Tree) -> str:
    lines = {"Tree": [number], "num_leaves": [len(tree["leaf_value"])], "num_cat": [0], **tree}
    lines |= {"is_linear": [0], "shrinkage": [1]}
    return "".join(f"{name}={' '.join(map(repr, values))}\n" for name, values in lines.items()) + "\n\n"


def _objective(n_outputs: int) -> str:
    return "binary sigmoid:1" if n_outputs == 1 else f"multiclass num_class:{n_outputs}"


def _check_header(header: dict[str, str], n_outputs: int, n_features: int) -> None:
    expected = {
        "version": "v4",
        "num_class": str(n_outputs),
        "num_tree_per_iteration": str(n_outputs),
        "max_feature_idx": str(n_features - 1),
        "objective": _objective(n_outputs),
    }
    for name, value in expected.items():
        if header.get(name) != value:
            raise ValueError(f"the booster's {name} is {header.get(name, 'absent')[:40]!r}, not {value!r}")


def _tree(number: int, block: str, n_features: int) -> Tree:
    fields = _fields("Tree=" + block)
    try:
        n_leaves = _numbers(fields, "num_leaves", int, 1)[0]
        if fields.get("num_cat") != "0" or fields.get("is_linear", "0") != "0" or not 1 <= n_leaves <= 100_000:
            raise ValueError("num_cat, is_linear or num_leaves")
        splits = _splits(fields, n_leaves, n_features) if n_leaves > 1 else {}
        return {**splits, "leaf_value": _numbers(fields, "leaf_value", float, n_leaves)}
    except ValueError as error:
        raise ValueError(f"tree {number} of the booster is damaged ({str(error)[:80]})") from error


def _splits(fields: dict[str, str], n_leaves: int, n_features: int) -> Tree:
    n = n_leaves - 1
    found = {name: _numbers(fields, name, int, n) for name in ("split_feature", "decision_type")}
    if not all(0 <= feature < n_features for feature in found["split_feature"]):
        raise ValueError("split_feature")
    if not all(0 <= kind < 16 and kind % 2 == 0 for kind in found["decision_type"]):
        raise ValueError("decision_type")
    left, right = _numbers(fields, "left_child", int, n), _numbers(fields, "right_child", int, n)
    if sorted(left + right) != sorted([*range(1, n), *range(-n_leaves, 0)]):
        raise ValueError("left_child or right_child: not every node has one parent")
    if any(0 <= child <= node for side in (left, right) for node, child in enumerate(side)):
        raise ValueError("a child ahead of its parent")
    return {
        "split_feature": found["split_feature"],
        "split_gain": [0] * n,
        "threshold": _numbers(fields, "threshold", float, n),
        "decision_type": found["decision_type"],
        "left_child": left,
        "right_child": right,
    }


def _fields(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.split("\n") if "=" in line)


def _numbers(fields: dict[str, str], name: str, kind: Any, length: int) -> list[Any]:
    """Return finite numbers of one kind, exactly so many."""
    try:
        values = [kind(value) for value in fields.get(name, "").split()]
    except ValueError:
        raise ValueError(f"{name} holds what is no number") from None
    if len(values) != length or not np.isfinite(np.array(values, dtype=np.float64)).all():
        raise ValueError(f"{name} holds {len(values)} numbers, not {length} finite ones")
    return values
