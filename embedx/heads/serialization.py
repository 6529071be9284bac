"""A fitted head as plain arrays and text, and back: what saving without pickle rests on."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from embedx.errors import EmbedxWarning

__all__ = ["HeadState", "dump_head", "restore_head", "split_boosters"]

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class HeadState:
    """What a fitted head has learned.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Named ``STEP.NAME``.
    texts : dict of str to str
        LightGBM's boosters, named by their step.
    """

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def dump_head(head: Any) -> HeadState | None:
    """Return what a fitted head has learned, or None when a step is of an unknown class.

    Parameters
    ----------
    head : estimator
        A fitted head of the catalogue.
    """
    state = HeadState()
    for name, step in _steps(head):
        keeper = _KEEPERS.get(type(step).__name__)
        if keeper is None or type(step).__module__.split(".")[0] not in ("sklearn", "embedx", "lightgbm"):
            return None
        keeper[0](step, name, state)
    return state


def restore_head(head: Any, state: HeadState, *, classes: NDArray[Any], n_features: int) -> Any:
    """Give an unfitted head what `dump_head` returned.

    Parameters
    ----------
    head : estimator
        What `make_head` returned for the same name and parameters.
    state : HeadState
        Untrusted: shapes, types and finiteness are checked.
    classes : ndarray of shape (n_classes,)
        Labels.
    n_features : int
        Columns of X.

    Returns
    -------
    estimator
        Fitted.

    Raises
    ------
    ValueError
        The state does not fit the head, in one line.
    """
    for name, array in state.arrays.items():
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ValueError(f"array {name!r} holds values that are no finite numbers")
    row = np.zeros((1, n_features), dtype=np.float32)
    steps = _steps(head)
    restored = []
    for name, step in steps:
        known = _Known(name, state, classes, row.shape[1])
        restored.append((name, _KEEPERS[type(step).__name__][1](step, known)))
        if name != steps[-1][0]:
            row = restored[-1][1].transform(row)
    proba = restored[-1][1].predict_proba(row)
    if proba.shape != (1, len(classes)) or not np.isfinite(proba).all():
        raise ValueError(f"it predicts {proba.shape[1]} classes, the model names {len(classes)}")
    if hasattr(head, "steps"):
        head.steps = restored
        return head
    return restored[0][1]


def _steps(head: Any) -> list[tuple[str, Any]]:
    return list(head.steps) if hasattr(head, "steps") else [("head", head)]


@dataclass(frozen=True, slots=True)
class _Known:
    """What a step is restored from."""

    name: str
    state: HeadState
    classes: NDArray[Any]
    n_features: int

    def array(self, name: str, *shape: int | None) -> NDArray[Any]:
        key = f"{self.name}.{name}"
        found = self.state.arrays.get(key)
        if found is None:
            raise ValueError(f"array {key!r} is missing")
        fits = found.ndim == len(shape) and all(b in (None, a) for a, b in zip(found.shape, shape, strict=True))
        if not fits:
            wanted = ", ".join("n" if size is None else str(size) for size in shape)
            raise ValueError(f"array {key!r} has shape {found.shape}, not ({wanted})")
        return found


def _dump_nothing(step: Any, name: str, state: HeadState) -> None:
    pass


def _restore_selector(step: Any, known: _Known) -> Any:
    return step.fit(np.zeros((1, known.n_features), dtype=np.float32))


def _dump_scaler(step: Any, name: str, state: HeadState) -> None:
    state.arrays[f"{name}.mean"], state.arrays[f"{name}.scale"] = step.mean_, step.scale_


def _restore_scaler(step: Any, known: _Known) -> Any:
    step.mean_, step.scale_ = known.array("mean", known.n_features), known.array("scale", known.n_features)
    if not (step.scale_ > 0).all():
        raise ValueError(f"array {known.name + '.scale'!r} holds values that are not above 0")
    step.var_, step.n_features_in_, step.n_samples_seen_ = step.scale_**2, known.n_features, 1
    return step


def _dump_logistic(step: Any, name: str, state: HeadState) -> None:
    state.arrays[f"{name}.coef"], state.arrays[f"{name}.intercept"] = step.coef_, step.intercept_


def _restore_logistic(step: Any, known: _Known) -> Any:
    n_rows = 1 if len(known.classes) == 2 else len(known.classes)
    step.coef_, step.intercept_ = known.array("coef", n_rows, known.n_features), known.array("intercept", n_rows)
    step.classes_, step.n_features_in_ = known.classes, known.n_features
    return step


def _dump_neighbours(step: Any, name: str, state: HeadState) -> None:
    state.arrays[f"{name}.clips"], state.arrays[f"{name}.labels"] = step._fit_X, step._y.astype(np.int64)


def _restore_neighbours(step: Any, known: _Known) -> Any:
    clips, labels = known.array("clips", None, known.n_features), known.array("labels", None)
    if (
        labels.dtype.kind not in "iu"
        or len(clips) != len(labels)
        or not np.array_equal(np.unique(labels), np.arange(len(known.classes)))
    ):
        raise ValueError(f"array {known.name + '.labels'!r} does not name every class for every clip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmbedxWarning)  # it was said when the head was trained
        return step.fit(clips, known.classes[labels])


def _dump_majority(step: Any, name: str, state: HeadState) -> None:
    state.arrays[f"{name}.prior"] = np.asarray(step.class_prior_)


def _restore_majority(step: Any, known: _Known) -> Any:
    step.class_prior_, step.classes_ = known.array("prior", len(known.classes)), known.classes
    step.n_classes_, step.n_outputs_, step.sparse_output_, step._strategy = len(known.classes), 1, False, step.strategy
    step.n_features_in_ = known.n_features
    return step


def _dump_network(step: Any, name: str, state: HeadState) -> None:
    state.arrays.update({f"{name}.{key}": value for key, value in step.weights_.items()})


def _restore_network(step: Any, known: _Known) -> Any:
    width, weights = known.n_features // step.n_layers, {}
    if step.n_layers > 1:
        weights["layers"] = known.array("layers", step.n_layers)
    for i in range(step.n_hidden):
        names = ("bias", "gain", "shift") if step.norm == "layer" else ("bias",)
        weights[f"weight_{i}"] = known.array(f"weight_{i}", step.width, width)
        weights.update({f"{name}_{i}": known.array(f"{name}_{i}", step.width) for name in names})
        width = step.width
    weights["weight_out"] = known.array("weight_out", len(known.classes), width)
    weights["bias_out"] = known.array("bias_out", len(known.classes))
    step.weights_, step.classes_, step.n_features_in_ = weights, known.classes, known.n_features
    return step


def _dump_booster(step: Any, name: str, state: HeadState) -> None:
    booster = getattr(step, "booster_", None) or step.booster
    state.texts[name] = booster.model_to_string()


def _restore_booster(step: Any, known: _Known) -> Any:
    from embedx.heads.boosters import BoosterClassifier, read_booster

    if known.name not in known.state.texts:
        raise ValueError("the booster is missing")
    text = known.state.texts[known.name]
    booster = read_booster(text, n_classes=len(known.classes), n_features=known.n_features)
    return BoosterClassifier(booster, known.classes)


def _dump_one_vs_rest(step: Any, name: str, state: HeadState) -> None:
    """Keep the classifiers of all classes side by side: arrays gain a first axis, boosters follow each other."""
    if any(one is None for one in step.estimators_):
        raise ValueError("a class that every clip or none has cannot be kept")
    parts = [HeadState() for _ in step.estimators_]
    for one, part in zip(step.estimators_, parts, strict=True):
        _KEEPERS[type(one).__name__][0](one, name, part)
    state.arrays.update({key: np.stack([part.arrays[key] for part in parts]) for key in parts[0].arrays})
    state.texts.update({key: "".join(part.texts[key].rstrip("\n") + "\n" for part in parts) for key in parts[0].texts})


def _restore_one_vs_rest(step: Any, known: _Known) -> Any:
    k, own = len(known.classes), f"{known.name}."
    arrays = {key: array for key, array in known.state.arrays.items() if key.startswith(own)}
    if any(not array.ndim or len(array) != k for array in arrays.values()):
        raise ValueError(f"the arrays of {known.name!r} are not those of {k} classes")
    texts = {key: split_boosters(text) for key, text in known.state.texts.items()}
    if any(len(parts) != k for parts in texts.values()):
        raise ValueError(f"there are not the boosters of {k} classes")
    restore = _KEEPERS[type(step.estimator).__name__][1]
    step.estimators_ = []
    for j in range(k):
        part = HeadState({key: a[j] for key, a in arrays.items()}, {key: t[j] for key, t in texts.items()})
        step.estimators_.append(restore(clone(step.estimator), _Known(known.name, part, _NO_YES, known.n_features)))
    step.constants_, step.n_features_in_ = np.zeros(k), known.n_features
    return step


_NO_YES = np.array([0, 1])


def split_boosters(text: str) -> list[str]:
    """Return the boosters of a text that holds several, one after another."""
    return [part for part in re.split(r"(?m)^(?=tree$)", text) if part.strip()]


_KEEPERS: dict[str, tuple[Callable[..., None], Callable[..., Any]]] = {
    "LayerSelector": (_dump_nothing, _restore_selector),
    "StandardScaler": (_dump_scaler, _restore_scaler),
    "LogisticRegression": (_dump_logistic, _restore_logistic),
    "NeighborsClassifier": (_dump_neighbours, _restore_neighbours),
    "DummyClassifier": (_dump_majority, _restore_majority),
    "MLPClassifier": (_dump_network, _restore_network),
    "MultiLabelMLP": (_dump_network, _restore_network),
    "OneVsRest": (_dump_one_vs_rest, _restore_one_vs_rest),
    "LGBMClassifier": (_dump_booster, _restore_booster),
    "BoosterClassifier": (_dump_booster, _restore_booster),
}
"""How each class of step is kept and restored. A catalogue head of other classes adds its pair here."""
