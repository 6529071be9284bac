"""``embedx extract --dry-run``: clips, hours, classes, groups and roles of columns, and nothing written."""

import argparse

import numpy as np
import pytest

from embedx.cli import main
from embedx.cli.manifest_options import read_labels
from embedx.dataset import load_embeddings
from embedx.errors import DatasetError, ManifestError
from embedx.files import hash_file
from embedx.manifest import read_manifest
from embedx.recipe import Recipe
from embedx.store.rows import Embedded, FileStamp
from embedx.store.store import EmbeddingStore
from embedx.testing import make_tone, write_wav


@pytest.fixture
def folder(tmp_path):
    for label, seconds in (("dog", 4.0), ("cat", 12.0)):
        (tmp_path / "clips" / label).mkdir(parents=True)
        write_wav(str(tmp_path / "clips" / label / "1.wav"), make_tone(300.0, seconds=seconds, noise=0.0, seed=0))
    return tmp_path / "clips"


def lines_of(capsys, *words):
    assert main(["extract", *map(str, words), "--dry-run"]) == 0
    return capsys.readouterr().out.splitlines()


def test_it_says_what_would_be_done_and_writes_nothing(folder, capsys):
    (folder / "notes.txt").write_text("x")
    before = sorted(folder.parent.rglob("*"))
    lines = lines_of(capsys, folder, "-o", folder.parent / "e.h5", "--encoder", "tiny")
    assert sorted(folder.parent.rglob("*")) == before
    for expected in (
        "no audio by ending or first bytes, left out: 1 .txt",
        "clips: 2; files: 2; segments of files: 0",
        "labels: 2: cat (1), dog (1)",
        "audio: 16.0 s (by headers and segments)",
        "dry run: nothing was computed or written",
    ):
        assert expected in lines
    assert any(line.startswith("disk: about") and "3 windows of 10 s (5 layers of 192" in line for line in lines)
    assert any(line.startswith("time: not known") for line in lines)


def test_it_names_the_roles_of_columns_and_needs_no_output(folder, capsys):
    table = folder / "clips.csv"
    table.write_text(
        "path,label,speaker,split,start_time,end_time,note\ndog/1.wav,dog,x,train,0,1.5,-\ncat/1.wav,cat,y,test,0,2,-\n"
    )
    lines = lines_of(capsys, table, "--encoder", "tiny")
    roles = (
        "path = 'path', label = 'label', group = 'speaker', split = 'split', start = 'start_time', stop = 'end_time'"
    )
    for expected in (
        f"columns: {roles} (not read: 'note')",
        "clips: 2; files: 2; segments of files: 2",
        "groups: 2",
        "parts: 2: train (1), test (1)",
        "audio: 3.5 s (by headers and segments)",
    ):
        assert expected in lines


@pytest.fixture
def store(folder):
    """A store that has rows of both clips."""
    manifest = read_manifest(folder)
    recipe = Recipe(encoder="tiny", revision="bundled", weights_sha256="ab" * 32, layers=(0, 2))
    with EmbeddingStore(folder.parent / "e.h5", recipe, root=manifest.root) as store:
        for source in manifest:
            rows, control, zero = np.ones((1, 2, 4), np.float32), np.ones((1, 128), np.float32), np.zeros(1)
            digest = hash_file(manifest.path_of(source))
            status = manifest.path_of(source).stat()
            stamp = FileStamp(digest, status.st_size, status.st_mtime_ns)
            store.append([Embedded(source, stamp, rows, control, zero, zero + 1)], environment={})
        store.publish()
    return folder.parent / "e.h5"


def test_it_counts_what_a_store_has_already(folder, store, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")}
    lines = lines_of(capsys, folder, "-o", store)
    assert {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")} == before
    assert f"{store}: has 2 of these clips; they are computed again only where a file has changed" in lines
    assert main(["extract", str(folder), "-o", str(store), "--dry-run", "--pooling", "mean+std"]) == 2
    assert "was made by another recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("path,language\ndog/1.wav,en\n", ManifestError, "nothing was read as the label: .*'language'"),
        ("path,label\nDOG/1.wav,en\n", DatasetError, r"first clip: .*/cat/1\.wav, first label row: .*/DOG/1\.wav"),
        ("path,label,start,stop\ndog/1.wav,en,0,1\n", DatasetError, r"first label row: .*dog/1\.wav#0-1\)"),
        ("path,label\ndog/1.wav,\nx.wav,y\n", DatasetError, "the labels name have no label there"),
    ],
)
@pytest.mark.filterwarnings("ignore::embedx.errors.EmbedxWarning")
def test_labels_that_fit_no_clip_say_what_is_wrong(folder, store, text, kind, message):
    table = folder / "labels.csv"
    table.write_text(text)
    with pytest.raises(kind, match=message):
        load_embeddings(store, labels=table)


def test_an_encoder_that_is_not_here_is_not_fetched(folder, capsys):
    lines = lines_of(capsys, folder, "--encoder", "nobody/there-is-no-such")
    assert any("disk: not known, nobody/there-is-no-such has not been fetched yet" in line for line in lines)


def test_a_name_that_is_no_text_ends_with_exit_code_3(folder, capsys):
    (folder / "dog" / "b\udcff.wav").write_bytes(b"x")
    assert main(["extract", str(folder), "--dry-run", "--encoder", "tiny"]) == 3
    assert "names are not UTF-8: 1 file" in capsys.readouterr().err


def test_without_a_dry_run_an_output_is_needed(folder, capsys):
    assert main(["extract", str(folder)]) == 2
    assert "no output was named" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::embedx.errors.EmbedxWarning")
def test_labels_without_a_label_column_blame_the_column(folder):
    table = folder / "clips.csv"
    table.write_text("path,language\ndog/1.wav,en\ncat/1.wav,es\n")
    columns = dict.fromkeys(("label_column", "group_column", "start_column", "stop_column", "duration_column"))
    with pytest.raises(ManifestError, match=r"clips\.csv: nothing was read as the label: .*--label-column: 'language'"):
        read_labels(argparse.Namespace(labels=str(table), **columns))
    labels = read_labels(argparse.Namespace(labels=str(table), **columns | {"label_column": "language"}))
    assert [source.label for source in labels] == ["en", "es"]
