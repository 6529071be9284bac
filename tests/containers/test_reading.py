"""Containers become manifests: keys are paths, what stands beside a member is known of it, and faults are refused."""

import contextlib
import gzip
import json
import sys
from pathlib import Path

import pytest

from embedx.containers.clip_files import open_clip
from embedx.errors import EmbedxWarning, ManifestError, MissingExtraError, SkippedSourcesWarning
from embedx.manifest import Manifest, read_manifest


def told(manifest):
    return [(source.uri, source.label, source.group, source.split) for source in manifest]


def test_a_folder_a_pattern_a_range_and_a_list_are_the_same(shards):
    whole = read_manifest(shards)
    assert len(whole) == 24
    assert whole[0].uri == "000.tar/high0.wav"
    assert {source.label for source in whole} == {"high", "low", "middle"}
    names = [f"{shards}/{i:03}.tar" for i in range(3)]
    for location in (f"{shards}/*.tar", f"{shards}/{{000..002}}.tar", names):
        other = read_manifest(location)
        assert (other.sources, other.root) == (whole.sources, whole.root)
    assert told(read_manifest(names[0])) == told(whole)[:8]


def test_what_webdataset_writes(tmp_path, clips):
    webdataset = pytest.importorskip("webdataset", reason="needs webdataset")
    with webdataset.ShardWriter(f"{tmp_path}/%03d.tar", maxcount=4, verbose=0) as writer:
        for i, ((label, _), content) in enumerate(list(clips.items())[:6]):
            writer.write({"__key__": f"s{i}", "wav": content, "cls": i % 2, "json": {"speaker": label, "n": [1]}})
    assert told(read_manifest(tmp_path)) == [(f"00{i // 4}.tar/s{i}.wav", str(i % 2), "high", None) for i in range(6)]


def test_labels_come_from_json_from_text_or_from_folders(tmp_path, pack_tar):
    facts = json.dumps({"label": "dog", "speaker": "anna", "fold": 2, "tags": ["x"], "note": None}).encode()
    place = pack_tar(tmp_path / "a.tar", [("x.json", facts), ("x.wav", b"1")])
    assert told(read_manifest(place)) == [("a.tar/x.wav", "dog", "anna", "2")]
    assert told(read_manifest(place, label_column="")) == [("a.tar/x.wav", None, "anna", "2")]
    assert read_manifest(place, label_column="speaker", group_column="")[0].label == "anna"
    place = pack_tar(tmp_path / "b.tar", [("x.wav", b"1"), ("x.txt", b"cat\n"), ("y.flac", b"1"), ("y.txt", b"dog")])
    assert [source.label for source in read_manifest(place)] == ["cat", "dog"]
    names = ["./esc/train/dog/1.wav", "./esc/train/cat/1.2.wav", "./esc/train/cat/1.3.wav", "./esc/test/dog/2.wav"]
    place = pack_tar(tmp_path / "c.tar", [*((name, b"1") for name in names), ("esc/._x.wav", b"mac")])
    assert told(read_manifest(place)) == [
        ("c.tar/esc/train/dog/1.wav", "dog", None, "train"),
        ("c.tar/esc/train/cat/1.2.wav", "cat", None, "train"),
        ("c.tar/esc/train/cat/1.3.wav", "cat", None, "train"),
        ("c.tar/esc/test/dog/2.wav", "dog", None, "test"),
    ]


def test_several_labels_a_clip(tmp_path, pack_tar):
    members = [
        ("x.wav", b"1"),
        ("x.json", b'{"label": ["rain", "dog"]}'),
        ("y.wav", b"1"),
        ("y.json", b'{"label": ["cat"]}'),
    ]
    manifest = read_manifest(pack_tar(tmp_path / "a.tar", members), multi_label=True)
    assert [source.label for source in manifest] == ["dog|rain", "cat"]
    members = [("x.wav", b"1"), ("x.json", b'{"has_dog": 1, "has_cat": 0}')]
    manifest = read_manifest(pack_tar(tmp_path / "b.tar", members), label_columns="has_*")
    assert [source.label for source in manifest] == ["has_dog"]


def test_the_part_stands_in_the_names_of_containers(tmp_path, pack_tar, write_parquet):
    for part in ("train", "test"):
        rows = [(b"1", "x.wav", "dog"), (b"2", None, "cat")]
        write_parquet(tmp_path / f"{part}-00000-of-00001.parquet", rows, ["cat", "dog"])
    name = "{}-00000-of-00001.parquet/000000{}"
    assert told(read_manifest(tmp_path)) == [
        (name.format("test", 0) + "/x.wav", "dog", None, "test"),
        (name.format("test", 1), "cat", None, "test"),
        (name.format("train", 0) + "/x.wav", "dog", None, "train"),
        (name.format("train", 1), "cat", None, "train"),
    ]
    assert told(read_manifest(tmp_path / "train-00000-of-00001.parquet"))[0][3] is None


def test_members_are_named_in_a_csv_and_in_lists_as_files_are(tmp_path, shards):
    (shards / "some.csv").write_text("path,label\n000.tar/high0.wav,a\n001.tar/high1.wav,b\n")
    try:
        assert told(read_manifest(shards / "some.csv"))[1] == ("001.tar/high1.wav", "b", None, None)
    finally:
        (shards / "some.csv").unlink()
    (tmp_path / "x.csv").write_text(f"path\n{shards}/000.tar/nobody.wav\n")
    with pytest.raises(ManifestError, match="1 of 1 files are missing"), contextlib.suppress(EmbedxWarning):
        read_manifest(tmp_path / "x.csv", label_column="")
    assert Manifest.from_paths(["000.tar/high0.wav"], root=shards)[0].uri == "000.tar/high0.wav"


def test_audio_beside_archives_is_a_folder_of_audio(tmp_path, pack_tar, clips):
    (tmp_path / "x.wav").write_bytes(next(iter(clips.values())))
    pack_tar(tmp_path / "a.tar", [("y.wav", b"1")])
    with contextlib.suppress(EmbedxWarning):
        manifest = read_manifest(tmp_path)
    assert ([source.uri for source in manifest], manifest.left_out) == (["x.wav"], {".tar": 1})


def test_keys_without_audio_are_left_out_and_counted(tmp_path, pack_tar):
    place = pack_tar(tmp_path / "a.tar", [("x.wav", b"1"), ("x.cls", b"dog"), ("y.cls", b"cat"), ("y.jpg", b"1")])
    with pytest.warns(SkippedSourcesWarning, match=r"no audio belongs to them: 1 keys \('y' of .*a.tar\)"):
        assert len(read_manifest(place)) == 1


REFUSED = {
    "it is no tar archive": lambda: b"words and no archive " * 99,
    "it is no tar archive \\(empty file\\)": lambda: b"",
    "it is compressed \\(gzip\\), which cannot be read at random: unpack it": lambda: gzip.compress(b"x" * 9_999),
}


@pytest.mark.parametrize("says", REFUSED)
def test_what_is_no_archive(tmp_path, says):
    (tmp_path / "a.tar").write_bytes(REFUSED[says]())
    with pytest.raises(ManifestError, match=f"a.tar cannot be used: {says}"):
        read_manifest(tmp_path / "a.tar")


FAULTS = {
    r"no audio file in it \(it holds 2 .txt\)": [("x.txt", b"1"), ("y.txt", b"1")],
    r"a.tar holds 'x.wav' twice": [("x.wav", b"1"), ("./x.wav", b"2")],
    r"the key 'x' has 2 members with audio \(x.wav, x.flac\)": [("x.wav", b"1"), ("x.flac", b"2"), ("x.cls", b"a")],
    r"the .cls file beside a.tar/x.wav holds no text": [("x.wav", b"1"), ("x.cls", b" \n"), ("x.json", b"{}")],
    r"'x.json' is no JSON": [("x.wav", b"1"), ("x.json", b"{'a'")],
    r"'x.txt' is no UTF-8 text": [("x.wav", b"1"), ("x.txt", b"\xff\xfe\xfd")],
    r"member '../x.wav' has a name that leads out of the archive": [("../x.wav", b"1")],
    r"member 'a/../../x.wav' has a name that leads out": [("a/../../x.wav", b"1")],
}


@pytest.mark.filterwarnings("ignore::embedx.errors.SkippedSourcesWarning")
@pytest.mark.parametrize("says", FAULTS)
def test_archives_that_are_refused(tmp_path, pack_tar, says):
    place = pack_tar(tmp_path / "a.tar", FAULTS[says])
    with pytest.raises(ManifestError, match=says) as error:
        read_manifest(place)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar"]


@pytest.mark.parametrize(
    ("n_bytes", "says"),
    [
        (512 + 700, "it is cut off in its member 'x.wav', 300 bytes are missing"),
        (2 * 512 + 1_024, "it is cut off"),  # where the next header would begin
        (1_536 + 100, "it is cut off"),
    ],
)
def test_an_archive_that_is_cut_off(tmp_path, pack_tar, n_bytes, says):
    place = pack_tar(tmp_path / "a.tar", [("x.wav", b"1" * 1_000), ("y.wav", b"2" * 1_000)])
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:n_bytes])
    with pytest.raises(ManifestError, match=f"{says}.*: fetch or pack it again"):
        read_manifest(place)


def test_a_damaged_header_does_not_end_the_list_in_silence(tmp_path, pack_tar):
    place = pack_tar(tmp_path / "a.tar", [("x.wav", b"1"), ("y.wav", b"2")])
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[1_024 + 20] ^= 0xFF
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ManifestError, match="a header is damaged at byte 1,024"):
        read_manifest(place)


def test_places_that_are_refused(tmp_path, shards):
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(ManifestError, match=r"a.tar.gz is a compressed archive, which cannot be read at random"):
        read_manifest(tmp_path / "a.tar.gz")
    with pytest.raises(ManifestError, match="no file fits the pattern"):
        read_manifest(f"{tmp_path}/*.tar")
    with pytest.raises(ManifestError, match=r"1 of 4 files are missing, the first is .*003.tar"):
        read_manifest(f"{shards}/{{000..003}}.tar")
    with pytest.raises(ManifestError, match=r"x.csv is no tar or Parquet file"):
        read_manifest([f"{shards}/000.tar", "x.csv"])
    with pytest.raises(ManifestError, match="no such file or folder"):
        read_manifest(tmp_path / "nowhere.tar")


def test_parquet_files_that_are_refused(tmp_path, write_parquet, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    datasets.Dataset.from_dict({"text": ["a"], "label": [1]}).to_parquet(str(tmp_path / "a.parquet"))
    with pytest.raises(ManifestError, match=r"no column of audio \(its columns: text, label\)"):
        read_manifest(tmp_path / "a.parquet")
    (tmp_path / "x.wav").write_bytes(b"1")  # datasets looks at its size
    write_parquet(tmp_path / "b.parquet", [(None, str(tmp_path / "x.wav"), "dog")], ["dog"])
    with pytest.raises(ManifestError, match="paths of audio in the column 'audio', and no bytes"):
        read_manifest(tmp_path / "b.parquet")
    write_parquet(tmp_path / "c.parquet", [(b"1", "x.wav", "dog")], ["dog"])
    with pytest.raises(ManifestError, match="unknown column of audio 'sound'"):
        read_manifest(tmp_path / "c.parquet", path_column="sound")
    (tmp_path / "d.parquet").write_bytes(b"PAR1 words")
    with pytest.raises(ManifestError, match="it cannot be read as Parquet"):
        read_manifest(tmp_path / "d.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"e.parquet needs the package 'pyarrow'.*embedx\[parquet\]"):
        read_manifest((tmp_path / "c.parquet").rename(tmp_path / "e.parquet"))


SEGMENTS = """file,start,end,emotion,speaker
audio/a.wav,0 days 00:00:00.000000,0 days 00:00:01.500000,happy,spk1
audio/a.wav,0 days 00:00:01.500000,0 days 00:00:03.250000,sad,spk1
audio/b.wav,0 days 00:00:00.250000,,happy,spk2
"""


def test_a_table_of_audformat_is_a_csv(tmp_path):
    """As audformat 1.4 writes ``db.segments.csv``; audb puts it beside its audio."""
    (tmp_path / "db.segments.csv").write_text(SEGMENTS)
    manifest = read_manifest(tmp_path / "db.segments.csv", label_column="emotion", must_exist=False)
    assert [(source.id, source.label, source.group) for source in manifest] == [
        ("audio/a.wav#0-1.5", "happy", "spk1"),
        ("audio/a.wav#1.5-3.25", "sad", "spk1"),
        ("audio/b.wav#0.25-", "happy", "spk2"),
    ]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_dataset_is_kept_in_an_archive_and_read_from_there_again(tmp_path, clips, is_streamed):
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    some = list(clips.items())[:3]
    rows = {
        "audio": [{"bytes": content, "path": name if i else None} for i, ((_, name), content) in enumerate(some)],
        "cls": [1, 0, 1],
        "speaker": ["a", "c", "b"],
    }
    features = {"audio": datasets.Audio(), "cls": datasets.ClassLabel(names=["cat", "dog"])}
    features = datasets.Features({**features, "speaker": datasets.Value("string")})
    dataset = datasets.Dataset.from_dict(rows).cast(features)
    dataset = dataset.to_iterable_dataset() if is_streamed else dataset
    with pytest.raises(ManifestError, match=r"shard='clips.tar'"):
        Manifest.from_dataset(dataset)
    manifest = Manifest.from_dataset(dataset, shard=tmp_path / "x.tar")
    assert told(manifest) == [
        ("x.tar/0000000.wav", "dog", "a", None),
        ("x.tar/0000001-1.wav", "cat", "c", None),
        ("x.tar/0000002-2.wav", "dog", "b", None),
    ]
    assert [open_clip(manifest.path_of(source)).read() for source in manifest] == [content for _, content in some]
    assert Manifest.from_dataset(dataset.take(1), shard=tmp_path / "x.tar").sources == manifest.sources
    with pytest.raises(ManifestError, match=r"such as clips\.tar"):
        Manifest.from_dataset(dataset, shard=tmp_path / "x.zip")


def test_a_dataset_that_ends_in_the_middle_leaves_no_archive(tmp_path, clips):
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    rows = [{"bytes": next(iter(clips.values())), "path": "x.wav"}, {"bytes": None, "path": None}]
    dataset = datasets.Dataset.from_dict({"audio": rows}).cast(datasets.Features({"audio": datasets.Audio()}))
    with pytest.raises(ManifestError, match="row 1 has no audio"):
        Manifest.from_dataset(dataset, shard=tmp_path / "x.tar")
    assert not list(tmp_path.iterdir())


def test_each_clip_has_its_own_label_however_the_samples_beside_it_say_theirs(tmp_path, pack_tar):
    first = pack_tar(
        tmp_path / "a.tar", [("x.wav", b"1"), ("x.json", b'{"label": "dog"}'), ("y.wav", b"2"), ("y.cls", b"cat")]
    )
    second = pack_tar(tmp_path / "b.tar", [("z.wav", b"3"), ("z.json", b'{"class": "cow"}'), ("u.wav", b"4")])
    both = [("v.wav", b"5"), ("v.cls", b"owl"), ("v.json", b'{"label": "bird"}')]
    third = pack_tar(tmp_path / "c.tar", both)
    labels = {Path(source.uri).stem: source.label for source in read_manifest([first, second, third])}
    assert labels == {"x": "dog", "y": "cat", "z": "cow", "u": None, "v": "owl"}
