"""Estimators over paths are citizens of scikit-learn: pipelines, searches, any labels, one line for nonsense."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from embedx import AudioClassifier, AudioEmbedder, Model, load_embeddings
from embedx.errors import ClipTooShortError, DatasetError, DecodeError, ParameterError
from embedx.model import fit_model as fit
from tests.encoders.checkpoints import write_other


@pytest.fixture(scope="module")
def clips(tone_folder):
    paths = [str(path) for path in sorted(tone_folder.rglob("*.wav"))]
    return paths, [path.split("/")[-2] for path in paths]


@pytest.fixture(scope="module")
def store(clips, tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "cache.h5"
    AudioEmbedder("tiny", store=path).fit_transform(clips[0])
    return path


def test_one_row_a_path_in_the_order_of_the_paths(clips, store):
    paths = [clips[0][5], clips[0][0], clips[0][5]]
    rows = AudioEmbedder("tiny", store=store).fit_transform(paths)
    assert (rows.shape, rows.dtype) == ((3, 192), np.float32)
    np.testing.assert_array_equal(rows[0], rows[2])
    assert not np.array_equal(rows[0], rows[1])


def test_with_and_without_a_store_the_rows_agree(clips, store):
    paths = clips[0][:3]
    kept = AudioEmbedder("tiny", store=store).transform(paths)
    fresh = AudioEmbedder("tiny").transform(np.array(paths).reshape(-1, 1))
    np.testing.assert_allclose(kept, fresh, rtol=5e-3, atol=5e-3)  # the store keeps float16


@pytest.mark.parametrize(("layer", "width"), [(0, 192), (-1, 192), ("1-3", 192), ("mean", 192), ("all", 5 * 192)])
def test_the_layer_is_a_parameter(clips, store, layer, width):
    assert AudioEmbedder("tiny", layer=layer, store=store).transform(clips[0][:2]).shape == (2, width)


def test_padding_is_that_of_the_recipe_with_and_without_a_store(clips, tmp_path):
    write_other(tmp_path / "encoder", "whisper-asr")
    encoder, paths = str(tmp_path / "encoder"), clips[0][:2]
    default = AudioEmbedder(encoder).embed(paths)
    pooled = AudioEmbedder(encoder, padding="pooled").embed(paths)
    assert (default.recipe.padding, pooled.recipe.padding) == ("none", "pooled")
    assert not np.allclose(default.X, pooled.X, atol=1e-2)
    classifier = AudioClassifier("logreg", encoder=encoder, padding="pooled", store=tmp_path / "emb.h5")
    few = clips[0][:3] + clips[0][-3:]
    classifier.fit(few, clips[1][:3] + clips[1][-3:])
    stored = load_embeddings(tmp_path / "emb.h5")
    assert stored.recipe.padding == classifier.model_.recipe.padding == "pooled"
    with pytest.raises(ParameterError, match="padding 'masked': tiny allows none"):
        AudioEmbedder("tiny", padding="masked").embed(paths)


def test_a_search_over_a_pipeline_embeds_each_clip_once(clips, store):
    before = store.stat().st_mtime_ns
    pipeline = make_pipeline(AudioEmbedder("tiny", store=store), LogisticRegression(max_iter=2_000))
    grid = {"audioembedder__layer": [0, "mean"], "logisticregression__C": [1.0]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(*clips)
    assert search.best_score_ > 0.8
    assert store.stat().st_mtime_ns == before
    assert len(load_embeddings(store)) == 24


def test_two_processes_may_share_one_store(clips, tmp_path):
    pipeline = make_pipeline(AudioEmbedder("tiny", store=tmp_path / "new.h5"), LogisticRegression(max_iter=2_000))
    assert cross_val_score(pipeline, *clips, cv=2, n_jobs=2).mean() > 0.8
    assert len(load_embeddings(tmp_path / "new.h5")) == 24


@pytest.mark.parametrize("kind", [str, int, bool])
def test_labels_come_back_as_they_were_given(clips, store, kind):
    names = {str: ["zebra", "ant"], int: [10, 9], bool: [True, False]}[kind]
    labels = np.array([names[0] if label == "low" else names[1] for label in clips[1]])
    classifier = AudioClassifier("logreg", encoder="tiny", store=store).fit(clips[0], labels)
    assert classifier.classes_.tolist() == sorted(names)
    assert classifier.predict(clips[0]).dtype == labels.dtype
    assert classifier.score(clips[0], labels) > 0.9
    proba = classifier.predict_proba(clips[0])
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-6)
    assert (classifier.classes_[proba.argmax(axis=1)] == classifier.predict(clips[0])).all()


def test_what_was_trained_can_be_saved_and_loaded(clips, store, tmp_path):
    classifier = AudioClassifier("logreg", encoder="tiny", store=store).fit(*clips, groups=range(24))
    classifier.save(tmp_path / "model")
    assert Model.load(tmp_path / "model").predict(clips[0][:4]).tolist() == classifier.predict(clips[0][:4]).tolist()


def test_clips_whose_group_is_missing_are_not_one_group(clips, store, monkeypatch):
    seen = {}
    monkeypatch.setattr("embedx.estimators.fit_model", lambda dataset, *_, **__: seen.update(d=dataset) or fit(dataset))
    AudioClassifier("logreg", encoder="tiny", store=store).fit(*clips, groups=[None, np.nan, "x", "x"] + [1] * 20)
    assert [source.group for source in seen["d"].sources] == [None, None, "x", "x"] + ["1"] * 20


def test_clones_and_parameters():
    classifier = AudioClassifier("mlp", encoder="tiny", parameters={"layer": 2}, random_state=3)
    assert clone(classifier).get_params() == classifier.get_params()
    assert clone(AudioEmbedder("tiny", layer=1)).get_params()["layer"] == 1


def test_a_file_that_cannot_be_read_is_named(clips, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(DecodeError, match=r"text\.wav"):
        AudioEmbedder("tiny").transform([clips[0][0], str(tmp_path / "text.wav")])


@pytest.mark.parametrize(
    ("paths", "message"),
    [("a.wav", "X is one path"), ([], "one or more paths"), ([1, 2], "one or more paths"), ([["a", "b"]], "shape")],
)
def test_what_is_no_list_of_paths(paths, message):
    with pytest.raises(ParameterError, match=message):
        AudioEmbedder("tiny").fit(paths)


def test_labels_that_do_not_fit(clips, store):
    classifier = AudioClassifier("logreg", encoder="tiny", store=store)
    with pytest.raises(ParameterError, match="2 paths but labels of shape"):
        classifier.fit(clips[0][:2], ["a"])
    with pytest.raises(DatasetError, match="at least two classes"):
        classifier.fit(clips[0][:2], ["a", "a"])


def test_names_of_columns_and_data_frames(clips, store):
    pd = pytest.importorskip("pandas", reason="needs pandas")
    embedder = AudioEmbedder("tiny", store=store)
    before = list(embedder.get_feature_names_out())
    frame = embedder.set_output(transform="pandas").fit_transform(pd.Series(clips[0][:3], index=[5, 6, 7]))
    assert list(frame.columns) == before == [f"audioembedder{i}" for i in range(192)]
    assert embedder.n_features_in_ == 1
    wide = AudioEmbedder("tiny", store=store, layer="all")
    assert len(wide.get_feature_names_out()) == 5 * 192 == wide.fit_transform(clips[0][:2]).shape[1]


def test_a_column_of_a_data_frame_keeps_its_name(clips, store):
    pd = pytest.importorskip("pandas", reason="needs pandas")
    from sklearn.compose import ColumnTransformer

    table = pd.DataFrame({"path": clips[0], "age": np.arange(24.0)})
    embedder = AudioEmbedder("tiny", store=store).fit(table[["path"]])
    classifier = AudioClassifier("logreg", encoder="tiny", store=store).fit(table[["path"]], clips[1])
    assert embedder.feature_names_in_.tolist() == classifier.feature_names_in_.tolist() == ["path"]
    renamed = table[["path"]].rename(columns={"path": "file"})
    for refuse in (embedder.transform, classifier.predict):
        with pytest.raises(ValueError, match="feature names should match"):
            refuse(renamed)
    np.testing.assert_array_equal(embedder.transform(table[["path"]]), embedder.transform(clips[0]))
    assert not hasattr(embedder.fit(clips[0]), "feature_names_in_")
    sound = ("sound", AudioEmbedder("tiny", store=store), ["path"])
    parts = ColumnTransformer([sound, ("rest", "passthrough", ["age"])])
    both = parts.set_output(transform="pandas").fit_transform(table)
    assert (both.shape, both.columns[0], both.columns[-1]) == ((24, 193), "sound__audioembedder0", "rest__age")


def test_a_pipeline_hands_weights_on(clips, store):
    import sklearn
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    weights = np.where(np.array(clips[1]) == "low", 5.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        head = LogisticRegression(C=0.01).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(AudioEmbedder("tiny", store=store), head).fit(*clips, sample_weight=weights)
    rows = AudioEmbedder("tiny", store=store).transform(clips[0])
    alone = LogisticRegression(C=0.01).fit(rows, clips[1], sample_weight=weights)
    np.testing.assert_allclose(pipeline.predict_proba(clips[0]), alone.predict_proba(rows), atol=1e-6)
    assert pipeline[:-1].get_feature_names_out()[-1] == "audioembedder191"


def test_logarithms_weights_seeds_and_numbers_of_numpy(clips, store, tmp_path):
    weights = [5.0 if label == "low" else 1.0 for label in clips[1]]
    classifier = AudioClassifier(
        "logreg", encoder="tiny", store=store, parameters={"C": np.float32(0.5)}, random_state=None
    )
    classifier.fit(*clips, sample_weight=weights)
    proba = classifier.predict_proba(clips[0][:4])
    np.testing.assert_allclose(classifier.predict_log_proba(clips[0][:4]), np.log(proba))
    assert classifier.n_features_in_ == 1
    unweighted = clone(classifier).fit(*clips)
    assert (classifier.predict_proba(clips[0])[:, 1] > unweighted.predict_proba(clips[0])[:, 1]).mean() > 0.8
    classifier.save(tmp_path / "m")
    assert Model.load(tmp_path / "m").parameters == {"C": 0.5}
    with pytest.raises(ParameterError, match="takes no sample_weight"):
        AudioClassifier("knn", encoder="tiny", store=store).fit(*clips, sample_weight=weights)


def test_metadata_is_routed(clips, store):
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        classifier = AudioClassifier("logreg", encoder="tiny", store=store)
        classifier.set_fit_request(groups=True, sample_weight=True).set_score_request(sample_weight=True)
        scores = cross_val_score(
            classifier, *clips, cv=2, params={"sample_weight": np.ones(24), "groups": np.arange(24)}
        )
    assert scores.mean() > 0.8


def test_fitted_ones_can_be_sent_to_other_processes(clips, store):
    import pickle

    for estimator in (AudioClassifier("mlp", encoder="tiny", store=store), AudioEmbedder("tiny", store=store)):
        sent = pickle.loads(pickle.dumps(estimator.fit(*clips)))
        answer = "predict_proba" if hasattr(sent, "predict_proba") else "transform"
        np.testing.assert_array_equal(getattr(sent, answer)(clips[0][:3]), getattr(estimator, answer)(clips[0][:3]))


@pytest.mark.parametrize("missing", [None, float("nan"), "pd.NA", "NaT"])
def test_a_missing_label_is_no_class(clips, store, missing):
    if missing == "pd.NA":
        missing = pytest.importorskip("pandas", reason="needs pandas").NA
    missing = np.datetime64("NaT") if isinstance(missing, str) else missing
    with pytest.raises(DatasetError, match=r"1 of 4 labels are missing \(None, NaN or NA\), row 2"):
        AudioClassifier("logreg", encoder="tiny", store=store).fit(clips[0][:4], ["a", "b", missing, "a"])


def test_samples_in_memory_are_clips_too(clips, store):
    import io
    from pathlib import Path

    import soundfile

    paths = clips[0][:4]
    samples = [soundfile.read(path, dtype="float32")[0] for path in paths]
    embedder = AudioEmbedder("tiny", sampling_rate=16_000)
    expected = embedder.transform(paths)
    mixed = [
        samples[0],
        {"array": samples[1], "sampling_rate": 16_000},
        io.BytesIO(Path(paths[2]).read_bytes()),
        paths[3],
    ]
    for X in (samples, mixed, [(one, 16_000) for one in samples]):
        assert np.array_equal(embedder.fit_transform(X), expected)
    table = np.stack([one[:8_000] for one in samples])
    assert embedder.fit_transform(table).shape == (4, 192)  # rows are clips, as scikit-learn has it
    classifier = AudioClassifier("logreg", encoder="tiny", sampling_rate=16_000).fit(table, list("abab"))
    assert classifier.predict(list(table)).tolist() == list("abab")
    assert clone(classifier).get_params()["sampling_rate"] == 16_000


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(800), "X is one clip"),
        ({"array": np.zeros(800), "sampling_rate": 16_000}, "X is one clip"),
        ([np.zeros(800)], "clip 0 has no sampling rate"),
        ([(np.full(800, np.nan), 16_000)], "clip 0 holds NaN"),
        ([None], "one or more paths"),
        (3, "one or more paths"),
        ((np.zeros(800), 16_000), "one or more paths"),
    ],
)
def test_what_is_no_list_of_clips(X, message):
    with pytest.raises(ParameterError, match=message):
        AudioEmbedder("tiny").fit_transform(X)


def test_a_store_is_of_files(tmp_path):
    with pytest.raises(ParameterError, match="leave store out"):
        AudioEmbedder("tiny", store=tmp_path / "emb.h5").transform([(np.zeros(800), 16_000)])
    assert not (tmp_path / "emb.h5").exists()


def test_frames_have_their_times(clips, tmp_path):
    import soundfile

    samples = soundfile.read(clips[0][0], dtype="float32")[0]
    frames, seconds = AudioEmbedder("tiny", layer="all").frames(clips[0][0])
    assert frames.shape == (len(seconds), 5 * 192)
    assert np.allclose(np.diff(seconds), 0.02)
    assert seconds[-1] < len(samples) / 16_000
    last, _ = AudioEmbedder("tiny", layer=-1, sampling_rate=16_000).frames(samples)
    assert np.array_equal(last, frames[:, -192:])
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(DecodeError, match=r"text\.wav"):
        AudioEmbedder("tiny", root=tmp_path).frames("text.wav")
    with pytest.raises(ClipTooShortError, match="clip 0: 100 samples are less than one frame of tiny"):
        AudioEmbedder("tiny", sampling_rate=16_000).frames(samples[:100])


def test_frames_of_an_encoder_that_fills_short_clips_up_end_with_the_clip(tmp_path):
    write_other(tmp_path / "encoder", "whisper-asr")
    encoder, clip = str(tmp_path / "encoder"), (np.random.default_rng(0).normal(0, 0.1, 8_000), 16_000)
    shapes = {p: AudioEmbedder(encoder, padding=p).frames(clip)[0].shape for p in ("none", "masked", "pooled")}
    assert shapes == dict.fromkeys(shapes, (25, 32))
