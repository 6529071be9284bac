"""One store file, immutable once written: its layout, how it is written and how it is read.

This module and `check` are the only ones that import h5py. Files hold no filters, no variable-length data and
no links but hard ones, so reading one never costs more memory than its size on disk suggests.
"""

from __future__ import annotations

import gc
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from embedx.errors import StoreFormatError
from embedx.files import kind_of_no_file
from embedx.manifest import Source
from embedx.recipe import Recipe
from embedx.store import check
from embedx.store.cost import merged
from embedx.store.rows import CONTROL_DIM, FileStamp, shorten_error

__all__ = ["CHUNK_ROWS", "Clip", "Rows", "StoreFile", "layer_crcs", "side_crcs", "write_store_file"]

CHUNK_ROWS = 64
"""Rows of one layer that lie together when there are several layers."""

TEXT_BYTES = 1 << 24
"""So much of a column of texts is in memory at a time: an older file may be wide for one long cell."""


class Clip(NamedTuple):
    """What a file knows of one clip, all but its rows; ``error`` is None or ``"reason: message"``."""

    source: Source
    stamp: FileStamp
    error: str | None
    n_rows: int
    environment: str


class Rows(NamedTuple):
    """Some rows: embeddings (R, L, D), control (R, 128), start and end (R,) in seconds, crc32 (R, 1 + L)."""

    embeddings: NDArray[Any]
    control: NDArray[np.float32]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    crc32: NDArray[np.uint32]

    @classmethod
    def empty(cls, n: int, n_layers: int, dim: int, dtype: str) -> Rows:
        """Return room for n rows."""
        shapes = ((n, n_layers, dim), (n, CONTROL_DIM), (n,), (n,), (n, 1 + n_layers))
        dtypes = (dtype, "<f4", "<f8", "<f8", "<u4")
        return cls(*(np.empty(shape, kind) for shape, kind in zip(shapes, dtypes, strict=True)))

    @classmethod
    def sealed(cls, embeddings: NDArray[Any], control: NDArray[Any], start: NDArray[Any], end: NDArray[Any]) -> Rows:
        """Return rows with the CRCs that they are stored with."""
        side = np.asarray(control, "<f4"), np.asarray(start, "<f8"), np.asarray(end, "<f8")
        crc32 = np.column_stack([side_crcs(*side), layer_crcs(embeddings)])
        return cls(embeddings, *side, crc32.astype("<u4"))

    def damaged(self) -> NDArray[np.intp]:
        """Return the numbers of the rows that do not match their CRCs."""
        return np.flatnonzero((Rows.sealed(*self[:4]).crc32 != self.crc32).any(axis=1))


def layer_crcs(embeddings: NDArray[Any]) -> NDArray[np.uint32]:
    """Return the CRC-32 of every row's every layer: (R, L, D) -> (R, L) uint32."""
    n, n_layers, dim = embeddings.shape
    return _crcs(np.ascontiguousarray(embeddings).reshape(n * n_layers, dim)).reshape(n, n_layers)


def side_crcs(control: NDArray[np.float32], start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return the CRC-32 of what stands beside the embeddings in every row: (R,) uint32."""
    columns = (control, start[:, None], end[:, None])
    return _crcs(np.concatenate([np.ascontiguousarray(c).view(np.uint8) for c in columns], axis=1))


def _crcs(lines: NDArray[Any]) -> NDArray[np.uint32]:
    return np.fromiter((zlib.crc32(line.data) for line in lines), np.uint32, len(lines))


# -- writing ---------------------------------------------------------------------------------------


def write_store_file(
    target: BinaryIO, *, recipe: Recipe, root: str, clips: Sequence[Clip], dim: int, blocks: Iterable[Rows]
) -> None:
    """Write one whole file into ``target``.

    Parameters
    ----------
    target : binary file object
        Read, write, seek, truncate. HDF5 does not survive a failing write, so it must not raise.
    recipe : Recipe
        What made the rows.
    root : str
        The folder that paths are relative to, as JSON.
    clips : sequence of Clip
        Sorted by ``source.sort_key``.
    dim : int
        Width D of a layer.
    blocks : iterable of Rows
        All rows in the order of the clips; blocks of a multiple of `CHUNK_ROWS` are fastest.
    """
    counts = np.array([clip.n_rows for clip in clips], np.int64)
    environments, numbers = merged([clip.environment for clip in clips], counts)
    with h5py.File(target, "w") as file:
        for name, text in zip(check.TEXT_ATTRIBUTES, (recipe.fingerprint(), recipe.to_json(), root), strict=True):
            file.attrs[name] = np.bytes_(text.encode())
        file.attrs["embedx_schema"] = check.SCHEMA
        _write_rows(file, recipe, int(counts.sum()), dim, blocks)
        file["clip"] = np.repeat(np.arange(len(clips)), counts)
        _write_texts(file, "environments", environments)
        _write_clips(file.create_group("clips"), clips, numbers)


def _write_rows(file: h5py.File, recipe: Recipe, n: int, dim: int, blocks: Iterable[Rows]) -> None:
    room = Rows.empty(0, len(recipe.layers), dim, recipe.store_dtype)
    chunks = (min(CHUNK_ROWS, n), 1, dim) if len(recipe.layers) > 1 and n and dim else None
    for name, column in room._asdict().items():
        shape = (n, *column.shape[1:])
        file.create_dataset(name, shape, column.dtype, chunks=chunks if name == "embeddings" else None)
    at = 0
    for block in blocks:
        stop = at + len(block.start)
        for name, values in block._asdict().items():
            file[name][at:stop] = values
        at = stop


def _write_clips(group: h5py.Group, clips: Sequence[Clip], environments: NDArray[np.intp]) -> None:
    sources, stamps = [clip.source for clip in clips], [clip.stamp for clip in clips]
    numbers: dict[str, Any] = {
        "start": [s.start_seconds for s in sources],
        "stop": [math.nan if s.stop_seconds is None else s.stop_seconds for s in sources],
        "sha256": np.frombuffer(b"".join(s.sha256 for s in stamps), np.uint8).reshape(-1, 32),
        "size": [s.size for s in stamps],
        "mtime_ns": [s.mtime_ns for s in stamps],
        "status": [clip.error is not None for clip in clips],
        "rows": [clip.n_rows for clip in clips],
        "environment": environments,
    }
    texts = {
        "id": [s.id for s in sources],
        "path": [s.uri for s in sources],
        "error": [shorten_error(clip.error or "") for clip in clips],
        "label": [s.label or "" for s in sources],
        "group": [s.group or "" for s in sources],
        "split": [s.split or "" for s in sources],
    }
    for name, dtype in check.CLIP_NUMBERS.items():
        _write_table(group, name, np.asarray(numbers[name], dtype))
    for name, text in texts.items():
        _write_texts(group, name, text)


def _write_table(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    dataset = group.create_dataset(name, data=values)
    dataset.attrs["crc32"] = np.uint32(zlib.crc32(values.tobytes()))


def _write_texts(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    encoded = [text.encode() for text in texts]
    width, crc = max([1, *map(len, encoded)]), 0
    dataset = group.create_dataset(name, (len(encoded),), h5py.string_dtype("utf-8", width))
    for rows in check.row_blocks(len(encoded), width, TEXT_BYTES):
        values = np.array(encoded[rows], dataset.dtype)
        dataset[rows] = values
        crc = zlib.crc32(values.tobytes(), crc)
    dataset.attrs["crc32"] = np.uint32(crc)


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
        What made the rows.
    root : dict of str to str
        ``absolute`` and ``relative`` (to the store's folder) place of what paths are relative to.
    n_rows, dim : int
        R and D.

    Raises
    ------
    StoreFormatError
        No store, another schema, damaged, or hostile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with check.translated(path):
            kind = kind_of_no_file(path)
            check.require(kind is None, f"it is {kind}")
            self._file = h5py.File(path, "r", locking=False)
            try:
                self.recipe, self.root = check.read_attributes(self._file)
                self.n_rows, self.dim = check.check_tables(self._file, self.recipe, path.stat().st_size)
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> StoreFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def clips(self) -> list[Clip]:
        """Return every clip, in the order of the rows."""
        with check.translated(self.path):
            numbers = {name: check.read_table(self._file, f"clips/{name}") for name in check.CLIP_NUMBERS}
            texts = {name: check.read_texts(self._file, f"clips/{name}") for name in check.CLIP_TEXTS if name != "id"}
            environments = check.read_texts(self._file, "environments")
            check.check_clips(numbers, environments, self._file["clip"][...])
            with _without_gc():
                clips = list(_clips(numbers, texts, environments))
            keys = [clip.source.sort_key for clip in clips]
            check.require(all(map(tuple.__lt__, keys, keys[1:])), "its clips are not sorted or not unique")
            return clips

    def column(self, name: str) -> NDArray[Any]:
        """Return one field of `Rows` for all rows."""
        with check.translated(self.path):
            values: NDArray[Any] = self._file[name][...]
            return values

    def layer(self, position: int) -> NDArray[Any]:
        """Return one layer (R, D), checked; the others are not read from disk."""
        with check.translated(self.path):
            plane = np.empty((self.n_rows, 1, self.dim), self.recipe.store_dtype)
            if plane.size:
                self._file["embeddings"].read_direct(plane, np.s_[:, position : position + 1])
            self.require_whole(layer_crcs(plane)[:, 0] == self._file["crc32"][:, 1 + position])
            return plane[:, 0]

    def rows(self, index: NDArray[np.int64]) -> Rows:
        """Return some rows, by increasing number, unchecked."""
        with check.translated(self.path):
            runs = np.split(index, np.flatnonzero(np.diff(index) > 8) + 1)
            parts = [self._run(run) for run in runs]
            return parts[0] if len(parts) == 1 else Rows(*map(np.concatenate, zip(*parts, strict=True)))

    def _run(self, index: NDArray[np.int64]) -> Rows:
        first, last = int(index[0]), int(index[-1]) + 1
        keep = slice(None) if last - first == len(index) else index - first
        return Rows(*(self._file[name][first:last][keep] for name in Rows._fields))

    def blocks(self, n_bytes: int = 1 << 26) -> Iterator[tuple[int, Rows]]:
        """Give all rows in blocks of about so many bytes, each with the number of its first row."""
        step = max(CHUNK_ROWS, n_bytes // max(1, 4 * len(self.recipe.layers) * self.dim) // CHUNK_ROWS * CHUNK_ROWS)
        for first in range(0, self.n_rows, step):
            yield first, self.rows(np.arange(first, min(first + step, self.n_rows)))

    def require_whole(self, good: NDArray[np.bool_]) -> None:
        """Refuse rows that do not match their CRCs."""
        if not good.all():
            bad = np.flatnonzero(~good)
            clip = self._file["clips/id"][int(self._file["clip"][bad[0]])].decode(errors="replace")
            raise StoreFormatError(
                f"{self.path}: {len(bad)} of {self.n_rows} rows are damaged (their CRCs do not match), the first of "
                f"clip {clip}. embedx verify {self.path} --repair drops them, embedx extract computes them again"
            )


@contextmanager
def _without_gc() -> Iterator[None]:
    """Spare half of the time that making a million small objects takes: there is no cycle among them to find."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _clips(numbers: dict[str, NDArray[Any]], texts: dict[str, list[str]], environments: list[str]) -> Iterator[Clip]:
    optional = ([text or None for text in texts[name]] for name in ("label", "group", "split"))
    stops = [None if math.isnan(stop) else stop for stop in numbers["stop"].tolist()]
    sources = map(Source, texts["path"], *optional, numbers["start"].tolist(), stops)
    stamps = map(FileStamp, map(bytes, numbers["sha256"]), numbers["size"].tolist(), numbers["mtime_ns"].tolist())
    failed = zip(texts["error"], numbers["status"].tolist(), strict=True)
    errors = (text or "error" if status else None for text, status in failed)
    made = (environments[i] for i in numbers["environment"].tolist())
    return map(Clip, sources, stamps, errors, numbers["rows"].tolist(), made)
