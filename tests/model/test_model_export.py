"""An exported head gives the model's answers in another engine."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from embedx.errors import ModelFormatError
from embedx.model import Model, fit_model

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
pytest.importorskip("onnx", reason="needs the extra 'onnx'")

from embedx.model.export import export_onnx  # noqa: E402


def run(place, X):
    session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
    return session.run(["probabilities", "label"], {"embeddings": X})


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("head", "params"),
    [("majority", {}), ("logmel", {}), ("logreg", {}), ("logreg", {"layer": "all"}), ("logreg", {"layer": "1-2"})]
    + [("logreg", {"layer": -1}), ("lgbm", {}), ("lgbm", {"layer": "all", "num_leaves": 31}), ("mlp", {})]
    + [("knn", {}), ("knn", {"weights": "uniform", "metric": "euclidean", "n_neighbors": 7, "layer": 0})]
    + [("knn", {"metric": "sqeuclidean", "layer": "1-2"}), ("knn", {"n_neighbors": 400})]
    + [("mlp", {"layer": "learned", "norm": "layer", "n_hidden": 2}), ("mlp", {"norm": "none", "n_hidden": 3})],
    ids=str,
)
def test_equal_predictions(make_dataset, tmp_path, head, params, n_classes):
    dataset = make_dataset(n_classes=n_classes, n=90)
    model = fit_model(dataset, head, params=params, calibrate="temperature")
    model.save(tmp_path / "m")
    if head == "knn":  # a clip that is known exactly has a distance of nothing but rounding
        dataset = make_dataset(n_classes=n_classes, n=60, seed=1)
    for one in (model, Model.load(tmp_path / "m")):
        assert export_onnx(one, tmp_path / "head.onnx") < 1e-4
        proba, labels = run(tmp_path / "head.onnx", dataset.inputs_for(model).astype(np.float32))
        np.testing.assert_allclose(proba, model.predict_proba(dataset), atol=1e-4)
        assert list(labels) == list(model.predict(dataset))


@pytest.mark.parametrize(
    ("head", "params"),
    [("logreg", {}), ("logreg", {"layer": 1}), ("logreg", {"layer": "1-2"}), ("logreg", {"layer": "all"})]
    + [("lgbm", {}), ("majority", {}), ("mlp", {"layer": "learned"}), ("logmel", {})],
    ids=str,
)
def test_equal_novelty(make_dataset, tmp_path, head, params):
    import onnx

    dataset = make_dataset(n=90)
    model = fit_model(dataset, head, params=params)
    assert export_onnx(model, tmp_path / "head.onnx") < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "head.onnx"), providers=["CPUExecutionProvider"])
    given = {"embeddings": dataset.inputs_for(model).astype(np.float32)}
    if head != "logmel":
        assert np.isnan(session.run(["novelty"], given)[0]).all()
        given["control"] = dataset.control
    found = model.predictions(dataset, unknown_at=0.1)
    np.testing.assert_allclose(session.run(["novelty"], given)[0], found.novelty, atol=1e-4)
    facts = {entry.key: json.loads(entry.value) for entry in onnx.load(tmp_path / "head.onnx").metadata_props}
    assert facts["novelty_limits"]["0.1"] == found.novelty_limit


def test_the_recipe_travels_with_the_graph(make_dataset, tmp_path):
    import onnx

    model = fit_model(make_dataset(), "logreg")
    export_onnx(model, tmp_path / "head.onnx")
    facts = {entry.key: json.loads(entry.value) for entry in onnx.load(tmp_path / "head.onnx").metadata_props}
    assert facts["recipe"]["encoder"] == "tiny"
    assert facts["classes"] == list(model.classes)


@pytest.mark.parametrize(
    ("head", "calibrate", "message"),
    [(LinearDiscriminantAnalysis(), False, "cannot be written as ONNX: .* can"), ("logreg", "isotonic", "--calibrate")],
)
def test_what_cannot_be_exported_says_so(make_dataset, tmp_path, head, calibrate, message):
    with pytest.raises(ModelFormatError, match=message):
        export_onnx(fit_model(make_dataset(), head, calibrate=calibrate), tmp_path / "head.onnx")
    assert not (tmp_path / "head.onnx").exists()


def test_neighbours_by_a_distance_that_onnx_lacks(make_dataset, tmp_path):
    model = fit_model(make_dataset(), "knn", params={"metric": "canberra"})
    with pytest.raises(ModelFormatError, match=r"neighbours by 'canberra' cannot be written as ONNX"):
        export_onnx(model, tmp_path / "head.onnx")


def test_a_place_that_cannot_be_written(make_dataset, tmp_path):
    with pytest.raises(ModelFormatError, match="cannot be written"):
        export_onnx(fit_model(make_dataset(), "majority"), tmp_path / "nowhere" / "head.onnx")
