"""Stores that were written by schema 1 are read, resumed and merged by every later embedx."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from embedx.manifest import Manifest, Source
from embedx.recipe import Recipe
from embedx.store.maintenance import merge_stores, verify_store
from embedx.store.rows import FileStamp
from embedx.store.store import EmbeddingStore, read_recipe, read_store

HERE = Path(__file__).parent
SOURCES = (
    Source("/elsewhere/b.wav"),
    Source("bad.wav", label="cat"),
    Source("cat/a.wav", label="cat", group="g1", split="train"),
    Source("cat/a.wav", label="cat", start_seconds=1.5, stop_seconds=2.25),
    Source("cat/a.wav", label="cat", start_seconds=1.5),
    Source("dog/späce 日本\n.wav", label="dög"),
    Source("zz/empty.wav", label="cat", split="valid"),
)
NUMBERS = (4, None, 0, 2, 1, 3, 5)
"""Which clip of make_store_1.py each source is: its values follow from it."""


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    """A copy: nothing here may change the files themselves."""
    for name in ("store-1.h5", "store-1-pending.h5.parts"):
        copy = shutil.copytree if (HERE / name).is_dir() else shutil.copy
        copy(HERE / name, tmp_path / name)
    return tmp_path


def assert_as_written(path: Path, n_layers: int, dtype: str) -> None:
    table = read_store(path)
    assert table.sources == SOURCES
    assert table.status.tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert table.errors == (None, "decode: no audio", None, None, None, None, None)
    assert table.n_rows.tolist() == [2, 0, 1, 3, 2, 1, 0]
    assert table.embeddings.dtype == dtype
    assert table.environments == ({"device": "cpu", "embedx": "0.1.0"},)
    for i, number in enumerate(NUMBERS):
        assert bytes(table.hashes[i]) == (b"f" * 32 if number is None else bytes([number]) * 32)
        n = int(table.n_rows[i])
        if n:
            assert number is not None
            rows = slice(table.row0[i], table.row0[i] + n)
            values = (np.arange(n * n_layers * 4) + number).reshape(n, n_layers, 4) / 8
            np.testing.assert_array_equal(table.embeddings[rows], values)
            np.testing.assert_array_equal(table.control[rows], np.tile(number + np.arange(128.0), (n, 1)))
            np.testing.assert_array_equal(table.start_seconds[rows], np.arange(n) * 10.0)
            np.testing.assert_array_equal(table.end_seconds[rows], np.arange(n) * 10.0 + 10)
    assert verify_store(path) == []


def test_a_published_file(frozen: Path) -> None:
    assert_as_written(frozen / "store-1.h5", 3, "float16")


def test_the_recipe(frozen: Path) -> None:
    recipe = read_recipe(frozen / "store-1.h5")
    assert recipe == Recipe.from_json((HERE / "store-1-recipe.json").read_text())
    with h5py.File(frozen / "store-1.h5") as file:
        assert recipe is not None
        assert recipe.fingerprint() == file.attrs["embedx_fingerprint"].decode()


def test_parts_that_were_never_published(frozen: Path) -> None:
    store = frozen / "store-1-pending.h5"
    recipe = read_recipe(store)
    assert recipe is not None
    assert json.loads((frozen / "store-1-pending.h5.parts/identity.json").read_text())["schema"] == 1
    with EmbeddingStore(store, recipe, root=frozen) as handle:
        plan = handle.plan(Manifest(SOURCES, frozen))
        assert (plan.todo, plan.n_done, plan.n_failed) == (frozenset(), 6, 1)
        handle.publish()
    assert_as_written(store, 1, "float32")
    assert not Path(f"{store}.parts").exists()


def test_what_is_written_now_has_the_same_tables(frozen: Path) -> None:
    merge_stores([frozen / "store-1.h5"], frozen / "now.h5", root=frozen)
    assert_as_written(frozen / "now.h5", 3, "float16")

    def tables(path: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item: found.update(
                    {name: (item.dtype, item.shape, item[...].tobytes()) if isinstance(item, h5py.Dataset) else None}
                )
            )
        return found

    assert tables(frozen / "now.h5") == tables(frozen / "store-1.h5")


def test_stamps(frozen: Path) -> None:
    with h5py.File(frozen / "store-1.h5") as file:
        sizes, times = file["clips/size"][:].tolist(), file["clips/mtime_ns"][:].tolist()
    stamps = [FileStamp(b"", size, time) for size, time in zip(sizes, times, strict=True)]
    assert stamps[2] == FileStamp(b"", 1000, 10**18)
    assert stamps[1] == FileStamp(b"", 9, 8)
