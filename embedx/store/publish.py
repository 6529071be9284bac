"""Where the newest rows of every clip lie, and how they become one file."""

from __future__ import annotations

import errno
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from embedx.errors import EmbedxWarning, StoreError, StoreFormatError
from embedx.files import read_at
from embedx.manifest import ClipKey, Source
from embedx.recipe import Recipe
from embedx.store.hdf5_file import CHUNK_ROWS, Clip, Rows, StoreFile, write_store_file
from embedx.store.part_files import PartsFolder, part_problem, write_all

__all__ = ["Entry", "Index", "publish_entries", "read_index", "recorded_root"]

BLOCK_BYTES = 1 << 26


class Entry(NamedTuple):
    """One clip: the file that holds its rows and the number of the first."""

    path: Path
    row: int
    clip: Clip


class Index:
    """Where the newest rows of every clip lie, and the rows of every content ever kept.

    Attributes
    ----------
    clips : dict of ClipKey to Entry
        The newest of every clip.
    contents : dict of (sha256, start, stop) to Entry
        Also of clips whose file has changed since, so that a file that was moved or copied is found.
    """

    def __init__(self) -> None:
        self.clips: dict[ClipKey, Entry] = {}
        self.contents: dict[tuple[bytes, float, float | None], Entry] = {}

    def add(self, entry: Entry) -> None:
        """Note an entry of a newer file; what failed or was done twice on the same content changes nothing."""
        clip = entry.clip
        key, sha256 = clip.source.key, clip.stamp.sha256
        known = self.clips.get(key)
        if known is None or known.clip.error is not None or known.clip.stamp.sha256 != sha256:
            self.clips[key] = entry
        if clip.error is None:
            self.contents.setdefault((sha256, *key[1:]), entry)

    def find(self, source: Source, sha256: bytes) -> Entry | None:
        """Return the entry of a clip with this content: its own, or that of another path."""
        own = self.clips.get(source.key)
        if own is not None and own.clip.stamp.sha256 == sha256:
            return own
        return self.contents.get((sha256, source.start_seconds, source.stop_seconds))


# -- where rows lie --------------------------------------------------------------------------------


def read_index(parts: PartsFolder, recipe: Recipe, root: Path | None) -> Index:
    """Return where the newest rows of every clip of a store lie, published or not.

    Parts are checked in full; a bad or foreign one is set aside with a warning.

    Parameters
    ----------
    parts : PartsFolder
        Of the store.
    recipe : Recipe
        The store's.
    root : Path or None
        What the keys of the index are to be relative to; None leaves them as they were written.
    """
    for _ in range(100):
        pending = parts.parts()  # before the published file: what leaves the folder is in the next one
        try:
            index = Index()
            if parts.store.exists():
                _add_file(index, parts.store, recipe, root)
            for part in pending:
                _add_part(index, parts, part, recipe, root)
            return index
        except FileNotFoundError:  # another process published meanwhile
            continue
    raise StoreError(f"{parts.path} changes too fast to be read: does another program delete files there?")


def _add_part(index: Index, parts: PartsFolder, part: Path, recipe: Recipe, root: Path | None) -> None:
    try:
        problem = part_problem(part)
        if problem is None:
            _add_file(index, part, recipe, root)
    except StoreFormatError as error:
        problem = f"cannot be used ({error})"
    if problem is not None:
        parts.set_aside(part, problem)


def _add_file(index: Index, path: Path, recipe: Recipe, root: Path | None) -> None:
    with StoreFile(path) as file:
        if file.recipe.diff(recipe):
            raise StoreFormatError(f"{path} was made by another recipe")
        clips, old_root = file.clips(), recorded_root(path, file.root)
    elsewhere = root is not None and old_root.is_dir() and not (root.is_dir() and os.path.samefile(old_root, root))
    row = 0
    for clip in clips:
        if elsewhere and root is not None:
            clip = clip._replace(source=_rebased(clip.source, old_root, root))
        index.add(Entry(path, row, clip))
        row += clip.n_rows


def recorded_root(path: Path, record: Mapping[str, str]) -> Path:
    """Return the folder that a file's paths are relative to: where it was, or moved with the store."""
    absolute = Path(record["absolute"])
    moved = Path(os.path.normpath(path.parent / record["relative"]))
    return moved if moved.is_dir() and not absolute.is_dir() else absolute


def root_text(store: Path, root: Path) -> str:
    """Return a root as a file records it: where it is, and where it is seen from the store."""
    return json.dumps({"absolute": str(root), "relative": os.path.relpath(root, store.parent)})


def _rebased(source: Source, old: Path, new: Path) -> Source:
    """Return a source whose uri means the same file below another root."""
    place = os.path.normpath(old / source.uri)
    inside = os.path.commonpath([place, new]) == str(new)
    return replace(source, uri=Path(os.path.relpath(place, new) if inside else place).as_posix())


# -- one file from many ----------------------------------------------------------------------------


def publish_entries(parts: PartsFolder, recipe: Recipe, root: Path, entries: Iterable[Entry]) -> None:
    """Write the entries' rows into one new file and put it in the store's place; the lock must be held.

    Clips whose rows do not match their CRCs are left out with a warning, so that they are computed again.
    """
    kept = sorted(entries, key=lambda entry: entry.clip.source.sort_key)
    while True:
        try:
            return _publish(parts, recipe, root, kept)
        except _DamagedError as damage:
            lost = [entry for entry in kept if entry.path == damage.path and damage.hits(entry)]
            kept = [entry for entry in kept if not (entry.path == damage.path and damage.hits(entry))]
            warnings.warn(
                f"{damage.path}: the rows of {len(lost)} clips are damaged on disk and were left out, the first is "
                f"{lost[0].clip.source.id}. Run the extraction again to compute them",
                EmbedxWarning,
                stacklevel=2,
            )


class _DamagedError(Exception):
    def __init__(self, path: Path, rows: NDArray[np.int64]) -> None:
        super().__init__(path)
        self.path, self.rows = path, rows

    def hits(self, entry: Entry) -> bool:
        first, last = np.searchsorted(self.rows, [entry.row, entry.row + entry.clip.n_rows])
        return bool(last > first)


def _publish(parts: PartsFolder, recipe: Recipe, root: Path, entries: Sequence[Entry]) -> None:
    dim = _common_dim({entry.path for entry in entries if entry.clip.n_rows})
    n_rows = sum(entry.clip.n_rows for entry in entries)
    n_layers = len(recipe.layers)
    n_bytes = n_rows * (n_layers * (dim * np.dtype(recipe.store_dtype).itemsize + 4) + 550) + len(entries) * 500
    with parts.new_file(parts.store) as handle:
        _reserve(handle, n_bytes)
        sink = _Sink(handle)
        write_store_file(
            cast(BinaryIO, sink),
            recipe=recipe,
            root=root_text(parts.store, root),
            clips=[entry.clip for entry in entries],
            dim=dim,
            blocks=sink.checked(_gather(entries, recipe, dim)),
        )
        sink.require_sound()


def _reserve(handle: int, n_bytes: int) -> None:
    """Fail now if the disk has no room; some file systems cannot tell."""
    if n_bytes and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, n_bytes)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise


def _common_dim(paths: set[Path]) -> int:
    dims = {}
    for path in paths:
        with StoreFile(path) as file:
            dims[file.dim] = path
    if len(dims) > 1:
        raise StoreFormatError(f"rows of different widths under one recipe: {sorted(map(str, dims.values()))}")
    return next(iter(dims), 0)


def _gather(entries: Sequence[Entry], recipe: Recipe, dim: int) -> Iterator[Rows]:
    paths = sorted({entry.path for entry in entries})
    number = {path: i for i, path in enumerate(paths)}
    counts = np.array([entry.clip.n_rows for entry in entries], np.int64)
    begin = np.array([entry.row for entry in entries], np.int64) - (np.cumsum(counts) - counts)
    rows = np.arange(counts.sum()) + np.repeat(begin, counts)
    files = np.repeat(np.array([number[entry.path] for entry in entries], np.int64), counts)
    row_bytes = len(recipe.layers) * dim * np.dtype(recipe.store_dtype).itemsize + 550
    step = max(1, BLOCK_BYTES // row_bytes // CHUNK_ROWS) * CHUNK_ROWS
    for at in range(0, len(rows), step):
        chosen, wanted = files[at : at + step], rows[at : at + step]
        block = Rows.empty(len(wanted), len(recipe.layers), dim, recipe.store_dtype)
        for i in np.unique(chosen):
            mask = np.flatnonzero(chosen == i)
            order = mask[np.argsort(wanted[mask], kind="stable")]
            _fill(block, order, paths[i], wanted[order])
        yield block


def _fill(block: Rows, places: NDArray[np.intp], path: Path, rows: NDArray[np.int64]) -> None:
    unique, back = np.unique(rows, return_inverse=True)  # a copied clip reads the same rows twice
    with StoreFile(path) as file:
        found = file.rows(unique)
        if len(found.damaged()):
            raise _DamagedError(path, np.concatenate([first + rows.damaged() for first, rows in file.blocks()]))
    for name in Rows._fields:
        values = getattr(found, name)
        getattr(block, name)[places] = values if len(unique) == len(rows) else values[back]


class _Sink:
    """A file for HDF5 that never fails, for HDF5 does not survive that (nor an interrupt at that moment).

    The first error is kept in ``error``; what is written after it is thrown away.
    """

    def __init__(self, handle: int) -> None:
        self.error: BaseException | None = None
        self._handle, self._at, self._size = handle, 0, 0

    def require_sound(self) -> None:
        """Raise what went wrong, outside of HDF5."""
        if self.error is not None:
            raise self.error

    def checked(self, blocks: Iterable[Rows]) -> Iterator[Rows]:
        """Give the blocks until something has gone wrong."""
        for block in blocks:
            self.require_sound()
            yield block

    def write(self, data: memoryview) -> int:
        try:
            if self.error is None:
                write_all(self._handle, data, self._at)
        except BaseException as error:
            self.error = error
        self._at += len(data)
        self._size = max(self._size, self._at)
        return len(data)

    def read(self, size: int) -> bytes:
        data = read_at(self._handle, size, self._at)
        self._at += len(data)
        return data

    def readinto(self, target: memoryview) -> int:
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int) -> int:
        try:
            os.ftruncate(self._handle, size)
        except BaseException as error:
            self.error = self.error or error
        self._size = size
        return size

    def flush(self) -> None:
        """Nothing is buffered here."""
