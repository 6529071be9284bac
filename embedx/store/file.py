"""One store file, immutable once written: its layout, how it is written, how a stranger's file is checked.

This is the only room that knows h5py. Files hold no filters, no variable-length data and no links but
hard ones, so that a file can never cost more memory than its own size on disk.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from embedx.errors import StoreError, StoreFormatError
from embedx.manifest import Source
from embedx.recipe import Recipe
from embedx.store.rows import CONTROL_DIM, FileStamp

__all__ = ["SCHEMA", "Clip", "Rows", "StoreFile", "row_crcs", "write_store_file"]

SCHEMA = 1
"""Version of the layout; see the README of this folder."""

CHUNK_ROWS = 64
"""Rows of one layer that lie together when there are several layers."""

MAX_ERROR_BYTES = 200
_TEXTS = ("id", "path", "error", "label", "group", "split")
_CLIP_TABLES = {
    "start": np.dtype("<f8"),
    "stop": np.dtype("<f8"),
    "sha256": np.dtype("u1"),
    "size": np.dtype("<i8"),
    "mtime_ns": np.dtype("<i8"),
    "status": np.dtype("u1"),
    "rows": np.dtype("<i8"),
    "environment": np.dtype("<i4"),
}
_ROW_TABLES = {
    "control": np.dtype("<f4"),
    "clip": np.dtype("<i8"),
    "start": np.dtype("<f8"),
    "end": np.dtype("<f8"),
    "crc32": np.dtype("<u4"),
}
_ATTRIBUTES = ("embedx_schema", "embedx_fingerprint", "embedx_recipe", "embedx_root")
_MAX_ATTRIBUTE_BYTES = 60_000


class Clip(NamedTuple):
    """What a file knows of one clip: everything but its rows."""

    source: Source
    stamp: FileStamp
    error: str | None
    n_rows: int
    environment: str


class Rows(NamedTuple):
    """Consecutive rows: embeddings (R, L, D), control (R, 128), start and end (R,), crc32 (R, L)."""

    embeddings: NDArray[Any]
    control: NDArray[np.float32]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    crc32: NDArray[np.uint32]

    @classmethod
    def empty(cls, n: int, n_layers: int, dim: int, dtype: str) -> Rows:
        """Return room for n rows."""
        return cls(
            np.empty((n, n_layers, dim), dtype),
            np.empty((n, CONTROL_DIM), np.float32),
            np.empty(n),
            np.empty(n),
            np.empty((n, n_layers), np.uint32),
        )


def row_crcs(embeddings: NDArray[Any]) -> NDArray[np.uint32]:
    """Return the CRC-32 of every row's every layer: (R, L, D) -> (R, L) uint32."""
    n, n_layers, dim = embeddings.shape
    flat = np.ascontiguousarray(embeddings).reshape(n * n_layers, dim).view(np.uint8)
    return np.fromiter(map(zlib.crc32, flat), np.uint32, n * n_layers).reshape(n, n_layers)  # type: ignore[arg-type]


# -- writing ---------------------------------------------------------------------------------------


def write_store_file(
    target: BinaryIO, *, recipe: Recipe, root: str, clips: Sequence[Clip], dim: int, blocks: Iterable[Rows]
) -> None:
    """Write one whole file into ``target``.

    Parameters
    ----------
    target : binary file object
        Read, write, seek, truncate. HDF5 does not survive a failing write, so it should not raise.
    recipe, root
        What made the rows, and (as JSON) the folder that paths are relative to.
    clips : sequence of Clip
        Sorted by ``source.sort_key``.
    dim : int
        Width D of a layer.
    blocks : iterable of Rows
        All rows in the order of the clips.
    """
    n_rows = np.array([clip.n_rows for clip in clips], np.int64)
    with h5py.File(target, "w") as file:
        for name, value in zip(_ATTRIBUTES[1:], (recipe.fingerprint(), recipe.to_json(), root), strict=True):
            file.attrs[name] = np.bytes_(value.encode())
        file.attrs["embedx_schema"] = SCHEMA
        _write_rows(file, recipe, int(n_rows.sum()), dim, blocks)
        _write_table(file, "clip", np.repeat(np.arange(len(clips)), n_rows))
        environments = sorted({clip.environment for clip in clips})
        _write_table(file, "environments", _text_column(environments))
        _write_clips(file.create_group("clips"), clips, environments)


def _write_rows(file: h5py.File, recipe: Recipe, n: int, dim: int, blocks: Iterable[Rows]) -> None:
    n_layers = len(recipe.layers)
    chunks = (min(CHUNK_ROWS, n), 1, dim) if n_layers > 1 and n and dim else None
    file.create_dataset("embeddings", (n, n_layers, dim), _little(recipe.store_dtype), chunks=chunks)
    crcs = dict.fromkeys(("control", "start", "end", "crc32"), 0)
    for name in crcs:
        width = {"control": (CONTROL_DIM,), "crc32": (n_layers,)}.get(name, ())
        file.create_dataset(name, (n, *width), _ROW_TABLES[name])
    at = 0
    for block in blocks:
        stop = at + len(block.start)
        for name, values in block._asdict().items():
            file[name][at:stop] = values
            if name in crcs:
                crcs[name] = zlib.crc32(np.ascontiguousarray(values), crcs[name])
        at = stop
    for name, crc in crcs.items():
        file[name].attrs["crc32"] = np.uint32(crc)


def _write_clips(group: h5py.Group, clips: Sequence[Clip], environments: Sequence[str]) -> None:
    sources, stamps = [clip.source for clip in clips], [clip.stamp for clip in clips]
    number = {text: i for i, text in enumerate(environments)}
    columns: dict[str, Any] = {
        "start": [s.start_seconds for s in sources],
        "stop": [math.nan if s.stop_seconds is None else s.stop_seconds for s in sources],
        "sha256": np.frombuffer(b"".join(s.sha256 for s in stamps), np.uint8).reshape(-1, 32),
        "size": [s.size for s in stamps],
        "mtime_ns": [s.mtime_ns for s in stamps],
        "status": [clip.error is not None for clip in clips],
        "rows": [clip.n_rows for clip in clips],
        "environment": [number[clip.environment] for clip in clips],
    }
    for name, values in columns.items():
        _write_table(group, name, np.asarray(values, _CLIP_TABLES[name]))
    texts = {
        "id": [s.id for s in sources],
        "path": [s.uri for s in sources],
        "error": [_shorten(clip.error or "") for clip in clips],
        "label": [s.label or "" for s in sources],
        "group": [s.group or "" for s in sources],
        "split": [s.split or "" for s in sources],
    }
    for name, text in texts.items():
        _write_table(group, name, _text_column(text))


def _write_table(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    dtype = h5py.string_dtype("utf-8", values.dtype.itemsize) if values.dtype.kind == "S" else values.dtype
    dataset = group.create_dataset(name, values.shape, dtype)
    if values.size:
        dataset[...] = values.astype(dtype)
    dataset.attrs["crc32"] = np.uint32(zlib.crc32(np.ascontiguousarray(values)))


def _text_column(texts: Sequence[str]) -> NDArray[np.bytes_]:
    encoded = [text.encode() for text in texts]
    return np.array(encoded, f"S{max([1, *map(len, encoded)])}")


def _shorten(text: str) -> str:
    return " ".join(text.split()).encode()[:MAX_ERROR_BYTES].decode(errors="ignore")


def _little(name: str) -> np.dtype[Any]:
    return np.dtype(name).newbyteorder("<")


# -- reading ---------------------------------------------------------------------------------------


class StoreFile:
    """A checked view of one file; refuses whatever `write_store_file` would not have written.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    recipe : Recipe
    root : str
        As it was written.
    clips : list of Clip
    n_rows, dim : int

    Raises
    ------
    StoreFormatError
        No store, another schema, damaged, or hostile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _translated(path):
            self._file = h5py.File(path, "r", locking=False)
        try:
            with _translated(path):
                self.recipe, self.root = _read_attributes(self._file)
                self.n_rows, self.dim = _check_tables(self._file, self.recipe, path.stat().st_size)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> StoreFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def clips(self) -> list[Clip]:
        """Return every clip, in the order of the rows."""
        with _translated(self.path):
            return _read_clips(self._file, self.n_rows)

    def table(self, name: str) -> NDArray[Any]:
        """Return one table that has a row a window: control, start, end, clip or crc32."""
        with _translated(self.path):
            return _read_table(self._file, name)

    def layer(self, position: int, out: NDArray[Any]) -> None:
        """Fill ``out`` (R, D) with one layer; the others are not read from disk."""
        with _translated(self.path):
            if self.n_rows:
                self._file["embeddings"].read_direct(out, np.s_[:, position])

    def rows(self, index: NDArray[np.int64]) -> Rows:
        """Return some rows, by increasing number."""
        with _translated(self.path):
            runs = np.split(index, np.flatnonzero(np.diff(index) > 8) + 1)
            parts = [self._run(run) for run in runs if len(run)]
            return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _run(self, index: NDArray[np.int64]) -> Rows:
        first, last = int(index[0]), int(index[-1]) + 1
        keep = index - first
        return Rows(*(self._file[name][first:last][keep] for name in Rows._fields))


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn every error of h5py and of a malformed file into one of ours."""
    try:
        yield
    except (StoreError, FileNotFoundError, MemoryError):
        raise
    except PermissionError as error:
        raise StoreError(f"{path} may not be read: {error.strerror}") from error
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StoreFormatError(
            f"{path} is no embedx store or a damaged one ({reason}). Give a file that embedx extract wrote"
        ) from error


def _require(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _read_attributes(file: h5py.File) -> tuple[Recipe, str]:
    _require(set(file.attrs) == set(_ATTRIBUTES), "its attributes are not those of a store")
    for name in _ATTRIBUTES:
        attribute = h5py.h5a.open(file.id, name.encode())
        kind = "S" if name != "embedx_schema" else "i"
        sound = attribute.shape == () and attribute.dtype.kind == kind
        _require(sound and attribute.get_storage_size() <= _MAX_ATTRIBUTE_BYTES, f"attribute {name} has a wrong type")
    schema = int(file.attrs["embedx_schema"])
    _require(schema == SCHEMA, f"schema {schema}; this embedx reads schema {SCHEMA}")
    fingerprint, text, root = (bytes(file.attrs[name]).decode() for name in _ATTRIBUTES[1:])
    recipe = Recipe.from_json(text)
    _require(recipe.fingerprint() == fingerprint, "its recipe does not match its fingerprint")
    return recipe, root


def _check_tables(file: h5py.File, recipe: Recipe, n_bytes: int) -> tuple[int, int]:
    _check_links(file, {"embeddings", "clips", "environments", *_ROW_TABLES})
    _require(file.get("clips", getclass=True) is h5py.Group, "/clips is no group")
    _check_links(file["clips"], {*_TEXTS, *_CLIP_TABLES})
    _require(not len(file["clips"].attrs), "/clips has attributes")
    names = ["embeddings", "environments", *_ROW_TABLES, *(f"clips/{name}" for name in (*_TEXTS, *_CLIP_TABLES))]
    _require(sum(_check_dataset(file, name) for name in names) <= n_bytes, "it declares more data than it holds")
    n, n_layers, dim = file["embeddings"].shape
    n_clips = file["clips/path"].shape[0]
    _require(file["embeddings"].dtype == _little(recipe.store_dtype), "/embeddings has another dtype than its recipe")
    _require(n_layers == len(recipe.layers), "/embeddings has another number of layers than its recipe")
    widths = {"control": (CONTROL_DIM,), "crc32": (n_layers,)}
    for name, dtype in _ROW_TABLES.items():
        _require(file[name].shape == (n, *widths.get(name, ())) and file[name].dtype == dtype, f"/{name} does not fit")
    for name, dtype in {**_CLIP_TABLES, **dict.fromkeys(_TEXTS)}.items():
        shape = (n_clips, 32) if name == "sha256" else (n_clips,)
        table = file["clips"][name]
        fits = table.dtype == dtype if dtype is not None else table.dtype.kind == "S"
        _require(table.shape == shape and fits, f"/clips/{name} does not fit")
    _require(file["environments"].dtype.kind == "S" and file["environments"].ndim == 1, "/environments does not fit")
    return n, dim


def _check_links(group: h5py.Group, expected: set[str]) -> None:
    _require(len(group) == len(expected) and set(group) == expected, f"{group.name} holds other objects than a store")
    for name in expected:
        _require(type(group.get(name, getlink=True)) is h5py.HardLink, f"{name} is a link to somewhere else")


def _check_dataset(file: h5py.File, name: str) -> int:
    _require(file.get(name, getclass=True) is h5py.Dataset, f"{name} is no dataset")
    dataset = file[name]
    made = dataset.id.get_create_plist()
    _require(made.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED), f"{name} is virtual or of an odd layout")
    _require(made.get_external_count() == 0, f"{name} keeps its data in another file")
    _require(made.get_nfilters() == 0, f"{name} has a filter")
    _require(dataset.dtype.kind in "uifS" and dataset.dtype.itemsize, f"{name} has a foreign dtype")
    _require(dataset.shape is not None and dataset.maxshape == dataset.shape, f"{name} can grow")
    n_bytes = math.prod(dataset.shape) * dataset.dtype.itemsize
    _require(dataset.id.get_storage_size() >= n_bytes, f"{name} declares more data than it holds")
    allowed = set() if name == "embeddings" else {"crc32"}
    _require(set(dataset.attrs) == allowed, f"{name} has foreign attributes")
    if allowed:
        crc = h5py.h5a.open(dataset.id, b"crc32")
        _require(crc.shape == () and crc.dtype == np.uint32, f"the CRC of {name} has a wrong type")
    return n_bytes


def _read_table(file: h5py.File, name: str) -> NDArray[Any]:
    dataset = file[name]
    values = np.empty(dataset.shape, dataset.dtype)
    if values.size:
        dataset.read_direct(values)
    _require(zlib.crc32(values) == int(dataset.attrs["crc32"]), f"the CRC of {name} does not match: it is damaged")
    return values


def _read_clips(file: h5py.File, n: int) -> list[Clip]:
    column = {name: _read_table(file, f"clips/{name}") for name in _CLIP_TABLES}
    text = {name: [v.decode() for v in _read_table(file, f"clips/{name}").tolist()] for name in _TEXTS if name != "id"}
    environments = [v.decode() for v in _read_table(file, "environments").tolist()]
    counts, status = column["rows"], column["status"]
    _require((counts >= 0).all() and (status <= 1).all() and not counts[status == 1].any(), "/clips/rows does not fit")
    _require(counts.sum() == n, "/clips/rows does not add up to the rows")
    clip = _read_table(file, "clip")
    _require(np.array_equal(clip, np.repeat(np.arange(len(counts)), counts)), "/clip names other clips than /clips")
    _require(all(isinstance(json.loads(e), dict) for e in environments), "/environments is no list of JSON objects")
    chosen = column["environment"]
    _require(((chosen >= 0) & (chosen < len(environments))).all(), "/clips/environment does not fit")
    stops = [None if math.isnan(stop) else stop for stop in column["stop"].tolist()]
    sources = map(
        Source,
        text["path"],
        (v or None for v in text["label"]),
        (v or None for v in text["group"]),
        (v or None for v in text["split"]),
        column["start"].tolist(),
        stops,
    )
    stamps = map(FileStamp, map(bytes, column["sha256"]), column["size"].tolist(), column["mtime_ns"].tolist())
    errors = (e or "error" if failed else None for e, failed in zip(text["error"], status.tolist(), strict=True))
    clips = list(map(Clip, sources, stamps, errors, counts.tolist(), (environments[i] for i in chosen.tolist())))
    keys = [c.source.sort_key for c in clips]
    _require(all(a < b for a, b in zip(keys, keys[1:], strict=False)), "its clips are not sorted or not unique")
    return clips


def file_size(path: Path) -> int:
    """Return the bytes of a file, 0 when there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
