"""One long cell does not cost its length for every clip: it is refused at the door, and older files stay readable."""

import os
import tracemalloc

import pytest

from embedx.errors import ManifestError, StoreFormatError
from embedx.manifest import Manifest, Source
from embedx.store.hdf5_file import Clip, StoreFile, write_store_file
from embedx.store.rows import NO_STAMP, Failure
from embedx.store.store import EmbeddingStore, read_recipe, read_store


def listed(*sources):
    return Manifest(sources, "/data")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source("a.wav", label="x" * 1001), "the label of a.wav has 1,001 bytes, a store keeps at most 1,000"),
        (Source("a.wav", group="é" * 501), "the group of a.wav has 1,002 bytes"),
        (Source("a.wav", split="s" * 130_000), "the split of a.wav has 130,000 bytes"),
        (Source("p" * 4097), "a path has 4,097 bytes, a store keeps at most 4,096"),
        (Source("a.wav", label="\udcff"), "the label of a.wav is no Unicode text"),
        (Source("a.wav", label="do\0g"), "the label of a.wav has a NUL character"),
    ],
)
def test_a_cell_too_long_for_a_store_is_refused_before_anything_is_computed(fixtures, tmp_path, source, message):
    with EmbeddingStore(tmp_path / "emb.h5", fixtures.RECIPE, root=tmp_path) as store:
        with pytest.raises(ManifestError, match=message) as caught:
            store.plan(listed(Source("b.wav", label="dog"), source))
        with pytest.raises(ManifestError, match=message):
            store.append([Failure(source, NO_STAMP, "decode", "not audio")], environment={})
    assert len(str(caught.value)) < 500
    assert not (tmp_path / "emb.h5").exists()


def test_what_just_fits_is_kept_whole(fixtures, tmp_path):
    source = Source("d/" * 2046 + "a.wa", label="é" * 500, group="g" * 1000, split="s" * 1000)
    with EmbeddingStore(tmp_path / "emb.h5", fixtures.RECIPE, root=tmp_path) as store:
        store.plan(listed(source))
        store.append([Failure(source, NO_STAMP, "decode", "not audio")], environment={})
        store.publish()
    assert read_store(tmp_path / "emb.h5").sources == (source,)


def test_long_errors_take_no_room(fixtures, tmp_path):
    sources = [Source(f"{i:04}.wav", label="dog") for i in range(1000)]
    with EmbeddingStore(tmp_path / "emb.h5", fixtures.RECIPE, root=tmp_path) as store:
        store.append([Failure(s, NO_STAMP, "decode", "\n é" * 50_000) for s in sources], environment={})
        assert sum(len(clip.error) for clip, _ in store._buffer) < 200_000
        store.publish()
    assert os.path.getsize(tmp_path / "emb.h5") < 1_000_000
    assert max(len(error.encode()) for error in read_store(tmp_path / "emb.h5").errors) <= 200


def test_a_file_with_a_wide_column_is_read_without_its_width_in_memory(fixtures, tmp_path):
    labels = ["x" * 100_000, *["dog"] * 1999]
    clips = [
        Clip(Source(f"{i:04}.wav", label=label), NO_STAMP, "decode: no", 0, "{}") for i, label in enumerate(labels)
    ]
    place = tmp_path / "wide.h5"
    tracemalloc.start()
    with open(place, "w+b") as target:
        write_store_file(
            target, recipe=fixtures.RECIPE, root='{"absolute": "/", "relative": "."}', clips=clips, dim=0, blocks=()
        )
    assert os.path.getsize(place) > 200_000_000
    with StoreFile(place) as file:
        assert file.clips() == clips
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000_000


def test_damage_far_down_a_wide_column_is_found(fixtures, tmp_path):
    clips = [Clip(Source(f"{i:04}.wav", label="x" * 9_000), NO_STAMP, "decode: no", 0, "{}") for i in range(4000)]
    place = tmp_path / "wide.h5"
    with open(place, "w+b") as target:
        write_store_file(
            target, recipe=fixtures.RECIPE, root='{"absolute": "/", "relative": "."}', clips=clips, dim=0, blocks=()
        )
    with open(place, "r+b") as file:
        at = file.read().rindex(b"xxxx")
        file.seek(at)
        file.write(b"y")
    with StoreFile(place) as file, pytest.raises(StoreFormatError, match="does not match its CRC"):
        file.clips()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_no_store(tmp_path, kind):
    place = tmp_path / "emb.h5"
    {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda p: os.symlink("/dev/null", p)}[kind](place)
    with pytest.raises(StoreFormatError, match=f"it is a {kind}"):
        read_recipe(place)
