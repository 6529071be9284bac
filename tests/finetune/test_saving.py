"""One folder for transformers and for embedx; the commands around it; the same folds as the frozen heads."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from embedx.audio.decode import decode
from embedx.dataset import list_audio, load_embeddings
from embedx.errors import DatasetError, ModelFormatError, ParameterError
from embedx.heads.finetune import FineTuneClassifier
from embedx.heads.finetune.saving import RECORD
from embedx.manifest import read_manifest
from embedx.model import Model, describe, fit_model
from embedx.model.card_seal import is_own_card


@pytest.fixture(scope="module")
def fitted(plain, tones):
    groups = [f"g{i % 8}" for i in range(24)]
    return FineTuneClassifier(**{**plain, "validation_fraction": 0.25}).fit(*tones, groups=groups)


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    fitted.save(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_it_loads_as_it_was(fitted, saved, tones):
    loaded = FineTuneClassifier.load(saved)
    assert np.array_equal(loaded.predict_proba(tones[0]), fitted.predict_proba(tones[0]))
    assert loaded.classes_.tolist() == fitted.classes_.tolist()
    assert loaded.history_ == fitted.history_
    assert loaded.recipe_ == fitted.recipe_
    assert loaded.epochs == fitted.epochs


def test_it_travels_as_a_pickle(fitted, tones, tmp_path):
    """As joblib sends it to processes, and with the weights as safetensors, not as torch's objects."""
    import joblib
    from sklearn.base import clone

    joblib.dump(fitted, tmp_path / "fitted.joblib")
    loaded = joblib.load(tmp_path / "fitted.joblib")
    assert np.array_equal(loaded.predict_proba(tones[0]), fitted.predict_proba(tones[0]))
    assert loaded.history_ == fitted.history_
    assert type(fitted.__getstate__()["network_"]["model.safetensors"]) is bytes
    assert type(fitted.network_).__name__ == "Network"  # as it was before
    assert not hasattr(clone(loaded), "network_")


@pytest.mark.slow
def test_cross_validation_and_voting_run_in_processes(plain, tones):
    from sklearn.ensemble import VotingClassifier
    from sklearn.model_selection import cross_validate

    paths, labels = np.array(tones[0]), tones[1]
    short = FineTuneClassifier(**{**plain, "epochs": 1})
    found = cross_validate(short, paths, labels, cv=2, n_jobs=2, return_estimator=True)
    assert all(0 <= value <= 1 for value in found["test_score"])
    assert all(one.predict(tones[0][:1]).shape == (1,) for one in found["estimator"])
    vote = VotingClassifier([("a", short), ("b", short)], voting="soft", n_jobs=2).fit(paths, labels)
    assert vote.predict(paths[:2]).shape == (2,)


def test_a_transformers_pipeline_loads_it(fitted, saved, tones):
    from transformers import pipeline

    found = pipeline("audio-classification", model=str(saved), device="cpu", top_k=None)
    assert type(found.model).__name__ == "Wav2Vec2ForSequenceClassification"
    assert found.model.config.mask_time_prob == pytest.approx(0.05)
    for path in tones[0][::6]:
        scores = {row["label"]: row["score"] for row in found({"raw": decode(path), "sampling_rate": 16_000})}
        own = dict(zip(fitted.classes_, fitted.predict_proba([path])[0], strict=True))
        assert scores == pytest.approx(own, abs=1e-5)


def test_the_card_says_what_a_reader_needs(saved):
    card = (saved / "README.md").read_text()
    for text in (
        "pipeline_tag: audio-classification",
        "24 clips: 8 `high`",
        "Trained on 18, 6 held out",
        "95 % interval",
    ):
        assert text in card
    assert "transformers 5" in card
    assert "optimistic" in card


def test_the_card_names_the_licence_of_the_base(tmp_path):
    from embedx.encoders.licences import read_license, read_terms
    from embedx.encoders.resolve import resolve_encoder

    assert "CC BY-SA 4.0" in read_terms(Path(resolve_encoder("tiny").location))
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n\nNothing more.\n")
    assert (read_license(tmp_path), read_terms(tmp_path)) == ("apache-2.0", "")
    assert (read_license(tmp_path / "no"), read_terms(tmp_path / "no")) == ("", "")


def test_labels_that_are_numbers_stay_numbers(plain, tones, tmp_path):
    numbers = np.searchsorted(np.unique(tones[1]), tones[1])
    FineTuneClassifier(**{**plain, "epochs": 1}).fit(tones[0], numbers).save(tmp_path / "m")
    loaded = FineTuneClassifier.load(tmp_path / "m")
    assert loaded.classes_.dtype == numbers.dtype
    assert set(loaded.predict(tones[0])) <= {0, 1, 2}


@pytest.mark.parametrize("name", [RECORD, "model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", [None, b"", b"{}", b"\x80\x04N."])
def test_a_damaged_folder_is_one_line(copy, name, damage):
    if damage is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(damage)
    with pytest.raises(ModelFormatError) as caught:
        FineTuneClassifier.load(copy)
    assert str(copy) in str(caught.value)


def test_a_hostile_dtype_is_refused(copy):
    record = json.loads((copy / RECORD).read_text())
    (copy / RECORD).write_text(json.dumps({**record, "dtype": "|O"}))
    with pytest.raises(ModelFormatError, match="dtype"):
        FineTuneClassifier.load(copy)


@pytest.fixture(scope="module")
def audio(tone_folder, fitted):
    return list_audio(read_manifest(tone_folder), recipe=fitted.recipe_)


def test_as_an_embedx_model_it_is_judged_saved_and_predicts(audio, tone_folder, tmp_path):
    rng = np.random.default_rng(0)
    order = rng.permutation(len(audio))
    train, valid = audio.take(order[6:]), audio.take(order[:6])
    model = fit_model(train, "finetune", params={"epochs": 2, "freeze": "none", "learning_rate": 1e-3}, valid=valid)
    assert set(model.scores) == {"valid", "majority"}
    folder = model.save(tmp_path / "model")
    card = (folder / "README.md").read_text()
    for told in ("Wilson, 6 clips), log-loss", "library_name: transformers", "type: accuracy", "## Limits"):
        assert told in card
    assert is_own_card(folder / "README.md")
    assert (folder / "config.json").exists()
    assert any("finetune" in line for line in describe(folder))
    (tone_folder / "notes.txt").write_text("no audio")
    loaded = Model.load(folder)
    found = loaded.predictions([*sorted(tone_folder.glob("*/1.wav")), tone_folder / "notes.txt"])
    assert found.n_failed == 1
    assert "notes.txt" in found.errors[-1]
    again = model.predictions(sorted(tone_folder.glob("*/1.wav")))
    assert np.allclose(found.proba[:3], again.proba, atol=1e-6)
    samples, rate = soundfile.read(sorted(tone_folder.glob("*/1.wav"))[0])
    heard = model.predictions([(samples, rate), io.BytesIO(b"no audio")])
    assert np.allclose(heard.proba[0], again.proba[0], atol=1e-6)
    assert [source.uri for source in heard.sources] == ["clip 0", "clip 1"]
    assert heard.errors[1].startswith("clip 1 cannot be decoded")
    with pytest.raises(ParameterError, match="has no embeddings"):
        model.embed((samples, rate))
    (tone_folder / "notes.txt").unlink()


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_exported_whole_it_answers_in_another_engine(audio, tone_folder, tmp_path, pooling):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
    pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    from embedx.model.export_whole import export_whole

    model = fit_model(audio, "finetune", params={"epochs": 1, "pooling": pooling}, calibrate="temperature")
    assert export_whole(model, tmp_path / "model.onnx") < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    paths = sorted(tone_folder.glob("*/[0-2].wav"))
    clips = [decode(path) for path in paths]
    waveform = np.full((len(clips), max(map(len, clips))), np.nan, np.float32)
    for row, clip in zip(waveform, clips, strict=True):
        row[: len(clip)] = clip
    fed = {"waveform": waveform, "n_samples": np.array([len(clip) for clip in clips])}
    proba, labels = session.run(["probabilities", "label"], fed)
    expected = model.predictions(paths)
    np.testing.assert_allclose(proba, expected.proba, atol=1e-4)
    assert list(labels) == list(expected.labels)


def test_calibration_leaves_the_kept_training_alone(audio, tmp_path):
    """Its folds train too; what can be resumed is the one training on all clips."""
    kept = {"epochs": 1, "checkpoint_folder": tmp_path / "kept", "resume": True}
    model = fit_model(audio, "finetune", params=kept, calibrate="temperature")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["step-0-000000002"]
    again = fit_model(audio, "finetune", params=kept, calibrate="temperature")
    assert again.scores["calibration"] == model.scores["calibration"]
    model.save(tmp_path / "model")
    assert not (tmp_path / "kept").exists()


def test_a_network_of_another_model_is_refused(audio, tmp_path, saved):
    folder = fit_model(audio, "finetune", params={"epochs": 1}).save(tmp_path / "model")
    record = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**record, "classes": ["a", "b", "c"]}))
    with pytest.raises(ModelFormatError, match="different models"):
        Model.load(folder)


@pytest.fixture(scope="module")
def store(tone_folder, small_encoder, tmp_path_factory):
    from embedx.extract.job import extract_embeddings
    from embedx.recipe import Resources

    root = Path(shutil.copytree(tone_folder, tmp_path_factory.mktemp("store") / "tones"))
    place = root.parent / "emb.h5"
    resources = Resources(device="cpu", workers=0)
    extract_embeddings(read_manifest(root), place, encoder=small_encoder, resources=resources, layers="all")
    return place


def test_missing_and_changed_audio_is_named_before_anything_is_trained(store, tmp_path):
    from embedx.comparison import compare

    root = Path(shutil.copytree(store.parent / "tones", tmp_path / "tones"))
    dataset = load_embeddings(store).located_at(root)
    dataset.require_audio()
    (root / "low" / "3.wav").write_bytes((root / "low" / "4.wav").read_bytes())
    with pytest.raises(DatasetError, match=r"1 of 24 audio files have changed .*low/3\.wav"):
        compare(dataset, ["logreg", "finetune"], folds=2)
    (root / "low" / "3.wav").unlink()
    with pytest.raises(DatasetError, match=r"1 of 24 audio files are missing.*low/3\.wav.*--root"):
        fit_model(dataset, "finetune")


def test_a_store_names_its_own_encoder(store, capsys, tmp_path):
    from embedx.cli import main

    code = main(["fit", str(store), "--head", "finetune", "--encoder", "tiny", "-o", str(tmp_path / "model")])
    assert code == 2
    assert "--encoder" in capsys.readouterr().err


@pytest.mark.slow
def test_compare_trains_it_on_the_same_folds(store):
    from embedx.comparison import compare
    from embedx.heads.catalog import HeadSpec, get_head

    spec = get_head("finetune")
    fields = {name: getattr(spec, name) for name in HeadSpec.__dataclass_fields__}
    quick = HeadSpec(**{**fields, "factory": _Quick(spec.factory)})
    result = compare(load_embeddings(store), ["logreg", quick], folds=2, curves=False)
    rows = {row.name: row for row in result.rows}
    assert list(rows) == ["majority", "logmel", "logreg", "finetune", "auto"]
    assert {fold.chosen["head"] for fold in rows["auto"].folds} == {"logreg"}  # auto chooses among heads on embeddings
    assert all(len(fold.epochs) == 1 and fold.epochs[0]["train_loss"] > 0 for fold in rows["finetune"].folds)
    assert any(sentence.startswith("Did fine-tuning pay? ") for sentence in result.verdict)
    folds = [(fold.fold, fold.n_train, fold.n_test) for fold in rows["logreg"].folds]
    assert [(fold.fold, fold.n_train, fold.n_test) for fold in rows["finetune"].folds] == folds
    assert all(fold.seconds_fit > 0 for fold in rows["finetune"].folds)


class _Quick:
    """The factory with one epoch."""

    def __init__(self, factory):
        self.factory = factory

    def __call__(self, **parameters):
        return self.factory(**{**parameters, "epochs": 1})


@pytest.mark.slow
def test_the_commands(run_embedx, tone_folder, small_encoder, tmp_path):
    common = ("--head", "finetune", "--encoder", small_encoder, "--device", "cpu", "--epochs", "1")
    done = run_embedx("fit", tone_folder, *common, "-o", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "finetune on 24 clips, 3 classes" in done.stdout
    assert not (tmp_path / "model.checkpoints").exists()
    clip = tone_folder / "low" / "1.wav"
    told = run_embedx("predict", tmp_path / "model", clip, "--device", "cpu", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["label"] in ("high", "low", "middle")
    wrong = run_embedx("fit", tone_folder, "--head", "logreg", "--epochs", "1", "-o", tmp_path / "other")
    assert wrong.returncode == 2
    assert len(wrong.stderr.strip().splitlines()) == 1
    assert "--head finetune" in wrong.stderr
