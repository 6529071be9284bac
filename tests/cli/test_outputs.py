"""An output that cannot be written is one line before any computing, whichever command writes it."""

import os
import signal

import pytest

from embedx.cli import main
from embedx.cli.outputs import require_output
from embedx.errors import ParameterError

WRITERS = {
    "quickstart": ["quickstart", "-o"],
    "download": ["download", "links.csv"],
    "extract": ["extract", "clips", "-o"],
    "inspect": ["inspect", "emb.h5", "-o"],
    "compare": ["compare", "emb.h5", "-o"],
    "tune": ["tune", "emb.h5", "--json"],
    "fit": ["fit", "emb.h5", "-o"],
    "predict": ["predict", "model", "a.wav", "--csv"],
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


@pytest.fixture
def in_time():
    """What waits for ever, such as for the reader of a pipe, is an error."""

    def stop(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


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
