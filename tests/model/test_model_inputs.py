"""A model takes files, samples, bytes, columns and datasets alike, and answers one row each."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from embedx import AudioEmbedder, Dataset, Model, fit_model
from embedx.errors import DatasetError, ManifestError, ParameterError, SkippedSourcesWarning
from embedx.manifest import Manifest


@pytest.fixture(scope="module")
def paths(tone_folder):
    return [str(path) for name in ("high", "low") for path in sorted((tone_folder / name).glob("*.wav"))[:6]]


@pytest.fixture(scope="module")
def model(paths):
    embedded = AudioEmbedder("tiny", device="cpu").embed(paths)
    return fit_model(embedded.relabel([path.split("/")[-2] for path in paths]), "logreg")


@pytest.fixture(scope="module")
def expected(model, paths):
    return model.predict_proba(paths)


def same(found, expected):
    """Embeddings are equal to the last bit; the head's products are rounded by how many rows there are."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_one_clip_with_its_rate(model, paths, expected):
    samples, rate = soundfile.read(paths[0])
    same(model.predict_proba(samples, sampling_rate=rate), expected[:1])
    assert model.predict(samples.astype(np.float32), sampling_rate=rate).tolist() == ["high"]
    same(model.predict_proba((samples, rate)), expected[:1])
    stereo = np.stack([samples, samples])
    for given in (stereo, stereo.T):
        np.testing.assert_allclose(model.predict_proba(given, sampling_rate=rate), expected[:1], atol=1e-3)


def test_several_clips_of_every_kind(model, paths, expected):
    samples = [soundfile.read(path, dtype="float32")[0] for path in paths]
    same(model.predict_proba(samples, sampling_rate=16_000), expected)
    with open(paths[2], "rb") as file:
        clips = [
            {"array": samples[0], "sampling_rate": 16_000, "path": "a.wav"},
            {"bytes": Path(paths[1]).read_bytes(), "path": None},
            file,
            io.BytesIO(Path(paths[3]).read_bytes()),
            paths[4],
        ]
        found = model.predictions(clips)
    same(found.proba, expected[:5])
    assert [source.uri for source in found.sources][:3] == ["clip 0 (a.wav)", "clip 1", "clip 2 (2.wav)"]
    assert not any(found.errors)


def test_a_path_that_is_given_twice_has_two_rows(model, paths, expected):
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    twice = [paths[3], paths[0], paths[3]]
    for clips in (twice, iter(twice), pandas.Series(twice, index=[3, 1, 2]), np.array(twice)):
        same(model.predict_proba(clips), expected[[3, 0, 3]])
    assert [source.uri for source in model.embed(twice).sources] == [
        Manifest.from_paths([path])[0].uri for path in twice
    ]


def test_failures_are_rows_and_warned_of(model, paths):
    clips = [io.BytesIO(b"no audio"), (np.zeros(10), 16_000), paths[0]]
    with pytest.warns(SkippedSourcesWarning, match="2 of 3 clips have no prediction .clip 0: clip 0 cannot be decoded"):
        labels = model.predict(clips)
    assert labels.tolist() == [None, None, "high"]


@pytest.mark.parametrize(
    ("clips", "error", "says"),
    [
        ([], ManifestError, "there is no clip to label"),
        ("a.wav", ManifestError, "is the one path"),
        (np.zeros(16_000), ParameterError, "clip 0 has no sampling rate"),
        ([(np.full(16_000, np.nan), 16_000)], ParameterError, "clip 0 holds NaN"),
        (None, ParameterError, "is a NoneType"),
        ({"audio": 3}, ParameterError, "says nothing of audio"),
    ],
)
def test_what_is_no_clip(model, clips, error, says):
    with pytest.raises(error, match=says):
        model.predict(clips)


def test_embeddings_of_clips_are_a_dataset_that_the_model_takes(model, paths, expected):
    samples, rate = soundfile.read(paths[5])
    embedded = model.embed([paths[0], paths[5]])
    assert isinstance(embedded, Dataset)
    assert embedded.X.shape == (2, 5 * 192)
    assert np.array_equal(model.embed(samples, sampling_rate=rate).X, embedded.X[1:])
    same(model.predict_proba(embedded), expected[[0, 5]])
    with pytest.raises(DatasetError, match="no embedding"):
        model.embed([b"junk"])
    with pytest.raises(ManifestError, match="there is no clip"):
        model.embed([])


def test_a_loaded_model_and_one_in_processes_say_the_same(model, paths, expected, tmp_path):
    loaded = Model.load(model.save(tmp_path / "m"))
    np.testing.assert_allclose(loaded.predict_proba(paths, in_process=False), expected, atol=1e-3)


def test_datasets_of_hugging_face(model, paths, expected):
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    table = datasets.Dataset.from_dict({"audio": paths, "label": [0] * 12})
    decoded, raw = (table.cast_column("audio", datasets.Audio(decode=decode)) for decode in (True, False))
    inside = [{"audio": {"bytes": Path(path).read_bytes(), "path": None}} for path in paths]
    bytes_inside = datasets.Dataset.from_list(inside).cast_column("audio", datasets.Audio())
    for clips in (decoded, raw, decoded["audio"], raw["audio"], bytes_inside, decoded.to_iterable_dataset()):
        same(model.predict_proba(clips), expected)
    embedder = AudioEmbedder("tiny", device="cpu")
    assert np.array_equal(embedder.transform(raw), embedder.transform(paths))
    with pytest.raises(ManifestError, match=r"no column of audio .its columns: audio, label"):
        model.predict(table)


def test_decoded_columns_of_hugging_face(model, paths, expected):
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    column = datasets.Dataset.from_dict({"audio": paths}).cast_column("audio", datasets.Audio())["audio"]
    try:
        clips = list(column)
    except (ImportError, RuntimeError, OSError):
        pytest.skip("needs torchcodec and FFmpeg's libraries")
    same(model.predict_proba(clips), expected)
    same(model.predict_proba(clips[0]), expected[:1])
