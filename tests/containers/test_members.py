"""A member of a container is read as the file that it was: the same bytes, samples, sizes and errors."""

import os
import tarfile
import tracemalloc

import numpy as np
import pytest
import soundfile

from embedx.audio.decode import decode
from embedx.audio.headers import read_duration
from embedx.containers.clip_files import hash_clip, is_clip, open_clip, split_member, stamp_clip, stat_clip
from embedx.containers.tar_archive import TarArchive
from embedx.errors import DecodeError
from embedx.manifest import read_manifest

WAYS = ["tar", "parquet"]


@pytest.fixture
def put(tmp_path, pack_tar, write_parquet):
    """``put(way, [(name, bytes), ...])`` -> the path of each member."""

    def put(way, members):
        if way == "tar":
            place = pack_tar(tmp_path / "a.tar", members)
            return [f"{place}/{name}" for name, _ in members]
        place = write_parquet(tmp_path / "a.parquet", [(content, name, "x") for name, content in members], ["x"])
        return [f"{place}/{row:07}/{name}" for row, (name, _) in enumerate(members)]

    return put


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "aiff", "caf", "w64", "au"])
def test_the_samples_of_a_member_are_those_of_the_file(tmp_path, put, way, ending):
    samples = np.random.default_rng(0).normal(0, 0.1, (30_000, 2))
    names = [f"{i}.{ending}" for i in range(3)]
    for i, name in enumerate(names):
        soundfile.write(tmp_path / name, samples[: 30_000 - 5_000 * i], 22_050)
    members = put(way, [(name, (tmp_path / name).read_bytes()) for name in names])
    for name, member in zip(names, members, strict=True):
        for times in ({}, {"start_seconds": 0.3, "stop_seconds": 0.7}, {"start_seconds": 0.5}):
            assert np.array_equal(decode(member, **times), decode(tmp_path / name, **times))
        assert read_duration(member) == read_duration(tmp_path / name)
        assert hash_clip(member) == hash_clip(tmp_path / name)


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_member_is_refused_as_its_file_is_and_the_others_are_read(tmp_path, put, clips, way):
    whole = next(iter(clips.values()))
    members = put(way, [("a.wav", whole), ("half.wav", whole[: len(whole) // 2]), ("no.wav", b"words " * 99)])
    for name, content in (("half.wav", whole[: len(whole) // 2]), ("no.wav", b"words " * 99)):
        (tmp_path / name).write_bytes(content)
    assert len(decode(members[0]))
    for member in members[1:]:
        with pytest.raises(DecodeError) as of_member:
            decode(member)
        plain = str(tmp_path / os.path.basename(member))
        with pytest.raises(DecodeError) as of_file:
            decode(plain)
        assert str(of_member.value).replace(member, "") == str(of_file.value).replace(plain, "")


def test_an_open_member_ends_where_it_ends(pack_tar, tmp_path):
    place = pack_tar(tmp_path / "a.tar", [("x.wav", b"0123456789"), ("y.wav", b"others"), ("z.wav", b"")])
    with open_clip(f"{place}/x.wav") as file:
        assert (file.read(4), file.seek(-2, os.SEEK_END), file.read(), file.tell()) == (b"0123", 8, b"89", 10)
        assert (file.seek(50), file.read(1), file.name) == (50, b"", f"{place}/x.wav")
        with pytest.raises(OSError, match="Invalid"):
            file.seek(-1)
    assert stamp_clip(f"{place}/y.wav")[1:] == (6, os.stat(place).st_mtime_ns)
    assert stat_clip(f"{place}/z.wav").size == 0
    with pytest.raises(DecodeError, match="is empty"):
        decode(f"{place}/z.wav")


def test_what_is_no_member(pack_tar, tmp_path):
    place = pack_tar(tmp_path / "a.tar", [("x.wav", b"1")])
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "folder.tar" / "x.wav").write_bytes(b"file")
    assert split_member(tmp_path / "folder.tar" / "x.wav") is None
    with open_clip(tmp_path / "folder.tar" / "x.wav") as file:
        assert file.read() == b"file"
    assert split_member(place) is None
    assert not is_clip(f"{place}/y.wav")
    with pytest.raises(FileNotFoundError):
        open_clip(f"{place}/y.wav")
    with pytest.raises(DecodeError, match="no such file"):
        decode(f"{place}/y.wav")


def test_a_replaced_archive_is_read_anew(pack_tar, tmp_path):
    place = pack_tar(tmp_path / "a.tar", [("x.wav", b"1"), ("y.wav", b"22")])
    assert stat_clip(f"{place}/y.wav").size == 2
    pack_tar(tmp_path / "new.tar", [("y.wav", b"4444")])
    os.replace(tmp_path / "new.tar", place)
    assert open_clip(f"{place}/y.wav").read() == b"4444"
    assert not is_clip(f"{place}/x.wav")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_every_form(tmp_path, form):
    long = "folder/" * 20 + "x" * 60 + ".wav" if form != tarfile.USTAR_FORMAT else "folder/x.wav"
    (tmp_path / "x").write_bytes(b"sound")
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
        for name in (long, "\u00fcber.wav", "./b.wav", "/c.wav"):
            tar.add(tmp_path / "x", name) if not name.startswith("/") else tar.addfile(_absolute(tar, name))
    assert {source.uri for source in read_manifest(tmp_path / "a.tar", label_column="")} == {
        f"a.tar/{name}" for name in (long, "\u00fcber.wav", "b.wav", "c.wav")
    }
    for name in (long, "\u00fcber.wav", "b.wav"):
        assert open_clip(f"{tmp_path}/a.tar/{name}").read() == b"sound"
    assert is_clip(f"{tmp_path}/a.tar/c.wav")


def _absolute(tar, name):
    info = tarfile.TarInfo("c.wav")
    info.name = name
    return info


def test_an_index_takes_few_bytes_a_member(tmp_path):
    """A million members shall be kept in tens of megabytes: 24 bytes each, whatever their names."""
    n = 4_000
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for i in range(n):
            tar.addfile(tarfile.TarInfo(f"a/rather/long/name/of/a/folder/{i:07}.wav"))
    signs = []
    assert stamp_clip(f"{tmp_path}/a.tar/a/rather/long/name/of/a/folder/0000000.wav", lambda: signs.append(1))[1] == 0
    assert len(signs) == 4  # so that nobody takes a long look for a decoder that hangs
    tracemalloc.start()
    archive = TarArchive(str(tmp_path / "a.tar"))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert archive.n_members == n
    assert kept < 40 * n + 50_000
    assert archive.size_of("a/rather/long/name/of/a/folder/0003999.wav") == 0
