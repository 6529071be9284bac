"""Untrusted files: each attack is built, and refused before its data is read."""

from __future__ import annotations

import json
import os
import resource
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from embedx.errors import StoreFormatError
from embedx.manifest import Manifest
from embedx.store.maintenance import merge_stores, store_info, verify_store
from embedx.store.store import EmbeddingStore, read_recipe, read_store

Attack = Callable[[h5py.File, Path], None]
ATTACKS: dict[str, Attack] = {}


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__] = function
    return function


def _replace(file: h5py.File, name: str, **made: object) -> h5py.Dataset:
    """Put another dataset in the place of one, with its shape and dtype unless told otherwise."""
    old = file[name]
    made = {"shape": old.shape, "dtype": old.dtype, **made}
    attributes = dict(old.attrs)
    del file[name]
    new = file.create_dataset(name, **made)
    new.attrs.update(attributes)
    return new


@attack
def external_link(file: h5py.File, secret: Path) -> None:
    del file["embeddings"]
    file["embeddings"] = h5py.ExternalLink(str(secret), "/data")


@attack
def soft_link_to_an_external_link(file: h5py.File, secret: Path) -> None:
    file["zz"] = h5py.ExternalLink(str(secret), "/data")
    del file["control"]
    file["control"] = h5py.SoftLink("/zz")


@attack
def soft_link_in_the_place_of_a_table(file: h5py.File, secret: Path) -> None:
    del file["start"]
    file["start"] = h5py.SoftLink("/end")


@attack
def external_link_in_the_middle_of_a_path(file: h5py.File, secret: Path) -> None:
    del file["clips"]
    file["clips"] = h5py.ExternalLink(str(secret), "/clips")


@attack
def virtual_dataset(file: h5py.File, secret: Path) -> None:
    shape, dtype = file["embeddings"].shape, file["embeddings"].dtype
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(str(secret), "data", shape=shape)
    del file["embeddings"]
    file.create_virtual_dataset("embeddings", layout)


@attack
def external_raw_storage(file: h5py.File, secret: Path) -> None:
    _replace(file, "control", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


@attack
def three_terabytes_declared(file: h5py.File, secret: Path) -> None:
    n = 3 * 10**12 // 512
    for name in ("embeddings", "control", "start", "end", "crc32", "clip"):
        _replace(file, name, shape=(n, *file[name].shape[1:]))


@attack
def three_terabytes_in_one_stored_chunk(file: h5py.File, secret: Path) -> None:
    n = 3 * 10**12 // 512
    _replace(file, "control", shape=(n, 128), chunks=(1, 128))[0] = 1


@attack
def gzip_bomb(file: h5py.File, secret: Path) -> None:
    _replace(file, "control", chunks=True, compression="gzip")[...] = 0


@attack
def unknown_filter(file: h5py.File, secret: Path) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((1, 128))
    made.set_filter(32000, h5py.h5z.FLAG_OPTIONAL, (1,))
    shape = file["control"].shape
    del file["control"]
    h5py.h5d.create(file.id, b"control", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(shape), made)


@attack
def object_dtype(file: h5py.File, secret: Path) -> None:
    _replace(file, "clips/path", dtype=h5py.string_dtype())


@attack
def reference_dtype(file: h5py.File, secret: Path) -> None:
    _replace(file, "clip", dtype=h5py.ref_dtype)


@attack
def compound_dtype(file: h5py.File, secret: Path) -> None:
    _replace(file, "start", dtype=np.dtype([("a", "f4"), ("b", "f4")]))


@attack
def pickled_attribute(file: h5py.File, secret: Path) -> None:
    file.attrs["model"] = np.void(b"cos\nsystem\n(S'true'\ntR.")


@attack
def opaque_recipe(file: h5py.File, secret: Path) -> None:
    file.attrs["embedx_recipe"] = np.void(b"\x80\x04.")


@attack
def attribute_on_a_table(file: h5py.File, secret: Path) -> None:
    file["embeddings"].attrs["note"] = 1


@attack
def wrong_shapes_between_tables(file: h5py.File, secret: Path) -> None:
    _replace(file, "start", shape=(file["start"].shape[0] + 1,))[...] = 0


@attack
def recipe_that_is_a_number(file: h5py.File, secret: Path) -> None:
    file.attrs["embedx_recipe"] = 7


@attack
def recipe_of_another_structure(file: h5py.File, secret: Path) -> None:
    file.attrs["embedx_recipe"] = np.bytes_(b"[" * 30000)


@attack
def recipe_with_another_type(file: h5py.File, secret: Path) -> None:
    record = {**json.loads(file.attrs["embedx_recipe"]), "layers": 5}
    file.attrs["embedx_recipe"] = np.bytes_(json.dumps(record).encode())


@attack
def recipe_that_was_edited(file: h5py.File, secret: Path) -> None:
    record = {**json.loads(file.attrs["embedx_recipe"]), "encoder": "better"}
    file.attrs["embedx_recipe"] = np.bytes_(json.dumps(record).encode())


@attack
def another_schema(file: h5py.File, secret: Path) -> None:
    file.attrs["embedx_schema"] = 2


@attack
def an_object_too_many(file: h5py.File, secret: Path) -> None:
    file["extra"] = [1]


@attack
def a_group_that_holds_itself(file: h5py.File, secret: Path) -> None:
    file["clips/again"] = file["clips"]


@attack
def a_table_that_is_a_type(file: h5py.File, secret: Path) -> None:
    del file["clip"]
    file["clip"] = np.dtype("<i8")


@attack
def a_table_without_shape(file: h5py.File, secret: Path) -> None:
    del file["clip"]
    file["clip"] = h5py.Empty("<i8")


@pytest.fixture
def victim(fixtures: ModuleType, tmp_path: Path) -> Path:
    fixtures.extract(tmp_path / "emb.h5", fixtures.make_manifest(tmp_path / "audio"))
    return tmp_path / "emb.h5"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = np.full((40, 128), 42.0, np.float32)
        file["clips/path"] = [b"secret"]
    return tmp_path / "secret.h5"


def assert_refused(fixtures: ModuleType, path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for use in (
        read_store,
        read_recipe,
        store_info,
        lambda p: EmbeddingStore(p, fixtures.RECIPE, root=p.parent).plan(Manifest((), p.parent)),
        lambda p: merge_stores([p], p.with_name("merged.h5")),
    ):
        with pytest.raises(StoreFormatError, match=r"emb\.h5 is no embedx store or a damaged one") as caught:
            use(path)
        assert "\n" not in str(caught.value)
    assert verify_store(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert not path.with_name("merged.h5").exists()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused(fixtures: ModuleType, victim: Path, secret: Path, name: str) -> None:
    with h5py.File(victim, "r+") as file:
        ATTACKS[name](file, secret)
    assert_refused(fixtures, victim)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rows", -5, "does not add up"),
        ("rows", 40, "does not add up"),
        ("status", 2, "/clips/status"),
        ("environment", 7, "/clips/environment"),
        ("start", 1e9, "another clip|not sorted|no embedx store"),
        ("path", b"zzz", "not sorted"),
        ("path", b"\xff", "no embedx store"),
    ],
)
def test_tables_that_contradict_each_other_are_refused(victim: Path, name: str, value: object, message: str) -> None:
    with h5py.File(victim, "r+") as file:
        table = file["clips"][name]
        if name == "start":
            file["clips/path"][1] = file["clips/path"][0]
            file["clips/path"].attrs["crc32"] = np.uint32(zlib.crc32(file["clips/path"][...].tobytes()))
        table[0] = value
        table.attrs["crc32"] = np.uint32(zlib.crc32(table[...].tobytes()))
    with pytest.raises(StoreFormatError, match=message):
        read_store(victim)


def test_a_recipe_of_a_gigabyte(fixtures: ModuleType, victim: Path) -> None:
    """Through dense attribute storage, the only one that takes more than 64 kB; sparse, so it costs no disk."""
    with h5py.File(victim, "r") as file:
        kept = dict(file.attrs)
    with h5py.File(victim, "w", libver="latest") as file:
        for name, value in kept.items():
            file.attrs[name] = value
        del file.attrs["embedx_recipe"]
        file.attrs.create("embedx_recipe", np.bytes_(b"x" * (1 << 26)))
    assert_refused(fixtures, victim)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF....WAVE", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(4000), os.urandom(5000)]
)
def test_no_hdf5_at_all(fixtures: ModuleType, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "emb.h5").write_bytes(content)
    assert_refused(fixtures, tmp_path / "emb.h5")


def test_hdf5_of_somebody_else(fixtures: ModuleType, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "emb.h5", "w") as file:
        file["embeddings"] = np.zeros((3, 2, 4))
    assert_refused(fixtures, tmp_path / "emb.h5")


def test_an_identity_from_a_stranger(fixtures: ModuleType, tmp_path: Path) -> None:
    fixtures.extract(tmp_path / "emb.h5", fixtures.make_manifest(tmp_path / "audio"), publish=False)
    for text in ("", "[]", '{"recipe": 7}', "[" * 50000):
        (tmp_path / "emb.h5.parts/identity.json").write_text(text)
        with pytest.raises(StoreFormatError, match=r"identity\.json is damaged"):
            read_recipe(tmp_path / "emb.h5")
