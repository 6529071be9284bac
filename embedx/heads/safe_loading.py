"""Estimators from untrusted files: compiled code follows their indices without looking, so they are checked here."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_estimator", "refuse_unreadable"]

_LEAVES: tuple[type, ...] = (str, bytes, int, float, complex, type(None), type, slice, range)
_LEAVES += (types.FunctionType, types.BuiltinFunctionType)
_LEAVES += (np.generic, np.dtype, np.ufunc, np.random.RandomState, np.random.Generator)
_CONTAINERS = (list, tuple, set, frozenset, dict)
_BLIND = re.compile(r"(lightgbm|xgboost|catboost)\.")
"""Libraries whose parsers read a model before anyone can look at it, and trust every index in it."""

_STATELESS = ("sklearn._loss.", "sklearn.linear_model._sgd_fast")
_KNOWN = re.compile(
    r"sklearn\.(base|pipeline|compose|preprocessing|linear_model|tree|ensemble|svm|neighbors|neural_network|naive_bayes"
    r"|discriminant_analysis|dummy|calibration|multiclass|gaussian_process|feature_selection|model_selection|isotonic"
    r"|kernel_approximation|random_projection|metrics\._scorer"
    r"|decomposition\._(pca|incremental_pca|truncated_svd)|utils|_loss|impute)\b"
)
"""Parts of scikit-learn that compute with numpy, which checks every index, or that are checked below."""

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that is not set is one of compiled code


def refuse_unreadable(types_in_file: Iterable[str]) -> None:
    """Refuse, before anything is loaded, the libraries whose models cannot be checked.

    Raises
    ------
    ValueError
        There is one.
    """
    for name in types_in_file:
        if _BLIND.match(name):
            raise ValueError(
                f"it holds a {name}, which its library reads without checking an index: embedx never loads one, "
                "trusted or not. Train it as the head 'lgbm', whose boosters are checked (its parameters: --param)"
            )


def check_estimator(estimator: Any) -> None:
    """Check every index and shape in an estimator that compiled code will follow.

    Parameters
    ----------
    estimator : estimator
        Loaded from a file that may be hostile. Search trees over training clips are built anew from the clips.

    Raises
    ------
    ValueError
        An index points outside, a shape does not fit, or there is an object of compiled code that is not known.
    """
    pending, seen = [estimator], set()
    while pending:
        item = pending.pop()
        if isinstance(item, _LEAVES) or id(item) in seen:
            continue
        seen.add(id(item))
        pending.extend(_parts_of(item))


def _parts_of(item: Any) -> Iterable[Any]:
    kind = type(item)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind in (np.ndarray, np.memmap, np.ma.MaskedArray):
        return list(np.asarray(item).ravel()) if item.dtype.hasobject else ()
    if isinstance(item, _CONTAINERS):
        return [*item, *item.values()] if isinstance(item, dict) else item
    if isinstance(item, types.MethodType):
        return (item.__self__,)
    if isinstance(item, functools.partial):
        return (item.func, item.args, item.keywords)
    if name == "sklearn.tree._tree.Tree":
        _check_tree(item)
        return ()
    if kind.__module__.startswith("scipy.sparse"):
        _check_sparse(item, name)
        return ()
    _refuse_unknown(kind, name)
    made_here = set()
    for ancestor in kind.__mro__:
        check = _CHECKS.get(ancestor.__name__) if ancestor.__module__.startswith("sklearn.") else None
        if check is not None:
            made_here |= check(item) or set()
    slots = [slot for ancestor in kind.__mro__ for slot in getattr(ancestor, "__slots__", ())]
    held = {name: value for name, value in getattr(item, "__dict__", {}).items() if name not in made_here}
    return [*held.values(), *(getattr(item, slot, None) for slot in slots)]


def _refuse_unknown(kind: type, name: str) -> None:
    if kind.__module__.startswith(_STATELESS):
        return
    compiled = any(
        not ancestor.__flags__ & _HEAP_TYPE
        and ancestor is not object
        and not ancestor.__module__.startswith(_STATELESS)
        for ancestor in kind.__mro__
    )
    foreign = name.startswith("scipy.") and name != "scipy.interpolate._interpolate.interp1d"
    if compiled or foreign or (name.startswith("sklearn.") and not _KNOWN.match(name)):
        raise ValueError(f"it holds a {name}, whose contents embedx cannot check")


def _require(good: Any, owner: Any, what: str) -> None:
    if not good:
        raise ValueError(f"{type(owner).__name__} is damaged ({what})")


def _whole(owner: Any, name: str) -> int:
    value = vars(owner).get(name)
    _require(isinstance(value, int | np.integer) and not isinstance(value, bool) and value > 0, owner, name)
    return int(value)


def _array(owner: Any, name: str, kinds: str, *shape: int | None) -> NDArray[Any]:
    value = vars(owner).get(name)
    good = type(value) is np.ndarray and value.dtype.kind in kinds and value.ndim == len(shape)
    good = good and all(b in (None, a) for a, b in zip(value.shape, shape, strict=True))
    _require(good and (value.dtype.kind != "f" or np.isfinite(value).all()), owner, name)
    return value


def _check_sparse(matrix: Any, name: str) -> None:
    if not hasattr(matrix, "check_format"):
        raise ValueError(f"it holds a {name}, whose contents embedx cannot check")
    matrix.check_format(full_check=True)


def _check_tree(tree: Any) -> None:
    left, right = tree.children_left, tree.children_right
    inner = left != -1
    depth = _depth(left, right, tree)
    _require((tree.feature[inner] >= 0).all() and (tree.feature[inner] < tree.n_features).all(), tree, "feature")
    _require(np.isfinite(tree.threshold[inner]).all() and np.isfinite(tree.value).all(), tree, "threshold or value")
    _require(depth <= tree.max_depth, tree, "max_depth")


def _depth(left: NDArray[Any], right: NDArray[Any], owner: Any) -> int:
    """Return the depth of a tree in which every node but the first has one parent, which stands ahead of it."""
    inner = np.flatnonzero(left != -1)
    n, children = len(left), np.concatenate([left[inner], right[inner]])
    whole = n > 0 and ((left == -1) == (right == -1)).all() and np.array_equal(np.sort(children), np.arange(1, n))
    _require(whole and (left[inner] > inner).all() and (right[inner] > inner).all(), owner, "children")
    level, depth = np.zeros(1, dtype=np.intp), 0
    while len(level := level[left[level] != -1]):
        level, depth = np.concatenate([left[level], right[level]]), depth + 1
    return depth


def _check_tree_owner(owner: Any) -> None:
    if "tree_" in vars(owner):
        _require(type(owner.tree_).__module__ == "sklearn.tree._tree", owner, "tree_")
        _require(_whole(owner, "n_features_in_") == owner.tree_.n_features, owner, "n_features_in_")


def _check_trees_of(owner: Any) -> None:
    """Check what an ensemble hands its rows to without a look at their width."""
    if "estimators_" not in vars(owner):
        return
    width = _whole(owner, "n_features_in_")
    for member in np.asarray(owner.estimators_, dtype=object).ravel():
        _require(type(member).__module__ == "sklearn.tree._classes" and "tree_" in vars(member), owner, "estimators_")
        _require(_whole(member, "n_features_in_") == member.tree_.n_features == width, owner, "n_features_in_")


def _check_boosting(owner: Any) -> None:
    if "estimators_" not in vars(owner):
        return
    _check_trees_of(owner)
    n_outputs = _whole(owner, "n_trees_per_iteration_")
    _array(owner, "estimators_", "O", None, n_outputs)
    for member in owner.estimators_.ravel():
        _require(member.tree_.value.shape[1:] == (1, 1), owner, "a tree with several outputs")
    check_estimator(vars(owner).get("init_"))
    start = owner._raw_predict_init(np.zeros((1, owner.n_features_in_), dtype=np.float32))
    _require(start.shape == (1, n_outputs) and start.dtype == np.float64, owner, "init_")


def _check_histograms(owner: Any) -> None:
    width = _whole(owner, "n_features_in_")
    _require(vars(owner).get("_preprocessor") is None, owner, "categories cannot be checked")
    for predictor in (one for some in owner._predictors for one in some):
        _check_histogram_tree(predictor.nodes, width, owner)


def _check_histogram_tree(nodes: NDArray[Any], width: int, owner: Any) -> None:
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    _require(type(nodes) is np.ndarray and nodes.dtype == PREDICTOR_RECORD_DTYPE and nodes.ndim == 1, owner, "nodes")
    inner = nodes["is_leaf"] == 0
    left, right = (np.where(inner, nodes[side].astype(np.int64), -1) for side in ("left", "right"))
    _depth(left, right, owner)
    features = nodes["feature_idx"][inner]
    _require(((features >= 0) & (features < width)).all(), owner, "feature_idx")
    _require(not nodes["is_categorical"].any(), owner, "categories cannot be checked")
    _require(np.isfinite(nodes["value"]).all(), owner, "value")


def _check_support_vectors(owner: Any) -> None:
    if "support_vectors_" not in vars(owner):
        return
    width, classifies = _whole(owner, "n_features_in_"), "classes_" in vars(owner)
    _require(vars(owner).get("_sparse") is False and isinstance(owner.kernel, str), owner, "kernel")
    _require(owner.kernel != "precomputed", owner, "kernel")
    counts = _array(owner, "_n_support", "i", None)
    vectors = _array(owner, "support_vectors_", "f", None, width)
    n_vectors, n_classes = len(vectors), len(owner.classes_) if classifies else 2
    n_pairs = n_classes * (n_classes - 1) // 2
    _array(owner, "support_", "i", n_vectors)
    _array(owner, "_dual_coef_", "f", n_classes - 1, n_vectors)
    _array(owner, "_intercept_", "f", n_pairs)
    if classifies:
        _require(len(counts) == n_classes and (counts >= 0).all() and counts.sum() == n_vectors, owner, "_n_support")
    for name in ("_probA", "_probB"):
        _require(len(_array(owner, name, "f", None)) in (0, n_pairs), owner, name)
    _require(len(owner._probA) == len(owner._probB), owner, "_probB")


def _check_neighbors(owner: Any) -> set[str]:
    """Check the clips and labels; a search tree is made anew from the clips, so nothing in the old one is followed."""
    if "_fit_X" not in vars(owner):
        return set()
    clips = _array(owner, "_fit_X", "f", None, _whole(owner, "n_features_in_"))
    _require(_whole(owner, "n_samples_fit_") == len(clips), owner, "n_samples_fit_")
    if "_y" in vars(owner):
        labels = _array(owner, "_y", "i", len(clips))
        _require(labels.size and labels.min() >= 0 and labels.max() < len(owner.classes_), owner, "_y")
    method, metric = vars(owner).get("_fit_method"), vars(owner).get("effective_metric_")
    _require(method in ("brute", "kd_tree", "ball_tree") and isinstance(metric, str), owner, "_fit_method or metric")
    owner._tree = None
    if method != "brute":
        from sklearn.neighbors import BallTree, KDTree

        make = KDTree if method == "kd_tree" else BallTree
        owner._tree = make(clips, owner.leaf_size, metric=metric, **owner.effective_metric_params_)
    return {"_tree"}


_CHECKS: dict[str, Callable[[Any], set[str] | None]] = {
    "BaseDecisionTree": _check_tree_owner,
    "BaseForest": _check_trees_of,
    "IsolationForest": _check_trees_of,
    "BaseGradientBoosting": _check_boosting,
    "BaseHistGradientBoosting": _check_histograms,
    "BaseLibSVM": _check_support_vectors,
    "NeighborsBase": _check_neighbors,
}
"""By the name of a class of scikit-learn among an object's ancestors."""
