"""A model that was exported whole hears waveforms in another engine, and answers as `Model.predict_proba` does."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from embedx.audio.decode import decode
from embedx.dataset import load_embeddings
from embedx.errors import EncoderError, ModelFormatError
from embedx.extract.job import extract_embeddings
from embedx.heads.calibration import Calibration
from embedx.manifest import read_manifest
from embedx.model import fit_model
from tests.encoders.checkpoints import write_checkpoint, write_other

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")

from embedx.model.export_whole import export_whole  # noqa: E402


@pytest.fixture(scope="module")
def tones(tone_folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("tones") / "emb.h5"
    extract_embeddings(read_manifest(tone_folder), place, encoder="tiny", layers=(1, 2))
    return load_embeddings(place)


@pytest.fixture(scope="module")
def exported(tones, tmp_path_factory):
    model = fit_model(tones, "logreg", calibrate="temperature")
    place = tmp_path_factory.mktemp("exported") / "model.onnx"
    assert export_whole(model, place) < 1e-4
    return model, place


def batch_of(clips):
    waveform = np.full((len(clips), max(map(len, clips)) + 5), 0.5, np.float32)
    for row, clip in zip(waveform, clips, strict=True):
        row[: len(clip)] = clip
    return {"waveform": waveform, "n_samples": np.array([len(clip) for clip in clips])}


def require_equal(model, place, paths):
    session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
    clips, expected = [decode(path) for path in paths], model.predict_proba(paths)
    for size in (1, 5, len(clips)):
        for i in range(0, len(clips), size):
            proba, labels = session.run(["probabilities", "label"], batch_of(clips[i : i + size]))
            np.testing.assert_allclose(proba, expected[i : i + size], atol=1e-4)
            assert list(labels) == [model.classes[best] for best in expected[i : i + size].argmax(axis=1)]


@pytest.mark.slow
def test_it_answers_as_the_model_does_in_any_batch(exported, tone_folder):
    require_equal(*exported, sorted(tone_folder.glob("*/*.wav")))


@pytest.mark.slow
def test_it_says_how_it_is_used_and_nothing_of_this_machine(exported):
    model, place = exported
    proto = onnx.load(place)
    onnx.checker.check_model(proto)
    facts = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    assert facts["classes"] == list(model.classes)
    assert facts["recipe"]["encoder"] == "tiny"
    assert (facts["sample_rate"], facts["least_samples"], facts["most_samples"]) == (16_000, 400, 160_000)
    assert b"site-packages" not in place.read_bytes()
    assert not proto.functions


@pytest.mark.slow
def test_openvino_runs_it_too(exported, tone_folder):
    openvino = pytest.importorskip("openvino", reason="needs openvino")
    model, place = exported
    network = openvino.Core().compile_model(str(place), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    paths = sorted(tone_folder.glob("*/[0-3].wav"))
    found = network(batch_of([decode(path) for path in paths]))[0]
    np.testing.assert_allclose(found, model.predict_proba(paths), atol=1e-4)


@pytest.mark.slow
def test_an_older_export_is_replaced_and_another_file_is_not(exported, tones, tmp_path):
    _, place = exported
    model = fit_model(tones, "knn", params={"metric": "canberra"})
    before = place.read_bytes()
    with pytest.raises(ModelFormatError, match="'canberra' cannot be written as ONNX"):
        export_whole(model, place)
    assert place.read_bytes() == before
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(ModelFormatError, match="another kind"):
        export_whole(exported[0], tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("head", "calibration", "message"),
    [
        ("logmel", None, "hears log-mel statistics"),
        ("logreg", Calibration(method="isotonic"), "isotonic calibration cannot be written"),
    ],
)
def test_heads_that_cannot_be_written(tones, tmp_path, head, calibration, message):
    with pytest.raises(ModelFormatError, match=message) as caught:
        export_whole(replace(fit_model(tones, head), calibration=calibration), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("write", "kind", "message"),
    [
        (write_checkpoint, "wavlm-group", "cannot be exported whole: an encoder of the kind 'wavlm' cannot be written"),
        (write_other, "whisper", "it reads spectrograms"),
    ],
)
def test_encoders_that_cannot_be_written(tone_folder, tmp_path, write, kind, message):
    write(tmp_path / "encoder", kind)
    manifest = read_manifest(tone_folder)
    extract_embeddings(manifest, tmp_path / "emb.h5", encoder=str(tmp_path / "encoder"))
    model = fit_model(load_embeddings(tmp_path / "emb.h5"), "majority")
    with pytest.raises(ModelFormatError, match=message) as caught:
        export_whole(model, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


def test_an_encoder_of_other_weights_is_refused(tones, tmp_path):
    model = fit_model(tones, "majority")
    other = replace(model, recipe=model.recipe.replace(weights_sha256="0" * 64))
    with pytest.raises(EncoderError, match="other weights than the model was trained on"):
        export_whole(other, tmp_path / "model.onnx")
