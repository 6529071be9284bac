"""What a store promises while nothing goes wrong: resume, refuse, follow the files."""

from __future__ import annotations

import io
import math
import os
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from embedx.errors import (
    ComputeDtypeWarning,
    EmbedxWarning,
    ParameterError,
    RecipeMismatchError,
    StoreBusyError,
    StoreError,
    StoreFormatError,
)
from embedx.manifest import Manifest, Source
from embedx.store import store as store_room
from embedx.store.rows import NO_STAMP, Embedded, Failure
from embedx.store.store import EmbeddingStore, read_recipe, read_store


@pytest.fixture
def manifest(fixtures: ModuleType, tmp_path: Path) -> Manifest:
    return fixtures.make_manifest(tmp_path / "audio")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "emb.h5"


def embedded(fixtures: ModuleType, source: Source, value: float = 1.0, n: int = 1, n_layers: int = 3) -> Embedded:
    stamp = replace(NO_STAMP, sha256=source.uri.encode().ljust(32, b"x")[:32], size=1)
    bounds = np.arange(n, dtype=np.float64)
    return Embedded(
        source,
        stamp,
        np.full((n, n_layers, fixtures.DIM), value, np.float32),
        np.ones((n, 128), np.float32),
        bounds,
        bounds + 1,
    )


def store_one(fixtures: ModuleType, output: Path, results: list[Embedded | Failure], recipe=None) -> None:  # type: ignore[no-untyped-def]
    with EmbeddingStore(output, recipe or fixtures.RECIPE, root=output.parent) as store:
        store.append(results, environment={})
        store.publish()


# -- what is read is what was given ----------------------------------------------------------------


def test_rows_come_back_in_the_order_of_the_keys(fixtures: ModuleType, manifest: Manifest, output: Path) -> None:
    fixtures.extract(output, Manifest(manifest.sources[::-1], manifest.root))
    table = read_store(output)
    assert table.sources == tuple(sorted(manifest, key=lambda source: source.sort_key))
    assert table.embeddings.dtype == np.float16
    assert table.root == manifest.root
    assert table.environments == ({"by": "fixtures"},)
    seen = set()
    for i, source in enumerate(table.sources):
        result = fixtures.result_of(source, manifest.root)
        rows = slice(table.row0[i], table.row0[i] + table.n_rows[i])
        assert bytes(table.hashes[i]) == result.stamp.sha256
        if isinstance(result, Failure):
            assert (table.status[i], table.errors[i], table.n_rows[i]) == (1, "decode: not audio", 0)
        else:
            assert (table.status[i], table.errors[i]) == (0, None)
            np.testing.assert_array_equal(table.embeddings[rows], result.embeddings.astype(np.float16))
            np.testing.assert_array_equal(table.control[rows], result.control)
            np.testing.assert_array_equal(table.start_seconds[rows], result.start_seconds)
            np.testing.assert_array_equal(table.end_seconds[rows], result.end_seconds)
            assert (table.clip[rows] == i).all()
        seen.add(int(table.n_rows[i]))
    assert seen == {0, 1, 2, 3}


def test_some_layers(fixtures: ModuleType, manifest: Manifest, output: Path) -> None:
    fixtures.extract(output, manifest)
    whole, some = read_store(output), read_store(output, layers=[5, 0])
    assert some.recipe.layers == (5, 0)
    np.testing.assert_array_equal(some.embeddings, whole.embeddings[:, [2, 0]])
    for layers in ([1], []):
        with pytest.raises(ParameterError, match=r"holds the layers \[0, 2, 5\]"):
            read_store(output, layers=layers)


def test_one_layer_and_float32(fixtures: ModuleType, manifest: Manifest, output: Path) -> None:
    recipe = fixtures.RECIPE.replace(layers=(4,), store_dtype="float32")
    fixtures.extract(output, manifest, recipe)
    table = read_store(output)
    assert table.embeddings.dtype == np.float32
    assert table.embeddings.shape[1:] == (1, fixtures.DIM)


def test_float16_keeps_the_direction(fixtures: ModuleType, output: Path) -> None:
    given = embedded(fixtures, Source("a.wav"))
    values = np.random.default_rng(0).normal(size=given.embeddings.shape).astype(np.float32)
    store_one(fixtures, output, [replace(given, embeddings=values)])
    kept = read_store(output).embeddings.astype(np.float64)
    cosine = (kept * values).sum() / math.sqrt((kept**2).sum() * (values.astype(np.float64) ** 2).sum())
    assert cosine > 0.9999998 - 1e-6


@pytest.mark.parametrize(
    "uri", ["späce and ünïcode/日本.wav", "new\nline.wav", "quo'te\".wav", "#1-2.wav", ";,\t.wav", "x" * 250 + ".wav"]
)
def test_odd_paths(fixtures: ModuleType, tmp_path: Path, output: Path, uri: str) -> None:
    fixtures.make_audio(tmp_path, [uri])
    manifest = Manifest.from_paths([uri], labels=["l'abel\n"], root=tmp_path)
    assert fixtures.extract(output, manifest) == 1
    assert read_store(output).sources == manifest.sources
    assert fixtures.extract(output, manifest) == 0


@pytest.mark.parametrize("name", ["emb", "späce ünï #1.h5", "new\nline.h5", "deep/er/emb.h5", "%s{}*?.h5", "-o.h5"])
def test_odd_outputs(fixtures: ModuleType, manifest: Manifest, tmp_path: Path, name: str) -> None:
    output = tmp_path / "out" / name
    assert fixtures.extract(output, manifest) == len(manifest)
    assert fixtures.extract(output, manifest) == 0
    assert os.listdir(output.parent) == [output.name]


def test_segments_of_one_file_are_clips(fixtures: ModuleType, output: Path) -> None:
    segments = [Source("a.wav"), Source("a.wav", stop_seconds=2), Source("a.wav", start_seconds=1.25)]
    store_one(fixtures, output, [embedded(fixtures, source, n=i) for i, source in enumerate(segments)])
    table = read_store(output)
    assert [s.key for s in table.sources] == [("a.wav", 0, 2), ("a.wav", 0, None), ("a.wav", 1.25, None)]
    assert table.n_rows.tolist() == [1, 0, 2]


def test_all_failed(fixtures: ModuleType, output: Path) -> None:
    store_one(fixtures, output, [Failure(Source("a.wav"), NO_STAMP, "decode", "first line\nsecond " + "é" * 400)])
    table = read_store(output)
    assert table.embeddings.shape == (0, 3, 0)
    (error,) = table.errors
    assert error is not None
    assert error.startswith("decode: first line second é")
    assert len(error.encode()) <= 200


def test_rows_after_a_store_that_had_none(fixtures: ModuleType, output: Path) -> None:
    store_one(fixtures, output, [Failure(Source("a.wav"), NO_STAMP, "decode", "no")])
    store_one(fixtures, output, [embedded(fixtures, Source("b.wav"))])
    assert read_store(output).n_rows.tolist() == [0, 1]


def test_clips_without_rows_only(fixtures: ModuleType, output: Path) -> None:
    store_one(fixtures, output, [embedded(fixtures, Source("a.wav"), n=0)])
    table = read_store(output)
    assert (table.status.tolist(), table.n_rows.tolist()) == ([0], [0])


# -- resume ----------------------------------------------------------------------------------------


def test_a_second_run_computes_nothing_and_writes_nothing(
    fixtures: ModuleType, manifest: Manifest, output: Path
) -> None:
    assert fixtures.extract(output, manifest) == len(manifest)
    before = output.stat()
    assert fixtures.extract(output, manifest) == 0
    assert (output.stat().st_ino, output.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not Path(f"{output}.parts").exists()


def test_an_interrupted_run_equals_an_uninterrupted_one(
    fixtures: ModuleType, manifest: Manifest, tmp_path: Path
) -> None:
    fixtures.extract(tmp_path / "whole.h5", manifest)

    def interrupted() -> None:
        with EmbeddingStore(tmp_path / "cut.h5", fixtures.RECIPE, root=manifest.root) as store:
            store.append([fixtures.result_of(s, manifest.root) for s in manifest[4:7]], environment={"by": "fixtures"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(StoreFormatError, match="nothing published"):
        read_store(tmp_path / "cut.h5")
    assert fixtures.extract(tmp_path / "cut.h5", manifest) == len(manifest) - 3
    assert fixtures.contents(tmp_path / "cut.h5") == fixtures.contents(tmp_path / "whole.h5")


def test_shards_in_any_order_equal_one_run(fixtures: ModuleType, manifest: Manifest, tmp_path: Path) -> None:
    fixtures.extract(tmp_path / "whole.h5", manifest)
    for i in (2, 0, 1):
        fixtures.extract(tmp_path / "shards.h5", manifest, shard=(i, 3))
    assert fixtures.contents(tmp_path / "shards.h5") == fixtures.contents(tmp_path / "whole.h5")


def test_touched_changed_moved_and_copied_files(fixtures: ModuleType, manifest: Manifest, output: Path) -> None:
    root = manifest.root
    fixtures.extract(output, manifest)
    good = [s for s, status in zip(*(lambda t: (t.sources, t.status))(read_store(output)), strict=True) if not status]
    os.utime(root / good[0].uri, ns=(1, 1))
    (root / good[1].uri).write_bytes(b"other content")
    os.rename(root / good[2].uri, root / "cat/moved.wav")
    (root / "cat/copied.wav").write_bytes((root / good[3].uri).read_bytes())
    now = fixtures.load_manifest(root)
    with EmbeddingStore(output, fixtures.RECIPE, root=root) as store:
        plan = store.plan(now)
    assert plan.todo == {good[1].key}
    assert (plan.n_changed, plan.n_copied) == (1, 2)
    assert plan.n_done + plan.n_failed + len(plan.todo) == len(now)
    assert fixtures.extract(output, now) == 1
    fixtures.extract(output.with_name("reference.h5"), now)
    assert fixtures.contents(output) == fixtures.contents(output.with_name("reference.h5"))
    with EmbeddingStore(output, fixtures.RECIPE, root=root) as store:
        assert store.plan(now).n_copied == 0


def test_two_files_that_swap_their_names(fixtures: ModuleType, tmp_path: Path, output: Path) -> None:
    fixtures.make_audio(tmp_path, ["a.wav", "bb.wav", "c.wav"])
    manifest = Manifest.from_paths(["a.wav", "bb.wav", "c.wav"], root=tmp_path)
    fixtures.extract(output, manifest)
    for old, new in (("a.wav", "t"), ("bb.wav", "a.wav"), ("t", "bb.wav")):
        os.rename(tmp_path / old, tmp_path / new)
    (tmp_path / "c.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    assert fixtures.extract(output, manifest) == 0
    fixtures.extract(output.with_name("reference.h5"), manifest)
    assert fixtures.contents(output) == fixtures.contents(output.with_name("reference.h5"))


def test_a_content_that_moves_while_its_old_path_gets_another(
    fixtures: ModuleType, tmp_path: Path, output: Path
) -> None:
    fixtures.make_audio(tmp_path, ["a.wav"])
    fixtures.extract(output, Manifest.from_paths(["a.wav"], root=tmp_path))
    os.rename(tmp_path / "a.wav", tmp_path / "b.wav")
    (tmp_path / "a.wav").write_bytes(b"new content")
    manifest = Manifest.from_paths(["a.wav", "b.wav"], root=tmp_path)
    assert fixtures.extract(output, manifest) == 1
    fixtures.extract(output.with_name("reference.h5"), manifest)
    assert fixtures.contents(output) == fixtures.contents(output.with_name("reference.h5"))


def test_a_file_that_is_gone_keeps_its_rows(fixtures: ModuleType, manifest: Manifest, output: Path) -> None:
    fixtures.extract(output, manifest)
    before = fixtures.contents(output)
    (manifest.root / manifest[0].uri).unlink()
    assert fixtures.extract(output, manifest) == 0
    assert fixtures.contents(output) == before


def test_failed_clips_only_when_asked_or_changed(fixtures: ModuleType, manifest: Manifest, output: Path) -> None:
    ghost = Manifest((*manifest.sources, Source("zz/ghost.wav")), manifest.root)
    fixtures.extract(output, ghost)
    n_failed = int(read_store(output).status.sum())
    assert n_failed >= 2
    with EmbeddingStore(output, fixtures.RECIPE, root=ghost.root) as store:
        plan = store.plan(ghost)
        assert (plan.n_failed, plan.todo) == (n_failed, frozenset())
    assert fixtures.extract(output, ghost, retry_failed=True) == n_failed
    fixtures.make_audio(ghost.root, ["zz/ghost.wav"])
    assert fixtures.extract(output, ghost) == 1


def test_labels_follow_the_manifest(fixtures: ModuleType, manifest: Manifest, output: Path) -> None:
    fixtures.extract(output, manifest)
    renamed = tuple(replace(s, label=s.label.upper(), split="1") for s in manifest)
    assert fixtures.extract(output, Manifest(renamed, manifest.root)) == 0
    assert read_store(output).sources == renamed
    bare = tuple(replace(s, label=None, group=None, split=None) for s in manifest)
    assert fixtures.extract(output, Manifest(bare, manifest.root)) == 0
    assert read_store(output).sources == renamed


def test_clips_of_another_folder_are_added_under_their_own_paths(
    fixtures: ModuleType, tmp_path: Path, output: Path
) -> None:
    one, two = fixtures.make_manifest(tmp_path / "one", 4), fixtures.make_manifest(tmp_path / "two", 6)
    for path in (tmp_path / "two").rglob("*.wav"):
        path.write_bytes(path.read_bytes() + b"two")
    fixtures.extract(output, one)
    assert fixtures.extract(output, two) == 6
    table = read_store(output)
    assert len(table.sources) == 10
    assert {table.root / s.uri for s in table.sources} == {m.path_of(s) for m in (one, two) for s in m}
    everything = fixtures.load_manifest(tmp_path)
    assert fixtures.extract(output, everything) == 0


def test_a_folder_that_moves_with_its_store_is_resumed(fixtures: ModuleType, tmp_path: Path) -> None:
    fixtures.extract(tmp_path / "here/emb.h5", fixtures.make_manifest(tmp_path / "here/audio"))
    os.rename(tmp_path / "here", tmp_path / "there")
    assert read_store(tmp_path / "there/emb.h5").root == tmp_path / "there/audio"
    assert fixtures.extract(tmp_path / "there/emb.h5", fixtures.load_manifest(tmp_path / "there/audio")) == 0


def test_a_store_behind_a_link_is_replaced_where_it_lies(
    fixtures: ModuleType, manifest: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "emb.h5").symlink_to(tmp_path / "disk/real.h5")
    fixtures.extract(tmp_path / "emb.h5", manifest)
    assert (tmp_path / "emb.h5").is_symlink()
    assert read_store(tmp_path / "emb.h5").sources


# -- recipes ---------------------------------------------------------------------------------------

OTHER = {
    "encoder": "other",
    "revision": "local",
    "weights_sha256": "cd",
    "layers": (0, 2),
    "pooling": "mean+std",
    "padding": "masked",
    "frontend": "WhisperFeatureExtractor:0123abcd",
    "window_seconds": 5.0,
    "hop_seconds": 5.0,
    "min_tail_seconds": 0.5,
    "offset": "middle",
    "max_seconds": 30.0,
    "sample_rate": 8000,
    "mixdown": "left",
    "resampler": "swr:2",
    "decoder": "pyav:2",
    "normalize": False,
    "store_dtype": "float32",
    "preprocessing_version": 2,
}


def test_the_fields_below_are_all_of_a_recipe(fixtures: ModuleType) -> None:
    assert {name for name, *_ in fixtures.RECIPE.diff(fixtures.RECIPE.replace(**OTHER))} == set(OTHER)
    assert set(fixtures.RECIPE.__slots__) - set(OTHER) == {"compute_dtype"}


@pytest.mark.parametrize("field", OTHER)
@pytest.mark.parametrize("published", [True, False])
def test_another_recipe_is_refused_before_anything_is_written(
    fixtures: ModuleType, manifest: Manifest, output: Path, field: str, published: bool
) -> None:
    fixtures.extract(output, manifest, publish=published)
    before = sorted((p, p.stat().st_mtime_ns) for p in output.parent.rglob("*"))
    other = fixtures.RECIPE.replace(**{field: OTHER[field]})
    with pytest.raises(RecipeMismatchError) as caught:
        EmbeddingStore(output, other, root=manifest.root)
    assert caught.value.differences == ((field, *caught.value.differences[0][1:]),)
    text = str(caught.value)
    assert all(word in text for word in (field, "recorded", "asked", "--output", "--overwrite"))
    assert sorted((p, p.stat().st_mtime_ns) for p in output.parent.rglob("*")) == before


def test_another_compute_dtype_warns_and_is_recorded(fixtures: ModuleType, manifest: Manifest, output: Path) -> None:
    fixtures.extract(output, manifest)
    with pytest.warns(ComputeDtypeWarning, match="started in float32 and is resumed in bfloat16"):
        assert (
            fixtures.extract(output, manifest, fixtures.RECIPE.replace(compute_dtype="bfloat16"), retry_failed=True) > 0
        )
    assert read_recipe(output) == fixtures.RECIPE


def test_bfloat16_cannot_be_kept(fixtures: ModuleType, output: Path) -> None:
    with pytest.raises(ParameterError, match="float16 or float32"):
        EmbeddingStore(output, fixtures.RECIPE.replace(store_dtype="bfloat16"), root=".")


def test_a_run_that_stored_nothing_binds_nobody(fixtures: ModuleType, output: Path) -> None:
    with EmbeddingStore(output, fixtures.RECIPE, root="."):
        assert read_recipe(output) is None
        with pytest.raises(RecipeMismatchError):  # the other one still lives
            EmbeddingStore(output, fixtures.RECIPE.replace(encoder="other"), root=".")
    assert os.listdir(output.parent) == []
    with EmbeddingStore(output, fixtures.RECIPE.replace(encoder="other"), root="."):
        pass


def test_overwrite_begins_anew_once_there_is_something(fixtures: ModuleType, manifest: Manifest, output: Path) -> None:
    other = fixtures.RECIPE.replace(encoder="other")
    fixtures.extract(output, manifest)
    before = fixtures.contents(output)
    with EmbeddingStore(output, other, root=manifest.root, overwrite=True) as store:
        assert len(store.plan(manifest).todo) == len(manifest)
        store.publish()
    assert fixtures.contents(output) == before
    few = Manifest(manifest.sources[:2], manifest.root)
    assert fixtures.extract(output, few, other, overwrite=True) == 2
    table = read_store(output)
    assert (table.recipe, len(table.sources)) == (other, 2)


def test_overwrite_takes_no_store_from_a_living_writer(fixtures: ModuleType, manifest: Manifest, output: Path) -> None:
    with EmbeddingStore(output, fixtures.RECIPE, root=manifest.root) as writer:
        writer.append([fixtures.result_of(manifest[0], manifest.root)], environment={})
        writer.commit()
        with pytest.raises(StoreBusyError, match="another process"):  # before anything is computed
            EmbeddingStore(output, fixtures.RECIPE, root=manifest.root, overwrite=True)
    assert fixtures.extract(output, manifest) == len(manifest) - 1


def test_overwrite_deletes_no_stranger(fixtures: ModuleType, tmp_path: Path) -> None:
    place = tmp_path / "notes.txt"
    place.write_text("dear diary")
    for overwrite in (True, False):
        with pytest.raises(StoreFormatError, match="no embedx store"):
            EmbeddingStore(place, fixtures.RECIPE, root=".", overwrite=overwrite)
    assert os.listdir(tmp_path) == ["notes.txt"]


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_a_failure(fixtures: ModuleType, output: Path, value: float) -> None:
    good = embedded(fixtures, Source("b.wav"))
    store_one(fixtures, output, [embedded(fixtures, Source("a.wav"), value), good])
    table = read_store(output)
    assert table.status.tolist() == [1, 0]
    assert str(table.errors[0]).startswith("non_finite")


def test_values_that_only_float16_cannot_hold_stop_the_run(fixtures: ModuleType, output: Path) -> None:
    def overflowing() -> None:
        with EmbeddingStore(output, fixtures.RECIPE, root=output.parent) as store:
            store.append([embedded(fixtures, Source("a.wav"))], environment={})
            store.append([embedded(fixtures, Source("b.wav"), 1e6)], environment={})

    with pytest.raises(StoreError, match="--store-dtype float32"):
        overflowing()
    store_one(fixtures, output, [embedded(fixtures, Source("c.wav"))])
    assert [s.uri for s in read_store(output).sources] == ["a.wav", "c.wav"]
    store_one(
        fixtures,
        output.with_name("f4.h5"),
        [embedded(fixtures, Source("b.wav"), 1e6)],
        fixtures.RECIPE.replace(store_dtype="float32"),
    )
    assert read_store(output.with_name("f4.h5")).embeddings.max() == 1e6


def test_rows_of_another_shape_are_refused(fixtures: ModuleType, output: Path) -> None:
    with pytest.raises(StoreError, match="do not fit 3 layers"):
        store_one(fixtures, output, [embedded(fixtures, Source("a.wav"), n_layers=2)])


def test_one_layer_is_read_without_the_others(
    fixtures: ModuleType, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, recipe = 640, fixtures.RECIPE.replace(layers=tuple(range(13)))
    monkeypatch.setattr(fixtures, "DIM", 768)
    store_one(fixtures, output, [embedded(fixtures, Source("a.wav"), n=n, n_layers=13)], recipe)

    class Counting(io.FileIO):
        n_bytes = 0

        def readinto(self, target: memoryview) -> int:  # type: ignore[override]
            self.n_bytes += len(target)
            return super().readinto(target) or 0

    with Counting(output) as raw, h5py.File(raw) as file:
        assert file["embeddings"][:, 4].shape == (n, 768)
    assert n * 768 * 2 <= raw.n_bytes < 2 * n * 768 * 2


@pytest.mark.parametrize("step", range(1, 40, 4))
def test_an_interrupt_inside_of_hdf5_loses_nothing(
    fixtures: ModuleType, manifest: Manifest, output: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    fixtures.extract(output.with_name("reference.h5"), manifest)
    fixtures.extract(output, manifest, publish=False)
    real, n = os.pwrite, 0

    def pwrite(*args: Any) -> int:
        nonlocal n
        n += 1
        if n == step:
            raise KeyboardInterrupt
        return real(*args)

    with EmbeddingStore(output, fixtures.RECIPE, root=manifest.root) as store:
        monkeypatch.setattr(os, "pwrite", pwrite)
        try:
            store.publish()
            assert n < step
        except KeyboardInterrupt:
            assert not output.exists()
        monkeypatch.undo()
    assert fixtures.extract(output, manifest) == 0
    assert fixtures.contents(output) == fixtures.contents(output.with_name("reference.h5"))


# -- when it commits and publishes -----------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("COMMIT_CLIPS", 3), ("COMMIT_SECONDS", 0.0), ("COMMIT_BYTES", 1)])
def test_a_full_buffer_is_committed(
    fixtures: ModuleType, output: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    with EmbeddingStore(output, fixtures.RECIPE, root=".") as store:
        assert store.append([embedded(fixtures, Source("a.wav"))], environment={}) == 0
        monkeypatch.setattr(store_room, name, value)
        assert store.append([embedded(fixtures, Source(f"{i}.wav")) for i in range(2)], environment={}) == 3
        assert store.commit() == 0


def test_what_waits_is_committed_by_the_age_of_the_commit_before(
    fixtures: ModuleType, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(store_room.time, "monotonic", lambda: now[0])
    with EmbeddingStore(output, fixtures.RECIPE, root=".") as store:
        now[0] += 31  # one unit took so long: it does not wait for the next
        assert store.append([embedded(fixtures, Source("a.wav"))], environment={}) == 1
        assert store.append([embedded(fixtures, Source("b.wav"))], environment={}) == 0
        assert store.commit_if_due() == 0
        now[0] += 31
        assert store.commit_if_due() == 1
        assert store.commit_if_due() == 0


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_regular_file_is_not_read(fixtures: ModuleType, tmp_path: Path, output: Path, kind: str) -> None:
    place = tmp_path / "a.wav"
    os.mkfifo(place) if kind == "pipe" else place.symlink_to("/dev/zero")
    manifest = Manifest.from_paths(["a.wav"], root=tmp_path)
    with EmbeddingStore(output, fixtures.RECIPE, root=tmp_path) as store:
        assert store.plan(manifest).todo == {("a.wav", 0.0, None)}  # and comes back at all
        store.append([Failure(manifest[0], NO_STAMP, "decode", "not a regular file")], environment={})
        store.publish()
        assert store.plan(manifest).n_failed == 1


def test_much_that_is_pending_is_published(fixtures: ModuleType, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_room, "PUBLISH_BYTES", 1)
    with EmbeddingStore(output, fixtures.RECIPE, root=".") as store:
        for i in range(30):
            store.append([embedded(fixtures, Source(f"{i:02}.wav"))], environment={})
            store.commit()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len(read_store(output).sources) >= 10
        store.publish()
    assert len(read_store(output).sources) == 30


def test_a_reader_is_told_of_what_is_not_published(fixtures: ModuleType, manifest: Manifest, output: Path) -> None:
    few = Manifest(manifest.sources[:2], manifest.root)
    fixtures.extract(output, few)
    fixtures.extract(output, manifest, publish=False)
    with pytest.warns(EmbedxWarning, match="cut off"):
        assert len(read_store(output).sources) == 2


def test_nothing_there(tmp_path: Path) -> None:
    assert read_recipe(tmp_path / "none.h5") is None
    with pytest.raises(StoreFormatError, match="does not exist"):
        read_store(tmp_path / "none.h5")
    with pytest.raises(StoreFormatError, match="is a folder"):
        read_store(tmp_path)


def test_a_folder_that_may_not_be_written(fixtures: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        EmbeddingStore(tmp_path / "file/emb.h5", fixtures.RECIPE, root=".")
