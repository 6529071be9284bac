"""A model of several labels a clip: trained, saved, read back, exported and asked; hostile and older files refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from embedx import Model, export_onnx, fit_model
from embedx.cli import main
from embedx.errors import DatasetError, ModelFormatError, ParameterError
from embedx.model import describe
from embedx.model.model_json import MULTI_LABEL_VERSION, VERSION
from embedx.testing import make_dataset, make_store

FORMATS = Path(__file__).resolve().parents[1] / "formats"
DATA = make_dataset(n=120, multi_label=True)
HEADS = ["logreg", "lgbm", "mlp", "majority", "logmel"]


@pytest.fixture(scope="module")
def models():
    return {head: fit_model(DATA, head) for head in HEADS}


@pytest.mark.parametrize("head", HEADS)
def test_a_saved_model_gives_the_same_sets(models, head, tmp_path):
    place = models[head].save(tmp_path / "model")
    again = Model.load(place)
    assert (again.label_separator, again.classes) == ("|", DATA.classes)
    assert again.thresholds == models[head].thresholds
    assert np.allclose(again.predict_proba(DATA), models[head].predict_proba(DATA), atol=1e-6)
    assert again.predict_dataset(DATA).tolist() == models[head].predict_dataset(DATA).tolist()
    assert "several a clip, joined by '|'" in describe(place)[1]


def test_the_labels_are_the_classes_from_their_thresholds_on(models):
    found = models["logreg"].predictions(DATA)
    given = found.proba >= np.array(models["logreg"].thresholds)
    expected = ["|".join(np.array(DATA.classes)[row]) or "|" for row in given]
    assert found.labels.tolist() == expected
    assert not np.allclose(found.proba.sum(1), 1)
    assert (np.array(expected) == np.array([s.label for s in DATA.sources])).mean() > 0.4


def test_held_out_clips_are_scored_beside_the_share_of_each_class():
    train, valid = DATA.take(np.arange(90)), DATA.take(np.arange(90, 120))
    scores = fit_model(train, "logreg", valid=valid).scores
    assert scores["valid"]["macro_f1"] > scores["majority"]["macro_f1"] + 0.1
    assert set(scores["valid"]) == {"n_clips", "macro_f1", "micro_f1", "mean_average_precision", "roc_auc"}


def test_a_model_of_one_label_is_written_as_before(tmp_path):
    single = fit_model(make_dataset(), "logreg").save(tmp_path / "one")
    record = json.loads((single / "model.json").read_text())
    assert record["version"] == "{}.{}".format(*VERSION)
    assert VERSION[0] == 1
    assert not {"label_separator", "thresholds"} & set(record)


@pytest.mark.parametrize("name", ["model-2.0", "model-2.0-lgbm"])
def test_a_frozen_model_is_read_and_answers_as_when_it_was_saved(name):
    expected = json.loads((FORMATS / "model-2.0.json").read_text())
    model = Model.load(FORMATS / name)
    assert model.label_separator == "|"
    assert len(model.thresholds) == len(model.classes) == 3
    assert np.allclose(model.probabilities(np.array(expected["X"], np.float32)), expected[name], atol=1e-6)


def changed(place, **fields):
    record = json.loads((place / "model.json").read_text())
    assert record["version"] == "{}.{}".format(*MULTI_LABEL_VERSION)
    assert MULTI_LABEL_VERSION[0] == 2  # which an embedx that knows 1.x alone refuses by its number
    record = {name: value for name, value in {**record, **fields}.items() if value is not ...}
    (place / "model.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    "fields",
    [
        {"thresholds": [0.5]},
        {"thresholds": [0.5, 0.5, 2.0]},
        {"thresholds": [0.5, 0.5, "x"]},
        {"label_separator": "a"},
        {"label_separator": ...},
        {"thresholds": ...},
        {"version": "1.1"},
        {"version": "3.0"},
        {"eats": "sources"},
        {"head": "knn"},
        {"calibration": {"method": "temperature", "temperature": 1.0, "floor": 1e-7}},
        {"classes": ["class 0", "class 1"], "thresholds": [0.5, 0.5]},
    ],
)
@pytest.mark.parametrize("head", ["logreg", "lgbm"])
def test_a_damaged_or_hostile_record_is_refused(models, head, fields, tmp_path):
    place = models[head].save(tmp_path / "model")
    changed(place, **fields)
    with pytest.raises(ModelFormatError) as caught:
        Model.load(place)
    assert "\n" not in str(caught.value)


def test_a_booster_that_is_missing_is_refused(models, tmp_path):
    place = models["lgbm"].save(tmp_path / "model")
    text = (place / "booster.txt").read_text()
    (place / "booster.txt").write_text(text[: text.rindex("\ntree\n") + 1])
    with pytest.raises(ModelFormatError, match="there are not the boosters of 3 classes"):
        Model.load(place)


@pytest.mark.parametrize("head", HEADS)
def test_an_exported_head_gives_the_same_sets(models, head, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    assert export_onnx(models[head], tmp_path / "head.onnx") < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "head.onnx"))
    X = (DATA.control if head == "logmel" else np.asarray(DATA.X)).astype(np.float32)
    proba, given = session.run(["probabilities", "labels"], {"embeddings": X})
    expected = models[head].probabilities(X)
    assert np.allclose(proba, expected, atol=1e-4)
    sure = np.abs(expected - np.array(models[head].thresholds)) > 1e-4
    assert (given == (expected >= np.array(models[head].thresholds)))[sure].all()
    assert json.loads(session.get_modelmeta().custom_metadata_map["label_separator"]) == "|"


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        ("knn", {}, "head 'knn' learns one label a clip"),
        ("finetune", {}, "head 'finetune' learns one label a clip"),
        ("logreg", {"calibrate": True}, "calibration takes one label a clip"),
        ("logreg", {"sample_weight": np.ones(120)}, "sample_weight is for one label a clip"),
        ("logreg", {"params": {"C": -1}}, "C"),
        ("mlp", {"params": {"class_weight": "balanced"}}, "takes no weights"),
    ],
)
def test_what_is_not_done_is_one_clear_line(head, options, message):
    with pytest.raises(ParameterError, match=message) as caught:
        fit_model(DATA, head, **options)
    assert "\n" not in str(caught.value)


def test_other_classes_to_judge_on_are_refused():
    other = DATA.take(np.arange(12)).relabel(["new|class 0"] * 12).multi_label()
    with pytest.raises(DatasetError, match="classes that the training part lacks: new"):
        fit_model(DATA, "logreg", valid=other)
    with pytest.raises(DatasetError, match="as sets"):
        fit_model(DATA, "logreg", valid=make_dataset())


def test_the_commands_fit_predict_and_export(tmp_path, capsys):
    store = str(make_store(tmp_path / "emb.h5", DATA))
    model, table = str(tmp_path / "model"), tmp_path / "labels.csv"
    words = ["fit", store, "--multi-label", "--valid-fraction", "0.3", "-o", model]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "class prevalence" in out
    assert "3 classes" in out
    assert "unknown sounds are not told: a model of several labels a clip has no novelty score" in out
    assert main(["predict", model, store, "--proba", "--csv", str(table)]) == 0
    assert main(["predict", model, store, "--proba", "--csv", str(table)]) == 0  # over its own
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert list(rows[0]) == ["path", "labels", "probability", "p_class 0", "p_class 1", "p_class 2", "error"]
    loaded = Model.load(model)
    assert [row["labels"] for row in rows] == loaded.predict_dataset(DATA).tolist()
    for arguments, said in ((["--calibrate"], "calibration takes one label"), (["--head", "knn"], "learns one label")):
        assert main(["fit", store, "--multi-label", *arguments, "-o", str(tmp_path / "other")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert main(["info", model]) == 0
