"""Every kind of head as nodes of ONNX, which `embedx.model.export.HeadGraph` collects."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedx.errors import ModelFormatError
from embedx.heads.boosters import Tree, read_trees
from embedx.heads.serialization import dump_head, split_boosters

__all__ = ["WRITERS", "write_mean"]

_METRICS = ("cosine", "euclidean", "l2", "sqeuclidean")


def _write_selector(graph: Any, name: str, step: Any) -> None:
    if step.layer == "all" or step.n_layers == 1:
        return
    first, last = step.span()
    write_mean(graph, step.n_layers, first, last)


def write_mean(graph: Any, n_layers: int, first: int, last: int) -> None:
    """Average some of the layers that lie side by side."""
    graph.width //= n_layers
    bounds = [np.array([value], dtype=np.int64) for value in (first * graph.width, (last + 1) * graph.width, 1)]
    graph.step("Slice", *bounds)
    if last > first:
        graph.step("Reshape", np.array([-1, last - first + 1, graph.width], dtype=np.int64))
        if graph.opset < 18:
            graph.step("ReduceMean", axes=[1], keepdims=0)
        else:
            graph.step("ReduceMean", np.array([1], dtype=np.int64), keepdims=0)


def _write_scaler(graph: Any, name: str, step: Any) -> None:
    graph.step("Sub", step.mean_.astype(np.float32))
    graph.step("Div", step.scale_.astype(np.float32))


def _write_logistic(graph: Any, name: str, step: Any) -> None:
    graph.step("Gemm", step.coef_.astype(np.float32), step.intercept_.astype(np.float32), transB=1)
    _write_link(graph, len(step.classes_))


def _write_link(graph: Any, n_classes: int) -> None:
    """Turn scores into probabilities; two classes have one score."""
    if n_classes > 2:
        graph.step("Softmax", axis=1)
        return
    graph.step("Sigmoid")
    other = graph.add("Sub", graph.constant(np.float32(1.0)), graph.now)
    graph.now = graph.add("Concat", other, graph.now, axis=1)


def _write_majority(graph: Any, name: str, step: Any) -> None:
    graph.step("ReduceSum", np.array([1], dtype=np.int64), keepdims=1)
    graph.step("Mul", np.float32(0.0))
    graph.step("Add", np.asarray(step.class_prior_, dtype=np.float32)[None])


def _write_network(graph: Any, name: str, step: Any) -> None:
    weights = step.weights_
    if "layers" in weights:
        n_layers = len(weights["layers"])
        graph.width //= n_layers
        graph.step("Reshape", np.array([-1, n_layers, graph.width], dtype=np.int64))
        graph.step("Mul", weights["layers"][:, None])
        graph.step("ReduceSum", np.array([1], dtype=np.int64), keepdims=0)
    for i in range(step.n_hidden):
        graph.step("Gemm", weights[f"weight_{i}"], weights[f"bias_{i}"], transB=1)
        if f"gain_{i}" in weights:
            graph.step("LayerNormalization", weights[f"gain_{i}"], weights[f"shift_{i}"], axis=1, epsilon=1e-5)
        graph.step("Relu")
    graph.step("Gemm", weights["weight_out"], weights["bias_out"], transB=1)
    if graph.model.label_separator is None:
        graph.step("Softmax", axis=1)
    else:
        graph.step("Sigmoid")


def _write_booster(graph: Any, name: str, step: Any) -> None:
    state = dump_head(step)
    assert state is not None
    n_classes = len(step.classes_)
    trees = read_trees(state.texts["head"], n_classes=n_classes, n_features=graph.width)
    n_outputs = 1 if n_classes == 2 else n_classes
    attributes = _tree_attributes(trees, [number % n_outputs for number in range(len(trees))], n_outputs)
    graph.step("TreeEnsembleRegressor", domain="ai.onnx.ml", **attributes)
    _write_link(graph, n_classes)


def _write_one_vs_rest(graph: Any, name: str, step: Any) -> None:
    """Write the classifiers of all classes as one node with a column for each."""
    kind = type(step.estimator).__name__
    if kind == "DummyClassifier":
        graph.step("ReduceSum", np.array([1], dtype=np.int64), keepdims=1)
        graph.step("Mul", np.float32(0.0))
        graph.step("Add", np.array([[one.class_prior_[1] for one in step.estimators_]], dtype=np.float32))
        return
    if kind == "LogisticRegression":
        coef, intercept = (np.concatenate([getattr(o, n) for o in step.estimators_]) for n in ("coef_", "intercept_"))
        graph.step("Gemm", coef.astype(np.float32), intercept.astype(np.float32), transB=1)
    else:
        state = dump_head(step)
        assert state is not None
        texts = split_boosters(state.texts["head"])
        parts = [read_trees(text, n_classes=2, n_features=graph.width) for text in texts]
        outputs = [j for j, trees in enumerate(parts) for _ in trees]
        attributes = _tree_attributes([tree for trees in parts for tree in trees], outputs, len(parts))
        graph.step("TreeEnsembleRegressor", domain="ai.onnx.ml", **attributes)
    graph.step("Sigmoid")


def _write_neighbors(graph: Any, name: str, step: Any) -> None:
    """Write distances in double precision, the nearest clips and their votes."""
    metric = str(step.effective_metric_)
    if metric not in _METRICS:
        raise ModelFormatError(f"neighbours by {metric!r} cannot be written as ONNX: {' and '.join(_METRICS[:2])} can")
    clips = np.asarray(step._fit_X, dtype=np.float64)
    graph.step("Cast", to=graph.onnx.TensorProto.DOUBLE)
    if metric == "cosine":
        _write_cosine(graph, clips)
    else:
        _write_squares(graph, clips, is_root=metric != "sqeuclidean")
    k = np.array([step.n_neighbors_], dtype=np.int64)
    nearest, where = graph.add_several("TopK", graph.now, graph.constant(k), largest=0, axis=1)
    votes = graph.add("Gather", graph.constant(np.eye(len(step.classes_))[step._y]), where)  # (n, k, classes)
    weights = nearest
    if step.weights == "distance":
        near = graph.add("Max", nearest, graph.constant(np.float64(1e-12)))
        weights = graph.add("Reciprocal", near)
    else:
        weights = graph.add("Add", graph.add("Mul", nearest, graph.constant(0.0)), graph.constant(1.0))
    last, columns = (graph.constant(np.array([axis], dtype=np.int64)) for axis in (2, 1))
    weighted = graph.add("Mul", votes, graph.add("Unsqueeze", weights, last))
    total = graph.add("ReduceSum", weights, columns, keepdims=1)
    graph.now = graph.add("Div", graph.add("ReduceSum", weighted, columns, keepdims=0), total)
    graph.step("Cast", to=graph.onnx.TensorProto.FLOAT)


def _write_cosine(graph: Any, clips: np.ndarray) -> None:
    clips = clips / np.maximum(np.linalg.norm(clips, axis=1, keepdims=True), 1e-150)
    columns = graph.constant(np.array([1], dtype=np.int64))
    length = graph.add("Sqrt", graph.add("ReduceSum", graph.add("Mul", graph.now, graph.now), columns, keepdims=1))
    unit = graph.add("Div", graph.now, graph.add("Max", length, graph.constant(np.float64(1e-150))))
    likeness = graph.add("MatMul", unit, graph.constant(clips.T))
    graph.now = graph.add("Max", graph.add("Sub", graph.constant(1.0), likeness), graph.constant(0.0))


def _write_squares(graph: Any, clips: np.ndarray, *, is_root: bool) -> None:
    columns = graph.constant(np.array([1], dtype=np.int64))
    own = graph.add("ReduceSum", graph.add("Mul", graph.now, graph.now), columns, keepdims=1)
    both = graph.add("MatMul", graph.now, graph.constant(-2 * clips.T))
    square = graph.add("Add", graph.add("Add", own, both), graph.constant((clips**2).sum(axis=1)[None]))
    graph.now = graph.add("Max", square, graph.constant(0.0))
    if is_root:
        graph.step("Sqrt")


def _tree_attributes(trees: list[Tree], outputs: list[int], n_outputs: int) -> dict[str, Any]:
    """Lay trees out as ONNX does, each with its output; node i of a tree is split i, then its leaves follow."""
    nodes: dict[str, list[Any]] = {
        key: [] for key in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
    }
    targets: dict[str, list[Any]] = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for number, tree in enumerate(trees):
        n_splits = len(tree["leaf_value"]) - 1
        for i in range(n_splits):
            left, right = (n_splits - c - 1 if c < 0 else c for c in (tree["left_child"][i], tree["right_child"][i]))
            # x <= t for float32 x is x <= the largest float32 that is not above t.
            row = (number, i, tree["split_feature"][i], "BRANCH_LEQ", _floor32(tree["threshold"][i]), left, right)
            _append(nodes, row)
        for leaf, value in enumerate(tree["leaf_value"]):
            _append(nodes, (number, n_splits + leaf, 0, "LEAF", 0.0, 0, 0))
            _append(targets, (number, n_splits + leaf, outputs[number], value))
    laid_out = {f"nodes_{key}": values for key, values in nodes.items()}
    laid_out |= {f"target_{key}": values for key, values in targets.items()}
    return {**laid_out, "n_targets": n_outputs, "aggregate_function": "SUM", "post_transform": "NONE"}


def _append(columns: dict[str, list[Any]], row: tuple[Any, ...]) -> None:
    for column, value in zip(columns.values(), row, strict=True):
        column.append(value)


def _floor32(value: float) -> float:
    near = np.float32(value)
    return float(near if float(near) <= value else np.nextafter(near, np.float32(-np.inf)))


WRITERS = {
    "LayerSelector": _write_selector,
    "StandardScaler": _write_scaler,
    "LogisticRegression": _write_logistic,
    "DummyClassifier": _write_majority,
    "MLPClassifier": _write_network,
    "MultiLabelMLP": _write_network,
    "OneVsRest": _write_one_vs_rest,
    "LGBMClassifier": _write_booster,
    "BoosterClassifier": _write_booster,
    "NeighborsClassifier": _write_neighbors,
}
