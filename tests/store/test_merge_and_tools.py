"""Merge, info and verify, from Python and from the command line."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from embedx import cli
from embedx.cli import info, merge, verify
from embedx.errors import RecipeMismatchError, StoreError
from embedx.manifest import Manifest, Source
from embedx.store.maintenance import merge_stores, store_info, verify_store
from embedx.store.rows import NO_STAMP, Failure
from embedx.store.store import EmbeddingStore, read_store
from embedx.testing import make_dataset, make_store


@pytest.fixture
def manifest(fixtures: ModuleType, tmp_path: Path) -> Manifest:
    return fixtures.make_manifest(tmp_path / "audio")


def embedx(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    commands = {"info": "", "merge": "", "verify": ""}
    monkeypatch.setattr(cli, "COMMANDS", {**cli.COMMANDS, **commands})
    assert {info, merge, verify}
    return cli.main([str(word) for word in words])


# -- merge -----------------------------------------------------------------------------------------


def test_shards_merge_into_what_one_run_gives(fixtures: ModuleType, manifest: Manifest, tmp_path: Path) -> None:
    fixtures.extract(tmp_path / "whole.h5", manifest)
    inputs = [tmp_path / f"{i}.h5" for i in range(3)]
    for i, path in enumerate(inputs):
        fixtures.extract(path, manifest, shard=(i, 3), publish=i != 1)
    assert merge_stores(inputs, tmp_path / "merged.h5") == len(manifest)
    assert fixtures.contents(tmp_path / "merged.h5") == fixtures.contents(tmp_path / "whole.h5")
    assert fixtures.extract(tmp_path / "merged.h5", manifest) == 0
    assert fixtures.leftovers(tmp_path / "merged.h5") == []


def test_another_recipe_is_not_merged(fixtures: ModuleType, manifest: Manifest, tmp_path: Path) -> None:
    fixtures.extract(tmp_path / "a.h5", manifest)
    fixtures.extract(tmp_path / "b.h5", manifest, fixtures.RECIPE.replace(pooling="mean+std"))
    with pytest.raises(RecipeMismatchError, match="pooling: recorded 'mean', asked 'mean\\+std'"):
        merge_stores([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.h5")
    assert not list(tmp_path.glob("c.h5*"))


def test_stores_of_different_folders_keep_their_files(fixtures: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fixtures.extract(tmp_path / f"{name}.h5", fixtures.make_manifest(tmp_path / name, 4))
    merge_stores([tmp_path / "one.h5", tmp_path / "two.h5"], tmp_path / "both.h5")
    table = read_store(tmp_path / "both.h5")
    assert table.root == tmp_path
    assert all((table.root / s.uri).is_file() for s in table.sources)
    assert len(table.sources) == 8
    assert fixtures.extract(tmp_path / "both.h5", fixtures.load_manifest(tmp_path)) == 0


def test_contradicting_stores_are_refused_unless_told(fixtures: ModuleType, manifest: Manifest, tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in ("a.h5", "b.h5", "c.h5"))
    fixtures.extract(a, manifest)
    for source in manifest:
        (manifest.root / source.uri).write_bytes(source.uri.encode() + b" changed")
    fixtures.extract(b, manifest)
    with pytest.raises(StoreError, match=r"different content.*--last-wins"):
        merge_stores([a, b], c)
    merge_stores([a, b], c, last_wins=True)
    kept, wanted = read_store(c), read_store(b)
    good = wanted.status == 0
    assert (kept.hashes[good] == wanted.hashes[good]).all()


def test_what_stores_know_of_a_clip_is_joined_and_contradictions_are_refused(
    fixtures: ModuleType, manifest: Manifest, tmp_path: Path
) -> None:
    a, b, c, d = (tmp_path / f"{name}.h5" for name in "abcd")
    fixtures.extract(a, replace(manifest, sources=tuple(replace(s, label="dog", group=None) for s in manifest)))
    fixtures.extract(b, replace(manifest, sources=tuple(replace(s, label=None, group="anna") for s in manifest)))
    merge_stores([a, b], c)
    assert {(source.label, source.group) for source in read_store(c).sources} == {("dog", "anna")}
    fixtures.extract(b, replace(manifest, sources=tuple(replace(s, label="cat", group="anna") for s in manifest)))
    with pytest.raises(StoreError, match=r"the label of .* is 'dog' in .*a\.h5 and 'cat' in .*b\.h5: .*--last-wins"):
        merge_stores([a, b], d)
    merge_stores([a, b], d, last_wins=True)
    assert {source.label for source in read_store(d).sources} == {"cat"}


def test_a_failure_never_replaces_rows(fixtures: ModuleType, manifest: Manifest, tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in ("a.h5", "b.h5", "c.h5"))
    fixtures.extract(a, manifest)
    with EmbeddingStore(b, fixtures.RECIPE, root=manifest.root) as store:
        store.append([Failure(s, NO_STAMP, "missing", "gone") for s in manifest], environment={})
        store.publish()
    for inputs in ([a, b], [b, a]):
        merge_stores(inputs, c)
        assert (read_store(c).status == read_store(a).status).all()
        c.unlink()


def test_output_that_exists(fixtures: ModuleType, manifest: Manifest, tmp_path: Path) -> None:
    few = Manifest(manifest.sources[:3], manifest.root)
    fixtures.extract(tmp_path / "a.h5", few)
    fixtures.extract(tmp_path / "b.h5", manifest)
    with pytest.raises(StoreError, match="exists"):
        merge_stores([tmp_path / "a.h5"], tmp_path / "b.h5")
    assert merge_stores([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "a.h5") == len(manifest)
    assert fixtures.contents(tmp_path / "a.h5") == fixtures.contents(tmp_path / "b.h5")


def test_stores_of_other_machines_with_a_root_given(fixtures: ModuleType, manifest: Manifest, tmp_path: Path) -> None:
    fixtures.extract(tmp_path / "whole.h5", manifest)
    for i in range(2):
        os.rename(manifest.root, tmp_path / f"node{i}")
        fixtures.extract(tmp_path / f"{i}.h5", Manifest(manifest.sources, tmp_path / f"node{i}"), shard=(i, 2))
        os.rename(tmp_path / f"node{i}", manifest.root)
    merge_stores([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "c.h5", root=manifest.root)
    assert fixtures.contents(tmp_path / "c.h5") == fixtures.contents(tmp_path / "whole.h5")


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def store(fixtures: ModuleType, manifest: Manifest, tmp_path: Path) -> Path:
    sources = (*manifest.sources, Source("zz/\x1b[31mred.wav"))
    fixtures.extract(tmp_path / "emb.h5", Manifest(sources, manifest.root))
    return tmp_path / "emb.h5"


def test_info(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Manifest
) -> None:
    assert embedx(monkeypatch, "info", store) == 0
    text = capsys.readouterr().out
    counted = store_info(store)
    for words in (
        "encoder   tiny, revision bundled",
        "3 layers (0, 2, 5) x 6, float16",
        f"clips     13, of which {counted.n_failed} failed",
        "1  missing",
        "6  dog",
        "1  (none)",
        "made by         13  by fixtures",
        "window_seconds=10.0",
        str(manifest.root),
    ):
        assert words in text, words


def test_info_counts_groups_and_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = make_store(tmp_path / "emb.h5", make_dataset(n=12, split=("train", "train", "test")))
    assert embedx(monkeypatch, "info", place) == 0
    text = capsys.readouterr().out
    assert "groups           2\n" in text
    assert "split            4  test\nsplit            8  train\n" in text


def test_info_failures(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert embedx(monkeypatch, "info", store, "--failures") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == r"zz/\u001b[31mred.wav" + "\tmissing: no such file"
    assert len(lines) == store_info(store).n_failed


def test_info_says_what_is_pending(
    fixtures: ModuleType,
    manifest: Manifest,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tuple(replace(s, start_seconds=1.0) for s in manifest)
    fixtures.extract(store, Manifest(other, manifest.root), publish=False)
    assert embedx(monkeypatch, "info", store) == 0
    assert "pending   4 parts" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["info", "verify", "merge"])
@pytest.mark.parametrize("content", [None, "no store"])
def test_no_store(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    content: str | None,
) -> None:
    if content is not None:
        (tmp_path / "emb.h5").write_text(content)
    more = ["-o", tmp_path / "c.h5"] if command == "merge" else []
    assert embedx(monkeypatch, command, tmp_path / "emb.h5", *more) == 2
    said = capsys.readouterr()
    assert len((said.out + said.err).splitlines()) == 1
    assert "emb.h5" in said.out + said.err


def test_verify_and_repair(
    fixtures: ModuleType, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import h5py

    assert embedx(monkeypatch, "verify", store) == 0
    assert "is intact: 13 clips" in capsys.readouterr().out
    with h5py.File(store, "r+") as file:
        file["embeddings"][0] += 1
    assert embedx(monkeypatch, "verify", store) == 2
    assert "do not match their CRC" in capsys.readouterr().out
    assert embedx(monkeypatch, "verify", store, "--repair") == 0
    assert "is intact: 12 clips" in capsys.readouterr().out
    assert verify_store(store) == []


def test_merge_command(
    fixtures: ModuleType,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for i in range(2):
        fixtures.extract(tmp_path / f"{i}.h5", manifest, shard=(i, 2))
    assert embedx(monkeypatch, "merge", tmp_path / "0.h5", tmp_path / "1.h5", "-o", tmp_path / "c.h5") == 0
    assert "12 clips from 2 stores" in capsys.readouterr().out
    assert embedx(monkeypatch, "merge", tmp_path / "0.h5", "-o", tmp_path / "c.h5") == 2
