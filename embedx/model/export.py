"""A model's head as ONNX, embeddings in, probabilities out. The only module that imports onnx."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.errors import MissingExtraError, ModelFormatError
from embedx.files import replace_file, require_replaceable
from embedx.heads.boosters import Tree, read_trees
from embedx.heads.novelty import layer_span, novelty_inputs
from embedx.heads.serialization import dump_head
from embedx.model.model import Model
from embedx.store.rows import CONTROL_DIM

__all__ = ["TOLERANCE", "export_onnx"]

TOLERANCE = 1e-4
"""Largest difference of a probability from embedx's own that an exported head may show."""

LIMITS_AT = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of known clips called unknown, for which an export says the limit of novelty."""

_OPSET, _ML_OPSET = 17, 3


def export_onnx(model: Model, place: str | os.PathLike[str]) -> float | None:
    """Write the head of a model as one ONNX file.

    The graph takes ``embeddings``, float32 (n, n_features), pooled as the model's recipe says (the recipe lies in the
    file's metadata), and gives ``probabilities``, float32 (n, n_classes), and ``label``, text (n,). Of a model that
    tells unknown sounds it also gives ``novelty``, float32 (n,), and takes ``control`` for it, the log-mel statistics,
    float32 (n, 128): an input that may be left out, novelty is then NaN. The metadata's ``novelty_limits`` holds the
    novelty above which a clip is unknown, by the share of known clips that are called so.

    Parameters
    ----------
    model : Model
        With a head of the catalogue: majority, logmel, logreg, lgbm or mlp; not calibrated by isotonic curves.
    place : path-like
        File to write; an older export is replaced whole or not at all, anything else is refused.

    Returns
    -------
    float or None
        Largest difference of a probability on 64 random rows, or of novelty (above 1 as a share of it); None when
        onnxruntime is not installed.

    Raises
    ------
    ModelFormatError
        The head cannot be written as ONNX, the file cannot be written, or its answers differ by more than `TOLERANCE`.
    MissingExtraError
        The package onnx is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from embedx import fit_model
    >>> from embedx.testing import make_dataset
    >>> model = fit_model(make_dataset(), "logreg")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = export_onnx(model, f"{folder}/head.onnx")  # needs embedx[onnx]
    """
    _require_place(place)
    try:
        import onnx
    except ImportError:
        raise MissingExtraError.for_extra("onnx", "onnx", "embedx export --onnx") from None
    proto = _Graph(onnx, model).finished()
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    difference = _difference(model, content)
    if difference is not None and not difference <= TOLERANCE:
        raise ModelFormatError(f"the ONNX graph differs from the model by {difference:.1e}: please report this head")
    try:
        with replace_file(place, "wb") as file:
            file.write(content)
    except OSError as error:
        raise ModelFormatError(f"{place} cannot be written: {error.strerror or error}") from error
    return difference


def _require_place(place: str | os.PathLike[str]) -> None:
    try:
        require_replaceable(place, b"\x12\x06embedx")  # the producer, as protobuf writes it
    except OSError as error:
        raise ModelFormatError(f"{place} cannot be written: {error.strerror or error}") from error


def _difference(model: Model, content: bytes) -> float | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    X = np.random.default_rng(0).normal(size=(64, model.n_features)).astype(np.float16).astype(np.float32)
    (found,) = session.run(["probabilities"], {"embeddings": X})
    difference = float(np.abs(found - model.probabilities(X)).max())
    return difference if model.novelty is None else max(difference, _novelty_difference(model, session, X))


def _novelty_difference(model: Model, session: Any, X: NDArray[np.float32]) -> float:
    assert model.novelty is not None
    control = np.random.default_rng(1).normal(size=(len(X), CONTROL_DIM)).astype(np.float32)
    on_embeddings = model.input_kind == "embeddings"
    given = {"embeddings": X, "control": control} if on_embeddings else {"embeddings": X}
    (found,) = session.run(["novelty"], given)
    n_layers = len(model.recipe.layers) if on_embeddings else 0
    values = novelty_inputs(model.estimator, X, control if on_embeddings else X, n_layers=n_layers)
    expected = model.novelty.score(values)
    return float((np.abs(found - expected) / np.maximum(1.0, expected)).max())


class _Graph:
    """Nodes in the order in which they run; ``now`` names the tensor that the next one takes."""

    def __init__(self, onnx: Any, model: Model) -> None:
        self.onnx, self.model = onnx, model
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.now, self.width = "embeddings", model.n_features

    def finished(self) -> Any:
        for name, step in getattr(self.model.estimator, "steps", [("head", self.model.estimator)]):
            writer = _WRITERS.get(type(step).__name__)
            if writer is None:
                known = "majority, logmel, logreg, lgbm and mlp"
                raise ModelFormatError(f"head {self.model.head!r} cannot be written as ONNX: {known} can")
            writer(self, name, step)
        self._calibrated()
        self._named()
        self._unlike()
        return self._proto()

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        output = f"{kind.lower()}_{len(self.nodes)}"
        node = self.onnx.helper.make_node(kind, list(inputs), [output], domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, values: Any) -> str:
        name = f"constant_{len(self.constants)}"
        array = np.asarray(values)
        if array.dtype.kind == "U":
            array = array.astype(object)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def step(self, kind: str, *others: Any, **attributes: Any) -> None:
        self.now = self.add(kind, self.now, *(self.constant(other) for other in others), **attributes)

    def _calibrated(self) -> None:
        calibration = self.model.calibration
        if calibration is None:
            return
        if calibration.method != "temperature":
            raise ModelFormatError("isotonic calibration cannot be written as ONNX: fit with --calibrate temperature")
        self.step("Clip", np.float32(1e-7), np.float32(1.0))
        self.step("Log")
        self.step("Div", np.float32(calibration.temperature))
        self.step("Softmax", axis=1)

    def _named(self) -> None:
        self.nodes.append(self.onnx.helper.make_node("Identity", [self.now], ["probabilities"]))
        best = self.add("ArgMax", "probabilities", axis=1, keepdims=0)
        names = self.constant(np.array(self.model.classes))
        self.nodes.append(self.onnx.helper.make_node("Gather", [names, best], ["label"]))

    def _unlike(self) -> None:
        """Add the distance to the nearest class, in columns where it is a Euclidean one."""
        if self.model.novelty is None:
            return
        learned, self.now, self.width = self.model.novelty.distances, "embeddings", self.model.n_features
        if self.model.input_kind == "embeddings":
            n_layers = len(self.model.recipe.layers)
            first, last = layer_span(self.model.estimator, n_layers)
            _write_mean(self, n_layers, first, last)
            self.now = self.add("Concat", self.now, self._control(), axis=1)
        self.step("Sub", learned.mean)
        self.step("MatMul", learned.whitening)
        squares = self.add("ReduceSum", self.add("Mul", self.now, self.now), self.constant(np.array([1])), keepdims=0)
        self.step("MatMul", -2 * learned.centres.T)
        self.step("Add", (learned.centres.astype(np.float64) ** 2).sum(axis=1).astype(np.float32))
        self.step("ReduceMin", axes=[1], keepdims=0)
        self.now = self.add("Add", self.now, squares)
        self.step("Relu")
        self.step("Sqrt")
        unit = self.constant(np.float32(self.model.novelty.unit))
        self.nodes.append(self.onnx.helper.make_node("Div", [self.now, unit], ["novelty"]))

    def _control(self) -> str:
        """Return the log-mel statistics, as many rows as embeddings: NaN unless they are given."""
        unknown = np.full((1, CONTROL_DIM), np.nan, dtype=np.float32)
        self.constants.append(self.onnx.numpy_helper.from_array(unknown, "control"))
        rows = self.add("Shape", "embeddings", start=0, end=1)
        shape = self.add("Concat", rows, self.constant(np.array([CONTROL_DIM])), axis=0)
        return self.add("Expand", "control", shape)

    def _novelty_limits(self) -> dict[str, float]:
        novelty = self.model.novelty
        if novelty is None:
            return {}
        return {f"{rate:g}": novelty.limit(rate) for rate in LIMITS_AT if rate * (novelty.n_held_out + 1) >= 1}

    def _proto(self) -> Any:
        helper, types = self.onnx.helper, self.onnx.TensorProto
        rows = helper.make_tensor_value_info("embeddings", types.FLOAT, ["n", self.model.n_features])
        proba = helper.make_tensor_value_info("probabilities", types.FLOAT, ["n", len(self.model.classes)])
        label = helper.make_tensor_value_info("label", types.STRING, ["n"])
        inputs, outputs = [rows], [proba, label]
        if self.model.novelty is not None:
            outputs.append(helper.make_tensor_value_info("novelty", types.FLOAT, ["n"]))
            if self.model.input_kind == "embeddings":
                inputs.append(helper.make_tensor_value_info("control", types.FLOAT, ["m", CONTROL_DIM]))
        graph = helper.make_graph(self.nodes, "embedx_head", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
        proto = helper.make_model(graph, opset_imports=opsets, producer_name="embedx", ir_version=8)
        facts = {"recipe": dataclasses.asdict(self.model.recipe), "classes": list(self.model.classes)}
        facts |= {"novelty_limits": limits} if (limits := self._novelty_limits()) else {}
        helper.set_model_props(proto, {key: json.dumps(value) for key, value in facts.items()})
        return proto


def _write_selector(graph: _Graph, name: str, step: Any) -> None:
    if step.layer == "all" or step.n_layers == 1:
        return
    first, last = step.span()
    _write_mean(graph, step.n_layers, first, last)


def _write_mean(graph: _Graph, n_layers: int, first: int, last: int) -> None:
    """Average some of the layers that lie side by side."""
    graph.width //= n_layers
    bounds = [np.array([value], dtype=np.int64) for value in (first * graph.width, (last + 1) * graph.width, 1)]
    graph.step("Slice", *bounds)
    if last > first:
        graph.step("Reshape", np.array([-1, last - first + 1, graph.width], dtype=np.int64))
        graph.step("ReduceMean", axes=[1], keepdims=0)


def _write_scaler(graph: _Graph, name: str, step: Any) -> None:
    graph.step("Sub", step.mean_.astype(np.float32))
    graph.step("Div", step.scale_.astype(np.float32))


def _write_logistic(graph: _Graph, name: str, step: Any) -> None:
    graph.step("Gemm", step.coef_.astype(np.float32), step.intercept_.astype(np.float32), transB=1)
    _write_link(graph, len(step.classes_))


def _write_link(graph: _Graph, n_classes: int) -> None:
    """Turn scores into probabilities; two classes have one score."""
    if n_classes > 2:
        graph.step("Softmax", axis=1)
        return
    graph.step("Sigmoid")
    other = graph.add("Sub", graph.constant(np.float32(1.0)), graph.now)
    graph.now = graph.add("Concat", other, graph.now, axis=1)


def _write_majority(graph: _Graph, name: str, step: Any) -> None:
    graph.step("ReduceSum", np.array([1], dtype=np.int64), keepdims=1)
    graph.step("Mul", np.float32(0.0))
    graph.step("Add", np.asarray(step.class_prior_, dtype=np.float32)[None])


def _write_network(graph: _Graph, name: str, step: Any) -> None:
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
    graph.step("Softmax", axis=1)


def _write_booster(graph: _Graph, name: str, step: Any) -> None:
    state = dump_head(step)
    assert state is not None
    n_classes = len(step.classes_)
    trees = read_trees(state.texts["head"], n_classes=n_classes, n_features=graph.width)
    attributes = _tree_attributes(trees, 1 if n_classes == 2 else n_classes)
    graph.step("TreeEnsembleRegressor", domain="ai.onnx.ml", **attributes)
    _write_link(graph, n_classes)


def _tree_attributes(trees: list[Tree], n_outputs: int) -> dict[str, Any]:
    """Lay trees out as ONNX does; node i of a tree is split i, then its leaves follow."""
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
            _append(targets, (number, n_splits + leaf, number % n_outputs, value))
    laid_out = {f"nodes_{key}": values for key, values in nodes.items()}
    laid_out |= {f"target_{key}": values for key, values in targets.items()}
    return {**laid_out, "n_targets": n_outputs, "aggregate_function": "SUM", "post_transform": "NONE"}


def _append(columns: dict[str, list[Any]], row: tuple[Any, ...]) -> None:
    for column, value in zip(columns.values(), row, strict=True):
        column.append(value)


def _floor32(value: float) -> float:
    near = np.float32(value)
    return float(near if float(near) <= value else np.nextafter(near, np.float32(-np.inf)))


_WRITERS = {
    "LayerSelector": _write_selector,
    "StandardScaler": _write_scaler,
    "LogisticRegression": _write_logistic,
    "DummyClassifier": _write_majority,
    "MLPClassifier": _write_network,
    "LGBMClassifier": _write_booster,
    "BoosterClassifier": _write_booster,
}
