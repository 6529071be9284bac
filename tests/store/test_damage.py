"""Bits that flip, files that are cut, parts that belong to nobody here."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from embedx.errors import EmbedxError, EmbedxWarning, StoreFormatError
from embedx.manifest import Manifest
from embedx.store.maintenance import merge_stores, store_info, verify_store
from embedx.store.store import read_store


@pytest.fixture
def manifest(fixtures: ModuleType, tmp_path: Path) -> Manifest:
    return fixtures.make_manifest(tmp_path / "audio")


@pytest.fixture
def store(fixtures: ModuleType, manifest: Manifest, tmp_path: Path) -> Path:
    fixtures.extract(tmp_path / "emb.h5", manifest)
    return tmp_path / "emb.h5"


@pytest.fixture
def pending(fixtures: ModuleType, manifest: Manifest, tmp_path: Path) -> Path:
    fixtures.extract(tmp_path / "pending.h5", manifest, publish=False)
    return tmp_path / "pending.h5"


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def damage_row(path: Path, name: str, row: int = 3) -> None:
    with h5py.File(path, "r+") as file:
        values = file[name][row]
        file[name][row] = values + np.ones_like(values)


@pytest.mark.parametrize("name", ["embeddings", "control", "start", "end", "crc32"])
def test_a_damaged_row_is_found_named_and_computed_again(
    fixtures: ModuleType, manifest: Manifest, store: Path, name: str
) -> None:
    before = fixtures.contents(store)
    damage_row(store, name)
    with h5py.File(store) as file:
        clip = file["clips/id"][int(file["clip"][3])].decode()
    with pytest.raises(StoreFormatError, match=f"1 of .* rows are damaged.*{clip}.*--repair"):
        read_store(store)
    assert [f"1 rows do not match their CRC, the first of {clip}" in p for p in verify_store(store)] == [True]
    with pytest.warns(EmbedxWarning, match=f"1 clips are damaged.*{clip}"):
        merge_stores([store], store)
    assert verify_store(store) == []
    assert len(read_store(store).sources) == len(manifest) - 1
    assert fixtures.extract(store, manifest) == 1
    assert fixtures.contents(store) == before


def test_damage_is_never_carried_into_the_next_file(fixtures: ModuleType, manifest: Manifest, store: Path) -> None:
    before = fixtures.contents(store)
    damage_row(store, "embeddings", 0)
    damage_row(store, "control", -1)
    with pytest.warns(EmbedxWarning, match="2 clips are damaged"):
        fixtures.extract(store, Manifest((*manifest.sources, *manifest.from_paths(["new.wav"]).sources), manifest.root))
    assert fixtures.extract(store, manifest) == 2
    found = read_store(store)
    assert verify_store(store) == []
    assert len(found.sources) == len(manifest) + 1
    assert before["embeddings"] == fixtures.contents(store)["embeddings"]


def test_damage_of_one_layer_does_not_hide_the_others(store: Path) -> None:
    with h5py.File(store, "r+") as file:
        file["embeddings"][2, 1] += 1
    assert read_store(store, layers=[0, 5]).embeddings.shape[1] == 2
    with pytest.raises(StoreFormatError, match="damaged"):
        read_store(store, layers=[2])


@pytest.mark.parametrize("name", ["path", "label", "sha256", "rows", "error", "start"])
def test_a_damaged_table_of_clips_is_refused(store: Path, name: str) -> None:
    with h5py.File(store, "r+") as file:
        offset = file["clips"][name].id.get_offset()
    flip(store, offset * 8 + 1)
    with pytest.raises(StoreFormatError, match=f"/clips/{name} does not match its CRC"):
        store_info(store)
    assert verify_store(store)


def test_flipped_bits_anywhere_are_refused_or_harmless(fixtures: ModuleType, store: Path) -> None:
    before = fixtures.contents(store)
    whole = read_store(store)
    data, rng = store.read_bytes(), random.Random(0)
    n_refused = 0
    for _ in range(250):
        store.write_bytes(data)
        flip(store, rng.randrange(len(data) * 8))
        try:
            table = read_store(store)
        except EmbedxError:
            n_refused += 1
            continue
        assert (table.sources, table.errors, table.recipe) == (whole.sources, whole.errors, whole.recipe)
        for name in ("embeddings", "control", "hashes", "clip", "start_seconds", "end_seconds"):
            np.testing.assert_array_equal(getattr(table, name), getattr(whole, name))
    assert n_refused > 100
    assert before


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "longer"])
def test_a_bad_part_is_set_aside_and_its_clips_computed_again(
    fixtures: ModuleType, manifest: Manifest, store: Path, pending: Path, how: str
) -> None:
    part = sorted(Path(f"{pending}.parts").glob("*.h5"))[1]
    data = part.read_bytes()
    if how == "flipped":
        flip(part, len(data) * 4)
    else:
        part.write_bytes({"cut": data[:-100], "empty": b"", "longer": data + b"x"}[how])
    assert len([p for p in verify_store(pending) if part.name in p]) >= 1
    with pytest.warns(EmbedxWarning, match="set aside"):
        assert fixtures.extract(pending, manifest) == 3
    assert fixtures.contents(pending) == fixtures.contents(store)
    assert fixtures.leftovers(pending) == sorted(["identity.json", "lock", f"{part.name}.bad"])


def test_a_foreign_part_is_never_mixed_in(fixtures: ModuleType, manifest: Manifest, store: Path, pending: Path) -> None:
    other = pending.with_name("other.h5")
    fixtures.extract(other, manifest, fixtures.RECIPE.replace(encoder="other"), publish=False)
    foreign = sorted(Path(f"{other}.parts").glob("*.h5"))[0]
    shutil.copy(foreign, Path(f"{pending}.parts"))
    with pytest.warns(EmbedxWarning, match="made by another recipe"):
        assert fixtures.extract(pending, manifest) == 0
    assert fixtures.contents(pending) == fixtures.contents(store)


def test_a_part_from_a_stranger_is_never_mixed_in(fixtures: ModuleType, manifest: Manifest, pending: Path) -> None:
    import zlib

    data = b"\x89HDF\r\n\x1a\n" + bytes(4000)
    name = f"{10**18:020d}-{'a' * 32}-{len(data)}-{zlib.crc32(data):08x}.h5"
    (Path(f"{pending}.parts") / name).write_bytes(data)
    with pytest.warns(EmbedxWarning, match="no embedx store"):
        assert fixtures.extract(pending, manifest) == 0


def test_other_files_in_the_folder_are_left_alone(fixtures: ModuleType, manifest: Manifest, pending: Path) -> None:
    (Path(f"{pending}.parts") / "notes.txt").write_text("mine")
    assert fixtures.extract(pending, manifest) == 0
    assert "notes.txt" in fixtures.leftovers(pending)
    assert fixtures.extract(pending, manifest) == 0
