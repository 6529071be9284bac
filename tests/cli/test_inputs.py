"""A pipe that nobody writes to, a socket or a device is refused at once, wherever a file is to be read."""

import os
import shutil
import socket

import pytest

from embedx.cli import main
from embedx.files import special_kind
from embedx.store.part_files import PartsFolder

READERS = {
    "extract": ["extract", "IT", "-o", "e.h5", "--encoder", "tiny"],
    "inspect": ["inspect", "IT"],
    "inspect --labels": ["inspect", "STORE", "--labels", "IT"],
    "compare": ["compare", "IT"],
    "compare --labels": ["compare", "STORE", "--labels", "IT"],
    "fit": ["fit", "IT", "-o", "m"],
    "fit --head finetune": ["fit", "IT", "--head", "finetune", "--encoder", "tiny", "-o", "m"],
    "fit --labels": ["fit", "STORE", "--labels", "IT", "-o", "m"],
    "tune": ["tune", "IT"],
    "tune --study": ["tune", "STORE", "--study", "IT", "--trials", "1"],
    "predict MODEL": ["predict", "IT", "a.wav"],
    "predict CLIPS": ["predict", "MODEL", "IT"],
    "info": ["info", "IT"],
    "merge": ["merge", "IT", "STORE", "-o", "e.h5"],
    "export": ["export", "IT", "--onnx", "m.onnx"],
    "download": ["download", "IT", "clips"],
    "download --cookies": ["download", "LINKS", "clips", "--cookies", "IT"],
}


@pytest.fixture(scope="module")
def things(tone_model, tmp_path_factory):
    links = tmp_path_factory.mktemp("things") / "links.csv"
    links.write_text("url,label\nhttps://example.org/a.wav,a\n")
    return {"STORE": tone_model / "emb.h5", "MODEL": tone_model / "model", "LINKS": links}


@pytest.fixture
def special(tmp_path):
    """One of each, and what messages call them."""
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(tmp_path / "socket"))
    yield {"a pipe": tmp_path / "pipe", "a socket": tmp_path / "socket", "a device": "/dev/zero"}
    server.close()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a device"])
def test_what_is_no_file_is_one_line_in_every_command(
    reader, kind, things, special, tmp_path, monkeypatch, capsys, in_time
):
    named = {**things, "IT": special[kind]}
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main([str(named.get(word, word)) for word in READERS[reader]]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert kind in error
    assert str(special[kind])[-20:] in error
    assert sorted(os.listdir(tmp_path)) == ["pipe", "socket"]


def test_verify_says_what_is_no_file(special, capsys, in_time):
    for kind, place in special.items():
        assert main(["verify", str(place)]) == 2
        assert kind in capsys.readouterr().out


def test_a_pipe_of_the_shell_is_read(things, tmp_path, capsys, in_time):
    reader, writer = os.pipe()
    os.write(writer, b"path,label\n")
    os.close(writer)
    assert main(["extract", f"/dev/fd/{reader}", "-o", str(tmp_path / "e.h5"), "--encoder", "tiny"]) == 2
    assert "no rows" in capsys.readouterr().err
    os.close(reader)


def test_a_pipe_among_the_parts_of_a_store_is_one_line(things, tmp_path, capsys, in_time):
    store = shutil.copy(things["STORE"], tmp_path / "emb.h5")
    parts = tmp_path / "emb.h5.parts"
    parts.mkdir()
    for name in ("identity.json", f"{'0' * 20}-{'a' * 32}-10-00000000.h5"):
        os.mkfifo(parts / name)
        for words in (["info"], ["verify"], ["merge", "-o", str(tmp_path / "new.h5")]):
            assert main([*words, str(store)]) == 2
            assert "is a pipe, not a file: move" in capsys.readouterr().err
        os.unlink(parts / name)
    assert PartsFolder(tmp_path / "emb.h5").parts() == []


def test_a_link_to_a_device_is_a_device(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert special_kind(tmp_path / "zero") == "a device"


@pytest.mark.parametrize(
    "reader", [reader for reader in READERS if reader not in ("tune --study", "download --cookies")]
)
@pytest.mark.parametrize("name", ["a\0b", "n" * 300, "p/" * 3000])
def test_a_name_that_no_file_can_have_is_one_line(reader, name, things, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main([str({**things, "IT": name}.get(word, word)) for word in READERS[reader]]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cannot be read" in error
    assert len(error) < 300


def test_a_list_that_is_no_text_is_not_read_to_its_end(tmp_path, capsys):
    place = tmp_path / "clips.csv"
    with place.open("wb") as file:
        file.truncate(10**12)
    assert main(["extract", str(place), "-o", str(tmp_path / "e.h5"), "--encoder", "tiny"]) == 2
    assert "is not text (it has NUL bytes)" in capsys.readouterr().err
