"""A model's head as ONNX, embeddings in, probabilities out."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.errors import MissingExtraError, ModelFormatError
from embedx.files import replace_file, require_replaceable
from embedx.heads.novelty import layer_span, novelty_inputs
from embedx.model.export_heads import WRITERS, write_mean
from embedx.model.model import Model
from embedx.store.rows import CONTROL_DIM

__all__ = ["TOLERANCE", "HeadGraph", "export_onnx", "import_onnx", "require_place", "write_graph"]

TOLERANCE = 1e-4
"""Largest difference of a probability from embedx's own that an exported head may show."""

LIMITS_AT = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of known clips called unknown, for which an export says the limit of novelty."""

_OPSET, _ML_OPSET = 17, 3


def export_onnx(model: Model, place: str | os.PathLike[str]) -> float | None:
    """Write the head of a model as one ONNX file.

    The graph takes ``embeddings``, float32 (n, n_features), pooled as the model's recipe says (the recipe lies in the
    file's metadata), and gives ``probabilities``, float32 (n, n_classes), and ``label``, text (n,). Where a clip may
    have several labels, ``labels``, bool (n, n_classes), says in its place which classes it is given. Of a model that
    tells unknown sounds it also gives ``novelty``, float32 (n,), and takes ``control`` for it, the log-mel statistics,
    float32 (n, 128): an input that may be left out, novelty is then NaN. The metadata's ``novelty_limits`` holds the
    novelty above which a clip is unknown, by the share of known clips that are called so.

    Parameters
    ----------
    model : Model
        With a head of the catalogue: majority, logmel, logreg, lgbm, mlp or knn (by cosine or Euclidean distance); not
        calibrated by isotonic curves.
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
    require_place(place)
    onnx = import_onnx()
    proto = HeadGraph(onnx, model).finished()
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    difference = _difference(model, content)
    write_graph(place, content, difference)
    return difference


def import_onnx() -> Any:
    """Return the package onnx, or say how it is installed."""
    try:
        import onnx
    except ImportError:
        raise MissingExtraError.for_extra("onnx", "onnx", "embedx export --onnx") from None
    return onnx


def write_graph(place: str | os.PathLike[str], content: bytes, difference: float | None) -> None:
    """Write a graph whose answers are those of the model; refuse any other."""
    if difference is not None and not difference <= TOLERANCE:
        raise ModelFormatError(f"the ONNX graph differs from the model by {difference:.1e}: please report this head")
    try:
        with replace_file(place, "wb") as file:
            file.write(content)
    except OSError as error:
        raise ModelFormatError(f"{place} cannot be written: {error.strerror or error}") from error


def require_place(place: str | os.PathLike[str]) -> None:
    """Refuse a place where no graph can be written, or where another kind of file would be lost."""
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


class HeadGraph:
    """Nodes in the order in which they run; ``now`` names the tensor that the next one takes.

    Parameters
    ----------
    onnx : module
        What `import_onnx` returns.
    model : Model
        Whose head is written.
    opset : int
        Of the graph that the nodes go into.
    """

    def __init__(self, onnx: Any, model: Model, *, opset: int = _OPSET) -> None:
        self.onnx, self.model, self.opset = onnx, model, opset
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.now, self.width = "embeddings", model.n_features

    def finished(self) -> Any:
        """Return the head as a graph of its own."""
        self.add_head()
        self.add_answers()
        self._unlike()
        return self._proto()

    def add_head(self) -> None:
        """Add the steps of the head, from embeddings to its own probabilities."""
        for name, step in getattr(self.model.estimator, "steps", [("head", self.model.estimator)]):
            writer = WRITERS.get(type(step).__name__)
            if writer is None:
                known = "majority, logmel, logreg, lgbm, mlp and knn"
                raise ModelFormatError(f"head {self.model.head!r} cannot be written as ONNX: {known} can")
            writer(self, name, step)

    def add_answers(self) -> None:
        """Add calibration and the outputs ``probabilities`` and ``label``, or ``labels`` of sets of classes."""
        self._calibrated()
        self.nodes.append(self.onnx.helper.make_node("Identity", [self.now], ["probabilities"]))
        if self.model.label_separator is not None:
            limits = self.constant(np.array(self.model.thresholds, dtype=np.float32))
            self.nodes.append(self.onnx.helper.make_node("GreaterOrEqual", ["probabilities", limits], ["labels"]))
            return
        best = self.add("ArgMax", "probabilities", axis=1, keepdims=0)
        names = self.constant(np.array(self.model.classes))
        self.nodes.append(self.onnx.helper.make_node("Gather", [names, best], ["label"]))

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        output = f"head_{kind.lower()}_{len(self.nodes)}"
        node = self.onnx.helper.make_node(kind, list(inputs), [output], domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def add_several(self, kind: str, *inputs: str, **attributes: Any) -> tuple[str, str]:
        """Add a node of two outputs, and return their names."""
        outputs = (f"head_{kind.lower()}_{len(self.nodes)}", f"head_{kind.lower()}_{len(self.nodes)}_more")
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def constant(self, values: Any) -> str:
        """Add numbers or texts, and return their name."""
        name = f"head_constant_{len(self.constants)}"
        array = np.asarray(values)
        if array.dtype.kind == "U":
            array = array.astype(object)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def step(self, kind: str, *others: Any, **attributes: Any) -> None:
        """Add a node that takes ``now``, and constants, and whose output is ``now``."""
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

    def outputs(self, batch: str) -> list[Any]:
        """Return what the graph gives."""
        helper, types = self.onnx.helper, self.onnx.TensorProto
        proba = helper.make_tensor_value_info("probabilities", types.FLOAT, [batch, len(self.model.classes)])
        if self.model.label_separator is not None:
            return [proba, helper.make_tensor_value_info("labels", types.BOOL, [batch, len(self.model.classes)])]
        return [proba, helper.make_tensor_value_info("label", types.STRING, [batch])]

    def opsets(self) -> list[Any]:
        """Return the versions of operators that the nodes are written in."""
        make = self.onnx.helper.make_opsetid
        return [make("", self.opset), make("ai.onnx.ml", _ML_OPSET)]

    def add_facts(self, proto: Any, **more: Any) -> None:
        """Write the recipe, the classes and more into a graph's metadata."""
        facts = {"recipe": dataclasses.asdict(self.model.recipe), "classes": list(self.model.classes), **more}
        if self.model.label_separator is not None:
            facts |= {"thresholds": list(self.model.thresholds), "label_separator": self.model.label_separator}
        self.onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in facts.items()})

    def _unlike(self) -> None:
        """Add the distance to the nearest class, in columns where it is a Euclidean one."""
        if self.model.novelty is None:
            return
        learned, self.now, self.width = self.model.novelty.distances, "embeddings", self.model.n_features
        if self.model.input_kind == "embeddings":
            n_layers = len(self.model.recipe.layers)
            first, last = layer_span(self.model.estimator, n_layers)
            write_mean(self, n_layers, first, last)
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
        inputs, outputs = [rows], self.outputs("n")
        if self.model.novelty is not None:
            outputs.append(helper.make_tensor_value_info("novelty", types.FLOAT, ["n"]))
            if self.model.input_kind == "embeddings":
                inputs.append(helper.make_tensor_value_info("control", types.FLOAT, ["m", CONTROL_DIM]))
        graph = helper.make_graph(self.nodes, "embedx_head", inputs, outputs, self.constants)
        proto = helper.make_model(graph, opset_imports=self.opsets(), producer_name="embedx", ir_version=8)
        limits = self._novelty_limits()
        self.add_facts(proto, **({"novelty_limits": limits} if limits else {}))
        return proto
