"""The embedding store: immutable parts beside one published file that is only ever replaced whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.errors import ComputeDtypeWarning, StoreBusyError, StoreError, StoreFormatError
from embedx.manifest import ClipKey, Manifest, Source
from embedx.recipe import Recipe
from embedx.store.file import Clip, Rows, StoreFile, row_crcs, write_store_file
from embedx.store.parts import PartsFolder, disk_errors, part_problem
from embedx.store.rows import NO_STAMP, ClipResult, Embedded, Failure, FileStamp

__all__ = ["EmbeddingStore", "StorePlan", "StoreTable", "read_recipe", "read_store"]

COMMIT_CLIPS, COMMIT_SECONDS, COMMIT_BYTES = 1024, 30.0, 64 << 20
BLOCK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class StorePlan:
    todo: frozenset[ClipKey]
    n_done: int
    n_failed: int
    n_changed: int
    n_copied: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StoreTable:
    recipe: Recipe
    root: Path
    sources: tuple[Source, ...]
    status: NDArray[np.uint8]
    errors: tuple[str | None, ...]
    hashes: NDArray[np.uint8]
    row0: NDArray[np.int64]
    n_rows: NDArray[np.int64]
    embeddings: NDArray[Any]
    control: NDArray[np.float32]
    clip: NDArray[np.int64]
    start_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    environments: tuple[dict[str, str], ...]


def read_recipe(path: str | os.PathLike[str]) -> Recipe | None:
    place = Path(os.path.realpath(path))
    if place.exists():
        with StoreFile(place) as file:
            return file.recipe
    return PartsFolder(place).recipe()


def read_store(path: str | os.PathLike[str], *, layers: Sequence[int] | None = None) -> StoreTable:
    place = Path(os.path.realpath(path))
    if not place.exists():
        raise StoreFormatError(f"{path} does not exist: make it with embedx extract")
    with StoreFile(place) as file:
        recipe = file.recipe
        chosen = recipe.layers if layers is None else tuple(layers)
        absent = [layer for layer in chosen if layer not in recipe.layers]
        if absent or not chosen:
            raise StoreError(f"{path} has no layer {absent}: it holds {recipe.layers}")
        clips = file.clips()
        embeddings = np.empty((file.n_rows, len(chosen), file.dim), recipe.store_dtype)
        crcs = file.table("crc32")
        for j, layer in enumerate(chosen):
            plane = np.empty((file.n_rows, file.dim), recipe.store_dtype)
            position = recipe.layers.index(layer)
            file.layer(position, plane)
            bad = np.flatnonzero(row_crcs(plane[:, None, :])[:, 0] != crcs[:, position])
            if len(bad):
                raise StoreFormatError(f"{path}: {len(bad)} rows are damaged")
            embeddings[:, j] = plane
        n_rows = np.array([clip.n_rows for clip in clips], np.int64)
        environments = sorted({clip.environment for clip in clips})
        return StoreTable(
            recipe=recipe.replace(layers=chosen),
            root=_read_root(place, file.root),
            sources=tuple(clip.source for clip in clips),
            status=np.array([clip.error is not None for clip in clips], np.uint8),
            errors=tuple(clip.error for clip in clips),
            hashes=np.frombuffer(b"".join(c.stamp.sha256 for c in clips), np.uint8).reshape(-1, 32),
            row0=np.concatenate([[0], np.cumsum(n_rows)[:-1]]).astype(np.int64)[: len(clips)],
            n_rows=n_rows,
            embeddings=embeddings,
            control=file.table("control"),
            clip=file.table("clip"),
            start_seconds=file.table("start"),
            end_seconds=file.table("end"),
            environments=tuple(json.loads(text) for text in environments),
        )


def _root_text(place: Path, root: Path) -> str:
    return json.dumps({"absolute": str(root), "relative": os.path.relpath(root, place.parent)})


def _read_root(place: Path, text: str) -> Path:
    record = json.loads(text)
    absolute = Path(record["absolute"])
    relative = Path(os.path.normpath(place.parent / record["relative"]))
    return relative if relative.is_dir() and not absolute.is_dir() else absolute


class EmbeddingStore:
    def __init__(
        self, path: str | os.PathLike[str], recipe: Recipe, *, root: str | os.PathLike[str], overwrite: bool = False
    ) -> None:
        self.path = Path(os.path.realpath(path))
        self.recipe, self.root = recipe, Path(os.path.abspath(root))
        self._parts = PartsFolder(self.path)
        self._wipe = overwrite
        self._buffer: list[tuple[Clip, Embedded | None]] = []
        self._bytes, self._since = 0, 0.0
        self._seen: dict[ClipKey, tuple[Source, FileStamp]] = {}
        self._copies: dict[ClipKey, ClipKey] = {}
        self._gone: set[ClipKey] = set()
        with disk_errors(self.path):
            if overwrite:
                if self.path.exists():
                    StoreFile(self.path).__exit__(None, None, None)
            else:
                self._require_recipe()
                self._parts.claim(recipe)

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            with suppress(StoreError):
                self.close()

    def _require_recipe(self) -> None:
        recorded = read_recipe(self.path)
        if recorded is None:
            return
        if not self.path.exists() and not self._parts.parts() and recorded.diff(self.recipe):
            self._parts.claim(self.recipe, steal=True)
            return
        recorded.require_same(
            self.recipe,
            where=str(self.path),
            advice="Write to another file with --output, or replace it with --overwrite",
        )
        if recorded.compute_dtype != self.recipe.compute_dtype:
            warnings.warn(
                f"{self.path} was begun in {recorded.compute_dtype} and goes on in {self.recipe.compute_dtype}",
                ComputeDtypeWarning,
                stacklevel=4,
            )

    # -- what is there -----------------------------------------------------------------------------

    def _index(self) -> dict[ClipKey, tuple[Path, int, int, Clip]]:
        """Return where the newest rows of every clip lie: file, number of the first row, row count."""
        if self._wipe:
            return {}
        while True:
            parts = self._parts.parts()
            try:
                return self._index_of([self.path] if self.path.exists() else [], parts)
            except FileNotFoundError:
                continue  # another process published: what was in the parts is in the new file

    def _index_of(self, base: list[Path], parts: list[Path]) -> dict[ClipKey, tuple[Path, int, int, Clip]]:
        index: dict[ClipKey, tuple[Path, int, int, Clip]] = {}
        for path in [*base, *parts]:
            try:
                clips = self._clips_of(path, is_part=path not in base)
            except StoreFormatError as error:
                if path in base:
                    raise
                self._parts.set_aside(path, str(error))
                continue
            row = 0
            for clip in clips:
                key = clip.source.key
                old = index.get(key)
                if old is None or old[3].error is not None or old[3].stamp.sha256 != clip.stamp.sha256:
                    index[key] = (path, row, clip.n_rows, clip)
                row += clip.n_rows
        return index

    def _clips_of(self, path: Path, *, is_part: bool) -> list[Clip]:
        if is_part and (problem := part_problem(path)):
            raise StoreFormatError(problem)
        with StoreFile(path) as file:
            if file.recipe.diff(self.recipe):
                raise StoreFormatError("was made by another recipe")
            return file.clips()

    def plan(self, manifest: Manifest, *, retry_failed: bool = False) -> StorePlan:
        index = self._index()
        todo: set[ClipKey] = set()
        n_done = n_failed = n_changed = n_copied = 0
        contents = {(e[3].stamp.sha256, *key[1:]): key for key, e in index.items() if e[3].error is None}
        sizes = {e[3].stamp.size for e in index.values()}
        stamps = _Stamps(self.root)
        for source in manifest:
            entry = index.get(source.key)
            if entry is not None:
                stamp = stamps.of(source.uri, entry[3].stamp)
                same = stamp.sha256 == entry[3].stamp.sha256 or (stamp is NO_STAMP and entry[3].error is None)
                if same:
                    self._seen[source.key] = (source, entry[3].stamp if stamp is NO_STAMP else stamp)
                    n_done += entry[3].error is None
                    n_failed += entry[3].error is not None
                    if entry[3].error is not None and retry_failed:
                        todo.add(source.key)
                    continue
                n_changed += 1
            stamp = stamps.of(source.uri, None, sizes=sizes)
            old = contents.get((stamp.sha256, source.start_seconds, source.stop_seconds))
            if old is not None:
                self._copies[source.key] = old
                self._seen[source.key] = (source, stamp)
                n_copied += 1
            else:
                todo.add(source.key)
        return StorePlan(frozenset(todo), n_done, n_failed, n_changed, n_copied)

    # -- commit ------------------------------------------------------------------------------------

    def append(self, results: Sequence[ClipResult], *, environment: Mapping[str, str]) -> int:
        text = json.dumps(dict(environment), sort_keys=True)
        self._buffer.extend([self._kept(result, text) for result in results])
        self._bytes = sum(e.embeddings.nbytes for _, e in self._buffer if e is not None)
        self._since = self._since or time.monotonic()
        due = len(self._buffer) >= COMMIT_CLIPS or self._bytes >= COMMIT_BYTES
        return self.commit() if due or time.monotonic() - self._since >= COMMIT_SECONDS else 0

    def _kept(self, result: ClipResult, environment: str) -> tuple[Clip, Embedded | None]:
        if isinstance(result, Failure):
            return Clip(result.source, result.stamp, f"{result.reason}: {result.message}", 0, environment), None
        if not (np.isfinite(result.embeddings).all() and np.isfinite(result.control).all()):
            error = "non_finite: the encoder gave values that are not finite"
            return Clip(result.source, result.stamp, error, 0, environment), None
        with np.errstate(over="ignore"):
            stored = result.embeddings.astype(self.recipe.store_dtype)
        if not np.isfinite(stored).all():
            raise StoreError(
                f"{result.source.id}: values of up to {np.abs(result.embeddings).max():.3g} do not fit "
                f"{self.recipe.store_dtype}: extract with --store-dtype float32"
            )
        return Clip(result.source, result.stamp, None, len(stored), environment), replace(result, embeddings=stored)

    def commit(self) -> int:
        if not self._buffer:
            return 0
        with disk_errors(self.path):
            if self._wipe:
                self._remove_all()
            self._parts.add(self._part_bytes(), self.recipe)
            self._require_recipe()
        n = len(self._buffer)
        self._buffer, self._bytes, self._since = [], 0, 0.0
        return n

    def _part_bytes(self) -> bytes:
        rows = {clip.source.key: (clip, embedded) for clip, embedded in self._buffer}
        kept = sorted(rows.values(), key=lambda pair: pair[0].source.sort_key)
        full = [embedded for _, embedded in kept if embedded is not None and len(embedded.embeddings)]
        dim = full[0].embeddings.shape[2] if full else 0
        target = io.BytesIO()
        write_store_file(
            target,
            recipe=self.recipe,
            root=_root_text(self.path, self.root),
            clips=[clip for clip, _ in kept],
            dim=dim,
            blocks=(_rows_of(embedded) for embedded in full),
        )
        return target.getvalue()

    def _remove_all(self) -> None:
        with self._parts.locked(wait=True):
            for path in [self.path, *self._parts.parts()]:
                path.unlink(missing_ok=True)
        self._parts.claim(self.recipe, steal=True)
        self._wipe = False

    def close(self) -> None:
        self.commit()
        with disk_errors(self.path), suppress(StoreBusyError):
            if self._parts.path.is_dir():
                with self._parts.locked():
                    self._parts.remove_if_empty(self.recipe)

    # -- publish -----------------------------------------------------------------------------------

    def publish(self) -> None:
        self.commit()
        with disk_errors(self.path), self._parts.locked():
            self._parts.remove_stale_temps()
            parts = self._parts.parts()
            index = self._patched(self._index())
            if index:
                self._replace_base(index)
            for part in parts:
                part.unlink(missing_ok=True)
            self._parts.remove_if_empty(self.recipe)

    def _patched(self, index: dict[ClipKey, tuple[Path, int, int, Clip]]) -> list[tuple[Path, int, int, Clip]]:
        for new, old in self._copies.items():
            if old in index:
                index[new] = index[old]
        for key, (source, stamp) in self._seen.items():
            if key in index and (index[key][3].stamp.sha256 == stamp.sha256):
                path, row, n, clip = index[key]
                index[key] = (path, row, n, clip._replace(source=_last_seen(clip.source, source), stamp=stamp))
        for key in self._gone:
            index.pop(key, None)
        return sorted(index.values(), key=lambda entry: entry[3].source.sort_key)

    def _replace_base(self, entries: list[tuple[Path, int, int, Clip]]) -> None:
        paths = sorted({entry[0] for entry in entries})
        dims = []
        for path in paths:
            with StoreFile(path) as file:
                dims.append(file.dim)
        with self._parts.temporary() as (handle, temp):
            with open(handle, "r+b", closefd=False) as target:
                write_store_file(
                    target,
                    recipe=self.recipe,
                    root=_root_text(self.path, self.root),
                    clips=[entry[3] for entry in entries],
                    dim=max(dims),
                    blocks=self._gather(entries, max(dims)),
                )
            self._parts.install(handle, temp, self.path)

    def _gather(self, entries: list[tuple[Path, int, int, Clip]], dim: int) -> Iterator[Rows]:
        paths = sorted({entry[0] for entry in entries})
        number = {path: i for i, path in enumerate(paths)}
        counts = np.array([entry[2] for entry in entries])
        which = np.repeat([number[entry[0]] for entry in entries], counts)
        first = np.concatenate([[0], np.cumsum(counts)])[:-1]
        row = np.arange(counts.sum()) - np.repeat(first, counts) + np.repeat([e[1] for e in entries], counts)
        n_layers = len(self.recipe.layers)
        step = max(64, BLOCK_BYTES // max(1, n_layers * dim * 4) // 64 * 64)
        for at in range(0, len(row), step):
            block = Rows.empty(min(step, len(row) - at), n_layers, dim, self.recipe.store_dtype)
            chosen = which[at : at + step]
            for i in np.unique(chosen):
                mask = np.flatnonzero(chosen == i)
                with StoreFile(paths[i]) as file:
                    for column, values in zip(block, file.rows(row[at : at + step][mask]), strict=True):
                        column[mask] = values
            if (row_crcs(block.embeddings) != block.crc32).any():
                raise StoreFormatError(f"{self.path} has damaged rows")
            yield block


def _last_seen(old: Source, new: Source) -> Source:
    return replace(new, label=new.label or old.label, group=new.group or old.group, split=new.split or old.split)


def _rows_of(embedded: Embedded) -> Rows:
    return Rows(
        embedded.embeddings,
        np.asarray(embedded.control, np.float32),
        np.asarray(embedded.start_seconds, np.float64),
        np.asarray(embedded.end_seconds, np.float64),
        row_crcs(embedded.embeddings),
    )


class _Stamps:
    """Stamps of files, each read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._hashed: dict[str, FileStamp] = {}

    def of(self, uri: str, known: FileStamp | None, *, sizes: Iterable[int] | None = None) -> FileStamp:
        path = self.root / uri
        try:
            status = path.stat()
            if known is not None and (status.st_size, status.st_mtime_ns) == (known.size, known.mtime_ns):
                return known
            if sizes is not None and status.st_size not in sizes:
                return FileStamp(b"", status.st_size, status.st_mtime_ns)
            if uri not in self._hashed:
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").digest()
                self._hashed[uri] = FileStamp(digest, status.st_size, status.st_mtime_ns)
            return self._hashed[uri]
        except OSError:
            return NO_STAMP
