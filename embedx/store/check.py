"""What a store file must look like: an untrusted file is refused before any of its data is read.

Plain h5py follows links, external storage and virtual datasets into other files, decompresses without a
bound and allocates what a file declares. So the expected names are walked, and nothing else is opened.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from embedx.errors import StoreError, StoreFormatError
from embedx.recipe import Recipe
from embedx.store.rows import CONTROL_DIM
from embedx.text import first_line

__all__ = ["CLIP_NUMBERS", "CLIP_TEXTS", "SCHEMA", "TEXT_ATTRIBUTES", "check_clips", "check_tables"]

SCHEMA = 1
"""Version of the layout; the README of this folder writes it down."""

TEXT_ATTRIBUTES = ("embedx_fingerprint", "embedx_recipe", "embedx_root")
CLIP_TEXTS = ("id", "path", "error", "label", "group", "split")
CLIP_NUMBERS: dict[str, np.dtype[Any]] = {
    "start": np.dtype("<f8"),
    "stop": np.dtype("<f8"),
    "sha256": np.dtype("u1"),
    "size": np.dtype("<i8"),
    "mtime_ns": np.dtype("<i8"),
    "status": np.dtype("u1"),
    "rows": np.dtype("<i8"),
    "environment": np.dtype("<i4"),
}
_ROW_TABLES = ("embeddings", "control", "start", "end", "crc32", "clip")
_MAX_ATTRIBUTE_BYTES = 60_000
_STORE_DTYPES = ("float16", "float32")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn whatever h5py or a malformed file raises into one line of ours."""
    try:
        yield
    except (StoreError, FileNotFoundError, MemoryError):
        raise
    except PermissionError as error:
        raise StoreError(f"{path} may not be read: {error.strerror}") from error
    except Exception as error:
        reason = first_line(error)
        raise StoreFormatError(
            f"{path} is no embedx store or a damaged one ({reason}). Give a file that embedx extract wrote, "
            "or move this one away"
        ) from error


def require(condition: object, what: str) -> None:
    """Refuse a file; `translated` adds which one."""
    if not condition:
        raise ValueError(what)


def read_attributes(file: h5py.File) -> tuple[Recipe, dict[str, str]]:
    """Return the recipe and the root; their types and sizes are checked before they are read."""
    require(set(file.attrs) == {"embedx_schema", *TEXT_ATTRIBUTES}, "its attributes are not those of a store")
    for name in file.attrs:
        attribute = h5py.h5a.open(file.id, name.encode())
        kind = "i" if name == "embedx_schema" else "S"
        sound = attribute.shape == () and attribute.dtype.kind == kind
        require(sound and attribute.get_storage_size() <= _MAX_ATTRIBUTE_BYTES, f"attribute {name} has a wrong type")
    schema = int(file.attrs["embedx_schema"])
    require(schema == SCHEMA, f"it has schema {schema}, this embedx reads schema {SCHEMA}")
    fingerprint, text, root = (bytes(file.attrs[name]).decode() for name in TEXT_ATTRIBUTES)
    recipe, place = Recipe.from_json(text), json.loads(root)
    require(recipe.fingerprint() == fingerprint, "its recipe does not match its fingerprint")
    require(recipe.store_dtype in _STORE_DTYPES, f"its dtype is {recipe.store_dtype}")
    require(set(place) == {"absolute", "relative"}, "its root is none")
    require(all(isinstance(value, str) and "\0" not in value for value in place.values()), "its root is none")
    require(os.path.isabs(place["absolute"]), "its root is none")
    return recipe, place


def check_tables(file: h5py.File, recipe: Recipe, n_bytes: int) -> tuple[int, int]:
    """Return rows R and width D of a file whose every object is what it should be.

    Parameters
    ----------
    file : h5py.File
        Open for reading.
    recipe : Recipe
        As the file's attributes give it.
    n_bytes : int
        Size on disk: more than that cannot be in the tables.
    """
    _check_links(file, {*_ROW_TABLES, "environments", "clips"})
    require(file.get("clips", getclass=True) is h5py.Group and not len(file["clips"].attrs), "/clips is no group")
    _check_links(file["clips"], {*CLIP_TEXTS, *CLIP_NUMBERS})
    names = [*_ROW_TABLES, "environments", *(f"clips/{name}" for name in (*CLIP_TEXTS, *CLIP_NUMBERS))]
    require(sum(_storage(file, name) for name in names) <= n_bytes, "it declares more data than it holds")
    n, n_layers, dim = file["embeddings"].shape
    require(n_layers == len(recipe.layers) == len(set(recipe.layers)) > 0, "/embeddings has not its recipe's layers")
    for name, (shape, dtype) in _expected(n, n_layers, dim, file["clips/path"].shape[0], recipe.store_dtype).items():
        require(file[name].shape == shape and file[name].dtype == dtype, f"/{name} has another shape or dtype")
    for name in ("environments", *(f"clips/{name}" for name in CLIP_TEXTS)):
        require(file[name].dtype.kind == "S" and file[name].ndim == 1, f"/{name} is no list of texts")
        require(len(file[name]) == len(file["clips/path"]) or name == "environments", f"/{name} has another length")
    return n, dim


def _expected(n: int, n_layers: int, dim: int, n_clips: int, dtype: str) -> dict[str, tuple[tuple[int, ...], Any]]:
    rows = {
        "embeddings": ((n, n_layers, dim), np.dtype(dtype).newbyteorder("<")),
        "control": ((n, CONTROL_DIM), np.dtype("<f4")),
        "start": ((n,), np.dtype("<f8")),
        "end": ((n,), np.dtype("<f8")),
        "crc32": ((n, 1 + n_layers), np.dtype("<u4")),
        "clip": ((n,), np.dtype("<i8")),
    }
    shapes = {"sha256": (n_clips, 32)}
    clips = {f"clips/{name}": (shapes.get(name, (n_clips,)), kind) for name, kind in CLIP_NUMBERS.items()}
    return {**rows, **clips}


def _check_links(group: h5py.Group, expected: set[str]) -> None:
    require(len(group) == len(expected) and set(group) == expected, f"{group.name} holds not the objects of a store")
    for name in expected:
        require(type(group.get(name, getlink=True)) is h5py.HardLink, f"{name} is a link to somewhere else")


def _storage(file: h5py.File, name: str) -> int:
    """Return the bytes that a dataset takes, if it keeps them plainly in this file."""
    require(file.get(name, getclass=True) is h5py.Dataset, f"/{name} is no dataset")
    dataset = file[name]
    made = dataset.id.get_create_plist()
    require(made.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED), f"/{name} is virtual or of an odd layout")
    require(made.get_external_count() == 0, f"/{name} keeps its data in another file")
    require(made.get_nfilters() == 0, f"/{name} has a filter")
    require(dataset.dtype.kind in "uifS" and dataset.dtype.itemsize, f"/{name} has a foreign dtype")
    require(dataset.shape is not None and dataset.maxshape == dataset.shape, f"/{name} can grow")
    n_bytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    require(dataset.id.get_storage_size() >= n_bytes, f"/{name} declares more data than it holds")
    has_crc = name == "environments" or name.startswith("clips/")
    require(set(dataset.attrs) == ({"crc32"} if has_crc else set()), f"/{name} has foreign attributes")
    if has_crc:
        crc = h5py.h5a.open(dataset.id, b"crc32")
        require(crc.shape == () and crc.dtype == np.uint32, f"the CRC of /{name} has a wrong type")
    return n_bytes


def read_table(file: h5py.File, name: str) -> NDArray[Any]:
    """Return a whole table that carries its CRC."""
    values: NDArray[Any] = file[name][...]
    whole = zlib.crc32(values.tobytes()) == int(file[name].attrs["crc32"])
    require(whole, f"/{name} does not match its CRC: it is damaged")
    return values


def read_texts(file: h5py.File, name: str) -> list[str]:
    """Return a column of texts that carries its CRC, however wide one long cell has made it."""
    dataset, crc = file[name], 0
    found: dict[bytes, str] = {}  # labels repeat: each is kept once
    texts: list[str] = []
    for rows in row_blocks(len(dataset), dataset.dtype.itemsize, 1 << 24):
        values = dataset[rows]
        crc = zlib.crc32(values.tobytes(), crc)
        texts += [found.setdefault(value, value.decode()) for value in values.tolist()]
    require(crc == int(dataset.attrs["crc32"]), f"/{name} does not match its CRC: it is damaged")
    return texts


def row_blocks(n: int, width: int, n_bytes: int) -> Iterator[slice]:
    """Cut n rows of so many bytes into runs of about ``n_bytes``."""
    step = max(1, n_bytes // width)
    return (slice(at, min(at + step, n)) for at in range(0, n, step))


def check_clips(numbers: dict[str, NDArray[Any]], environments: Sequence[str], clip: NDArray[np.int64]) -> None:
    """Refuse tables that contradict each other."""
    counts, status, chosen = numbers["rows"], numbers["status"], numbers["environment"]
    require((counts >= 0).all() and counts.sum() == len(clip), "/clips/rows does not add up to the rows")
    require((status <= 1).all() and not counts[status == 1].any(), "/clips/status does not fit")
    require(np.array_equal(clip, np.repeat(np.arange(len(counts)), counts)), "/clip names other clips than /clips")
    require(((chosen >= 0) & (chosen < len(environments))).all(), "/clips/environment does not fit")
    require(all(isinstance(json.loads(text), dict) for text in environments), "/environments holds no JSON objects")
