"""An output that cannot be written is one line before any computing, whichever command writes it."""

import hashlib
import os
import shutil
import signal

import pytest

from embedx.child_process import interrupted_by_sigterm
from embedx.cli import main
from embedx.cli.output_paths import require_output
from embedx.cli.predict import _replaced
from embedx.errors import Interrupted, ParameterError

WRITERS = {
    "quickstart": ["quickstart", "-o"],
    "download": ["download", "links.csv"],
    "extract": ["extract", "clips", "-o"],
    "inspect": ["inspect", "emb.h5", "-o"],
    "compare": ["compare", "emb.h5", "-o"],
    "tune": ["tune", "emb.h5", "--json"],
    "fit": ["fit", "emb.h5", "-o"],
    "predict": ["predict", "model", "a.wav", "--csv"],
    "label": ["label", "emb.h5", "-o"],
    "merge": ["merge", "a.h5", "b.h5", "-o"],
    "export": ["export", "model", "--onnx"],
}


def make_bad_place(kind, folder):
    place = folder / "out"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        os.symlink("/dev/sda-or-none" if not os.path.exists("/dev/null") else "/dev/null", place)
    elif kind == "loop":
        os.symlink(place, place)
    elif kind == "long name":
        place = folder / ("n" * 256)
    elif kind == "below a file":
        place.write_text("mine")
        place = place / "below" / "deep"
    elif kind == "long name below what is missing":
        place = folder / "missing" / ("n" * 256)
    return place


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize(
    "kind", ["pipe", "device", "loop", "long name", "below a file", "long name below what is missing"]
)
def test_bad_places_are_refused_by_every_command_in_one_line(command, kind, tmp_path, capsys, in_time, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = make_bad_place(kind, tmp_path)
    assert main([*WRITERS[command], str(place)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cannot be written" in error
    assert str(place)[-20:] in error


@pytest.mark.parametrize(("kind", "word"), [("file", "folder"), ("store", "folder"), ("folder", "file")])
def test_a_file_is_no_folder_and_a_folder_no_file(kind, word, tmp_path):
    place = tmp_path / "out"
    place.mkdir() if word == "folder" else place.write_text("mine")
    with pytest.raises(ParameterError, match=f"it is a {word}"):
        require_output(place, kind, option="-o")


@pytest.mark.parametrize("kind", ["file", "store", "folder"])
def test_good_places_are_left_as_they_are(kind, tmp_path):
    require_output(tmp_path / "new", kind, option="-o")
    require_output(tmp_path / "folder" / "new", kind, option="-o")
    os.symlink(tmp_path / "elsewhere", tmp_path / "link")
    require_output(tmp_path / "link", kind, option="-o")
    old = tmp_path / "old"
    old.mkdir() if kind == "folder" else old.write_text("older")
    require_output(old, kind, option="-o")
    require_output(tmp_path / ("n" * 235), kind, option="-o")
    assert sorted(os.listdir(tmp_path)) == ["link", "old"]


def test_a_store_needs_room_for_the_name_of_its_parts(tmp_path):
    require_output(tmp_path / ("n" * 249), "store", option="-o")
    with pytest.raises(ParameterError, match="too long"):
        require_output(tmp_path / ("n" * 250), "store", option="-o")


def test_rows_may_go_to_standard_output(tmp_path):
    require_output("/dev/stdout", "file", option="--csv")
    with pytest.raises(ParameterError, match="not a file"):
        require_output("/dev/null", "store", option="-o")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
@pytest.mark.parametrize("kind", ["file", "store", "folder"])
def test_a_folder_without_permission(kind, tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(ParameterError, match="no permission"):
        require_output(tmp_path / "out", kind, option="-o")
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_no_name_at_all(text):
    with pytest.raises(ParameterError, match="empty or has a NUL"):
        require_output(text, "file", option="--csv")


@pytest.mark.parametrize("command", ["inspect", "tune"])
def test_a_file_of_another_kind_is_not_replaced(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips.csv").write_text("path,label\na.wav,dog\n")
    assert main([*WRITERS[command], "clips.csv"]) == 2
    assert (tmp_path / "clips.csv").read_text() == "path,label\na.wav,dog\n"
    assert "clips.csv cannot be written: a file of another kind lies there" in capsys.readouterr().err


OVER_INPUTS = {
    "extract over its list": ["extract", "clips.csv", "-o", "clips.csv", "--overwrite"],
    "extract over its folder": ["extract", "clips", "-o", "clips"],
    "extract with its log over its list": ["extract", "clips.csv", "-o", "new.h5", "--log-file", "clips.csv"],
    "extract with a log where the store goes": ["extract", "clips.csv", "-o", "new.h5", "--log-file", "./new.h5"],
    "inspect over the store": ["inspect", "emb.h5", "-o", "emb.h5"],
    "inspect over the labels": ["inspect", "emb.h5", "--labels", "clips.csv", "-o", "link.csv"],
    "compare over the store": ["compare", "emb.h5", "-o", "emb.h5"],
    "tune over the store": ["tune", "emb.h5", "--json", "emb.h5"],
    "tune with the store as study": ["tune", "emb.h5", "--study", "emb.h5"],
    "tune with the labels as study": ["tune", "emb.h5", "--labels", "clips.csv", "--study", "clips.csv"],
    "tune over its study": ["tune", "emb.h5", "--study", "sqlite:///study.db", "--json", "study.db"],
    "tune over a model": ["tune", "emb.h5", "--json", "model/model.json", "--trials", "1"],
    "fit over the store": ["fit", "emb.h5", "-o", "emb.h5", "--overwrite"],
    "fit over the audio": ["fit", "clips", "--head", "finetune", "--encoder", "tiny", "-o", "clips", "--overwrite"],
    "fit over its encoder": [
        "fit",
        "clips",
        "--head",
        "finetune",
        "--encoder",
        "./model",
        "-o",
        "model",
        "--overwrite",
    ],
    "predict over its list": ["predict", "model", "clips.csv", "--csv", "clips.csv"],
    "predict over an earlier prediction that it reads": ["predict", "model", "rows.csv", "--csv", "rows.csv"],
    "predict over the store": ["predict", "model", "emb.h5", "--csv", "emb.h5"],
    "predict into the model": ["predict", "model", "clips.csv", "--csv", "model/rows.csv"],
    "merge one store twice": ["merge", "emb.h5", "./emb.h5", "-o", "new.h5"],
    "export over the model": ["export", "model", "--onnx", "model"],
    "export over the model's record": ["export", "model", "--onnx", "model/model.json"],
    "export over another model's record": ["export", "model", "--onnx", "other/model.json"],
    "download over its list": ["download", "links.csv", "links.csv"],
    "info with its log over the store": ["info", "emb.h5", "--log-file", "emb.h5"],
}


@pytest.fixture(scope="module")
def inputs(tone_folder, tone_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    shutil.copytree(tone_folder, folder / "clips")
    paths = sorted(str(path.relative_to(folder)) for path in (folder / "clips").rglob("*.wav"))
    (folder / "clips.csv").write_text("path,label\n" + "".join(f"{path},{path.split('/')[1]}\n" for path in paths))
    (folder / "rows.csv").write_text("path,label,probability,error\n" + "".join(f"{path},a,1.0,\n" for path in paths))
    (folder / "link.csv").symlink_to("clips.csv")
    (folder / "links.csv").write_text("url,label\nhttps://example.org/a.wav,a\n")
    shutil.copy(tone_model / "emb.h5", folder)
    for name in ("model", "other"):
        shutil.copytree(tone_model / "model", folder / name)
    return folder


def hash_all(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("case", OVER_INPUTS)
def test_an_output_that_is_an_input_is_refused_and_nothing_is_lost(case, inputs, capsys, monkeypatch):
    monkeypatch.chdir(inputs)
    before = hash_all(inputs)
    capsys.readouterr()
    assert main(OVER_INPUTS[case]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert hash_all(inputs) == before


def test_a_store_may_be_merged_into_one_of_the_inputs(inputs, tmp_path, capsys):
    one, two = (str(shutil.copy(inputs / "emb.h5", tmp_path / name)) for name in ("one.h5", "two.h5"))
    assert main(["merge", one, two, "-o", one]) == 0
    assert main(["verify", one]) == 0


def test_a_head_and_its_folder_may_have_one_name(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["fit", str(inputs / "emb.h5"), "--head", "majority", "-o", "majority", "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda: signal.raise_signal(signal.SIGINT), Interrupted),
        (lambda: signal.raise_signal(signal.SIGTERM), Interrupted),
        (lambda: os.fspath(["no", "path"]), TypeError),
        (lambda: require_output("", "file", option="-o"), ParameterError),
    ],
    ids=["ctrl-c", "sigterm", "bug", "error"],
)
def test_predicted_rows_are_kept_however_the_work_ends(tmp_path, end, expected, capsys):
    place = tmp_path / "rows.csv"
    place.write_text("path,label,probability\nold.wav,a,1.0\n")
    with pytest.raises(expected) as caught:
        _write_rows(place, end)
    assert (tmp_path / "rows.csv.partial").read_text().endswith("new.wav,b,1.0\n")
    assert "old.wav" in place.read_text()
    assert "rows.csv.partial, and" in str(caught.value) + capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv", "rows.csv.partial"]


def _write_rows(place, end):
    with interrupted_by_sigterm(), _replaced(str(place)) as stream:
        stream.write("path,label,probability\nnew.wav,b,1.0\n")
        end()


def test_nothing_is_kept_of_no_rows(tmp_path):
    with pytest.raises(Interrupted, match="no rows yet"), _replaced(str(tmp_path / "rows.csv")):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
