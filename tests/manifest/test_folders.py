"""What of a folder is audio, what its folders mean, and a word on all that is left out."""

import os
import warnings

import pytest

from embedx import read_manifest
from embedx.errors import EmbedxWarning, ManifestError, SkippedSourcesWarning
from embedx.manifest.file_types import holds_audio
from embedx.testing import make_tone, write_wav


@pytest.fixture
def make(tmp_path):
    def make(*names, data=b"x"):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
        return tmp_path

    return make


def read(folder):
    """Read without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_manifest(folder)


def found(manifest):
    return [(source.uri, source.label, source.split) for source in manifest]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train/dog/1.wav", "test/dog/1.wav"], [("dog", "test"), ("dog", "train")]),
        (["dog/Train/1.wav", "cat/TEST/1.wav"], [("cat", "TEST"), ("dog", "Train")]),
        (["data/train/dog/1.wav", "data/val/cat/1.wav"], [("dog", "train"), ("cat", "val")]),
        (["x/y/train/dog/1.wav", "x/y/dev/cat/s1/1.wav"], [("cat", "dev"), ("dog", "train")]),
        (["fold1/dog/1.wav", "fold_2/cat/1.wav"], [("dog", "fold1"), ("cat", "fold_2")]),
        (["training_set/dog/1.wav", "Test Set/cat/1.wav"], [("cat", "Test Set"), ("dog", "training_set")]),
        (["fold1/1.wav", "fold2/2.wav"], [(None, "fold1"), (None, "fold2")]),
        (["train/dog/1.wav", "train/cat/1.wav"], [("cat", "train"), ("dog", "train")]),
        (["eval/dog/1.wav", "train/2.wav"], [("dog", "eval"), (None, "train")]),
    ],
)
def test_folders_that_are_parts_are_taken_as_parts(make, names, expected):
    manifest = read(make(*names))
    assert [(label, split) for _, label, split in found(manifest)] == expected
    assert any(note.startswith("parts: ") for note in manifest.notes)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["train/1.wav", "car/1.wav"], ["car", "train"]),  # the vehicle
        (["dog/s1/1.wav", "cat/s1/1.wav"], ["cat", "dog"]),
        (["test/1.wav"], ["test"]),
        (["1.wav"], [None]),
    ],
)
def test_other_folders_are_labels_as_ever(make, names, labels):
    manifest = read(make(*names))
    assert [(source.label, source.split) for source in manifest] == [(label, None) for label in labels]
    assert manifest.notes == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/a/1.wav", "test/a/1.wav", "extra/a/1.wav"], "'test', 'train' look like parts .* 'extra' does not"),
        (["train/a/1.wav", "test/a/1.wav", "1.wav"], "look like parts of a data set, but files lie beside them"),
    ],
)
def test_folders_that_are_parts_and_others_are_refused(make, names, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(make(*names))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train-clean-100/1.wav", "dev-clean/1.wav"], "'dev-clean', 'train-clean-100' became labels"),
        (["audio/dog/1.wav", "audio/cat/1.wav"], "every clip is labelled 'audio'.*give .*/audio"),
        (["dog/train/1.wav", "dog/test/1.wav", "cat/1.wav"], "'test', 'train' in some of the labels' folders"),
        (["trainval/1.wav", "test/1.wav"], "'test', 'trainval' became labels"),
        (["esc_train/1.wav", "esc_test/1.wav"], "'esc_test', 'esc_train' became labels"),
        (["1_train/dog/1.wav", "2_test/dog/1.wav"], "'1_train', '2_test' became labels"),
        ([f"{a}/{b}/1.wav" for a in ("tr", "te") for b in ("dog", "cat")], "'te', 'tr' became .* hold .* 'cat', 'dog'"),
        (
            [f"{a}/{b}/1.wav" for a in "123" for b in ("dog", "cat")],
            "'1', '2', '3' became labels, and all of them hold",
        ),
        ([f"dog/{a}/1.wav" for a in "ab"] + [f"cat/{a}/1.wav" for a in "abc"], "'cat', 'dog' .*'a', 'b'.* speakers"),
        (
            [f"{part}/{who}/{kind}/1.wav" for part in ("train", "test") for who in "ab" for kind in ("dog", "cat")],
            "the folders 'a', 'b' became labels, and all of them hold the folders 'cat', 'dog'",
        ),
    ],
)
def test_folders_that_may_be_meant_otherwise_are_a_warning(make, names, message):
    with pytest.warns(EmbedxWarning, match=message):
        read_manifest(make(*names))


def test_folders_within_labels_that_are_not_the_same_are_no_doubt(make):
    read(make("dog/anna/1.wav", "dog/bert/1.wav", "cat/carl/1.wav", "cat/dora/1.wav", "dog/wav/1.wav", "cat/wav/1.wav"))


def test_every_ending_of_audio_is_taken(make):
    names = ["a/1.sph", "a/2.aifc", "b/3.WV", "b/4.w64", "b/5.3gp"]
    assert [source.uri for source in read(make(*names))] == sorted(names)


def test_a_file_without_ending_is_taken_if_it_begins_as_audio_does(make):
    folder = make("dog/README", "dog/XC999", data=b"hello")
    write_wav(str(folder / "dog/1.wav"), make_tone(300.0, seconds=0.1, noise=0.0, seed=0))
    os.replace(folder / "dog/1.wav", folder / "dog/XC12345")
    with pytest.warns(SkippedSourcesWarning, match="do not begin as audio does were left out: 2 without ending"):
        assert [source.uri for source in read_manifest(folder)] == ["dog/XC12345"]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"NIST_1A\n   1024\n", True),
        (b"\xff\xfb\x90\x64", True),
        (b"\xff\xf1\x50\x80", True),
        (b"\x00\x00\x00\x18ftypmp42", True),
        (b"\x00\x00\x00\x18ftypheic", False),
        (b"RIFF\x00\x00\x00\x00WEBP", False),
        (b"\xff\xfep\x00a\x00", False),  # UTF-16
        (b"\xff\xd8\xff\xe0", False),
        (b"", False),
    ],
)
def test_first_bytes_tell_sound_from_pictures_and_text(tmp_path, head, expected):
    (tmp_path / "x").write_bytes(head + b"\0" * 20 if head else b"")
    assert holds_audio(tmp_path / "x") is expected


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not holds_audio(tmp_path / "pipe")


def test_a_class_that_vanishes_is_named(make):
    folder = make("dog/1.wav", "frog/1.raw", "frog/2.raw", "labels.csv", "empty/deep/x.txt")
    with pytest.warns(
        SkippedSourcesWarning, match=r"no audio was found in 'empty', 'frog'; left out as no audio: 2 .raw"
    ):
        manifest = read_manifest(folder)
    assert manifest.left_out == {".raw": 2, ".csv": 1, ".txt": 1}


def test_documents_beside_the_clips_are_a_note_and_no_warning(make):
    manifest = read(make("dog/1.wav", "dog/notes.txt", "README.md"))
    assert manifest.notes == ("no audio by ending or first bytes, left out: 1 .md, 1 .txt",)


def test_names_and_folders_that_cannot_be_followed_are_counted(make, tmp_path_factory):
    folder = make("dog/1.wav")
    (folder / "cat").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    (folder / "dog" / "b\udcff.wav").write_bytes(b"x")
    with pytest.warns(SkippedSourcesWarning) as caught:
        manifest = read_manifest(folder)
    texts = " ".join(str(one.message) for one in caught)
    assert "not UTF-8: 1 file (dog/b\\xff.wav)" in texts
    assert "links or may not be read: the folders 'cat'" in texts
    assert manifest.n_bad_names == 1


def test_what_folders_may_be_named_as_parts_a_split_reads():
    from embedx.evaluation.split_names import _NAMES, read_split
    from embedx.manifest.split_folders import is_part

    words = {word for names in _NAMES.values() for word in names} - {"train"}
    assert all(is_part(word) for word in words)
    for word in words:
        read = read_split(["train", word])
        assert not read.folds
        assert len(read.train) + len(read.valid) + len(read.test) == 2
        assert not read_split(["train", f"{word} set"]).folds
    assert set(read_split(["fold1", "fold2"]).folds) == {"fold1", "fold2"}
    assert is_part("fold1")


@pytest.mark.parametrize(
    "pair", [("in", "out"), ("Seen", "UNSEEN"), ("in-domain", "out-of-domain"), ("source", "target")]
)
def test_folders_that_may_be_parts_or_labels_are_refused_when_folders_are_in_them(pair, make):
    folder = make(*(f"{name}/{label}/a.wav" for name in pair for label in ("dog", "cat")))
    with pytest.raises(ManifestError, match="may be parts of a data set or labels: name them train and test"):
        read_manifest(folder)


def test_such_folders_are_labels_where_nothing_makes_them_parts(make):
    assert [source.label for source in read(make("in/a.wav", "out/a.wav"))] == ["in", "out"]
    assert [source.label for source in read(make("still/monday/a.wav"))] == ["in", "out", "still"]
