"""Datasets of Hugging Face's library are tables whose paths lie in an Audio column; nothing is decoded."""

import pytest

from embedx.errors import ManifestError
from embedx.manifest import Manifest
from embedx.testing import make_tone, write_wav

datasets = pytest.importorskip("datasets", reason="needs datasets")


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        write_wav(str(tmp_path / f"{name}.wav"), make_tone(440.0, seconds=0.1))
    return tmp_path


def table(folder, **columns):
    paths = [str(folder / f"{name}.wav") for name in "abc"]
    return datasets.Dataset.from_dict({"audio": paths, **columns}).cast_column("audio", datasets.Audio())


@pytest.mark.parametrize("is_streamed", [False, True])
def test_class_labels_become_names_and_columns_are_guessed_as_in_a_csv(folder, is_streamed):
    dataset = table(folder, label=[1, 0, -1], speaker=["x", "y", None], start=[0.0, 0.01, 0.0], notes=[[1], [2], [3]])
    dataset = dataset.cast_column("label", datasets.ClassLabel(names=["cat", "dog"]))
    manifest = Manifest.from_dataset(dataset.to_iterable_dataset() if is_streamed else dataset, root=folder)
    rows = [(source.id, source.label, source.group) for source in manifest]
    assert rows[:2] == [("a.wav", "dog", "x"), ("b.wav#0.01-", "cat", "y")]
    assert rows[2][0] == "c.wav"
    assert rows[2][2] is None
    assert manifest.columns["path"] == "audio"


def test_columns_are_named_as_in_a_csv(folder):
    manifest = Manifest.from_dataset(table(folder, kind=["x", "y", "z"]), label_column="kind", root=folder)
    assert [source.label for source in manifest] == ["x", "y", "z"]
    with pytest.raises(ManifestError, match="unknown argument 'labels_column'"):
        Manifest.from_dataset(table(folder), labels_column="x")


def test_audio_that_lies_in_no_file_is_refused(folder):
    inside = [{"audio": {"bytes": (folder / "a.wav").read_bytes(), "path": "a.wav"}}]
    dataset = datasets.Dataset.from_list(inside).cast_column("audio", datasets.Audio())
    with pytest.raises(ManifestError, match="the audio of row 0 lies in no file: give the dataset to Model"):
        Manifest.from_dataset(dataset)


def test_files_that_are_missing(folder):
    dataset = table(folder)
    (folder / "b.wav").unlink()
    with pytest.raises(ManifestError, match="1 of 3 files are missing"):
        Manifest.from_dataset(dataset)


def test_which_column_holds_audio(folder):
    paths = [str(folder / "a.wav")]
    two = datasets.Dataset.from_dict({"near": paths, "far": paths})
    with pytest.raises(ManifestError, match="no column of audio"):
        Manifest.from_dataset(two)
    for name in ("near", "far"):
        two = two.cast_column(name, datasets.Audio())
    with pytest.raises(ManifestError, match="several columns of audio"):
        Manifest.from_dataset(two)
    assert len(Manifest.from_dataset(two, audio_column="far")) == 1
    with pytest.raises(ManifestError, match="unknown column of audio 'fra': did you mean 'far'"):
        Manifest.from_dataset(two, audio_column="fra")
