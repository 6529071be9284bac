"""The embedding store: immutable parts beside one published file that is only ever replaced whole."""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from embedx.errors import ComputeDtypeWarning, ParameterError, StoreBusyError, StoreError
from embedx.files import sync_folder
from embedx.manifest import ClipKey, Manifest
from embedx.recipe import Recipe
from embedx.store.cost import with_cost
from embedx.store.hdf5_file import Clip, Rows, StoreFile, write_store_file
from embedx.store.in_memory import StoreTable, read_store
from embedx.store.missing_rows import Known, StorePlan, plan_work
from embedx.store.part_files import PartsFolder, disk_errors
from embedx.store.publish import Index, publish_entries, read_index, root_text
from embedx.store.rows import CONTROL_DIM, ClipResult, Embedded, Failure, require_short_texts, shorten_error

__all__ = ["EmbeddingStore", "StorePlan", "StoreTable", "read_recipe", "read_store"]

COMMIT_CLIPS = 1024
COMMIT_SECONDS = 30.0
COMMIT_BYTES = 1 << 26
PUBLISH_BYTES = 1 << 30
"""With more than this pending, and more than is published, a commit publishes."""

_ADVICE = "Give another file (--output), or start again (--overwrite)"


def read_recipe(path: str | os.PathLike[str]) -> Recipe | None:
    """Return the recipe of a store, None where nothing is stored.

    Raises
    ------
    StoreFormatError
        There is something else, or a damaged store.
    """
    place = Path(os.path.realpath(path))
    if place.exists():
        with StoreFile(place) as file:
            return file.recipe
    parts = PartsFolder(place)
    return parts.recipe() if parts.parts() else None


class EmbeddingStore:
    """Keeps results so that nothing it reported as durable is ever lost, and nothing foreign gets in.

    Any number of processes may write one store; one at a time publishes; anyone may read at any time.

    Parameters
    ----------
    path : path-like
        The published file; what is not published yet lies in ``PATH.parts/`` beside it.
    recipe : Recipe
        What makes the rows. A store that was made by another is refused.
    root : path-like
        The folder that the sources' uris are relative to.
    overwrite : bool
        Start again; what is there is deleted when the first results are committed.

    Raises
    ------
    RecipeMismatchError
        Before anything is written; lists the fields that differ.
    StoreFormatError
        The path holds something else than a store.
    StoreError
        The folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from embedx.manifest import Manifest
    >>> from embedx.store.rows import NO_STAMP, Failure
    >>> folder = tempfile.mkdtemp()
    >>> manifest = Manifest.from_paths(["a.wav"], root=folder)
    >>> recipe = Recipe(encoder="tiny", revision="bundled", weights_sha256="ab", layers=(0,))
    >>> with EmbeddingStore(folder + "/emb.h5", recipe, root=manifest.root) as store:
    ...     plan = store.plan(manifest)
    ...     _ = store.append([Failure(manifest[0], NO_STAMP, "missing", "no file")], environment={})
    ...     store.publish()
    >>> sorted(plan.todo), read_store(folder + "/emb.h5").errors
    ([('a.wav', 0.0, None)], ('missing: no file',))
    """

    def __init__(
        self, path: str | os.PathLike[str], recipe: Recipe, *, root: str | os.PathLike[str], overwrite: bool = False
    ) -> None:
        if recipe.store_dtype not in ("float16", "float32"):
            raise ParameterError(
                f"a store keeps float16 or float32, not {recipe.store_dtype}: choose with --store-dtype"
            )
        self.path = Path(os.path.realpath(path))
        self.recipe, self.root = recipe, Path(os.path.abspath(root))
        self._parts = PartsFolder(self.path)
        self._overwrite = overwrite
        self._buffer: list[tuple[Clip, Rows | None]] = []
        self._buffered_bytes, self._pending_bytes, self._committed = 0, 0, time.monotonic()
        self._known: list[Known] = []
        self._gone: list[ClipKey] = []
        with disk_errors(self.path):
            recorded = read_recipe(self.path)
            if not overwrite:
                self._adopt(recorded)
                self._parts.join(recipe)
            elif self._parts.path.is_dir():  # said before hours of computing rather than at the first commit
                with self._parts.locked(wait_seconds=60), self._parts.alone():
                    pass

    def _adopt(self, recorded: Recipe | None) -> None:
        if recorded is None:
            return
        recorded.require_same(self.recipe, where=str(self.path), advice=_ADVICE)
        if recorded.compute_dtype != self.recipe.compute_dtype:
            warnings.warn(
                f"{self.path} was started in {recorded.compute_dtype} and is resumed in {self.recipe.compute_dtype}: "
                "its rows agree within the tolerance of the coarser one only",
                ComputeDtypeWarning,
                stacklevel=4,
            )
        self.recipe = recorded  # what the store says of itself; what each row was computed in is in its environment

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with suppress(*([] if kind is None else [StoreError])):
            self.close()

    def close(self) -> None:
        """Commit what is buffered, and stop being a writer."""
        try:
            self.commit()
        finally:
            self._parts.leave()

    def plan(self, manifest: Manifest, *, retry_failed: bool = False) -> StorePlan:
        """Say which clips of a manifest are to be computed.

        A clip is done while its file's content is the one that was embedded: touched files are not computed
        again, changed ones are, moved and copied ones take over the rows. Labels, groups and splits of the
        manifest are kept from now on; they, and rows taken over, reach the file when it is published.

        Parameters
        ----------
        manifest : Manifest
            All clips, whichever of them this process computes.
        retry_failed : bool
            Whether clips that failed are computed again although their file is the same.

        Raises
        ------
        ManifestError
            A text is longer than a store keeps.
        """
        require_short_texts(manifest)
        index = Index() if self._overwrite else self._index()
        plan, self._known, self._gone = plan_work(manifest, index, root=self.root, retry_failed=retry_failed)
        return plan

    def _index(self) -> Index:
        with disk_errors(self.path):
            return read_index(self._parts, self.recipe, self.root)

    # -- commit ------------------------------------------------------------------------------------

    def append(self, results: Sequence[ClipResult], *, environment: Mapping[str, str]) -> int:
        """Take one unit's results; commit when enough has come together (1,024 clips, 30 s or 64 MB).

        The 30 s count from the commit before, so that what waits never took longer to compute.

        Parameters
        ----------
        results : sequence of Embedded or Failure
            A clip with values that are not finite becomes a failure.
        environment : mapping of str to str
            What they were computed with.

        Returns
        -------
        int
            Clips that became durable by this call.

        Raises
        ------
        StoreError
            Values that only the store's dtype cannot hold, or a disk that is full.
        """
        require_short_texts(result.source for result in results)
        taken = [self._taken(result, environment) for result in results]
        self._buffer += taken
        self._buffered_bytes += sum(rows.embeddings.nbytes + rows.control.nbytes for _, rows in taken if rows)
        full = len(self._buffer) >= COMMIT_CLIPS or self._buffered_bytes >= COMMIT_BYTES
        return self.commit() if full else self.commit_if_due()

    def commit_if_due(self) -> int:
        """Commit what waits when the commit before is 30 s old: for callers whose next unit may take hours."""
        return self.commit() if time.monotonic() - self._committed >= COMMIT_SECONDS else 0

    def _taken(self, result: ClipResult, environment: Mapping[str, str]) -> tuple[Clip, Rows | None]:
        if isinstance(result, Failure):
            error = shorten_error(f"{result.reason}: {result.message}")
            return Clip(result.source, result.stamp, error, 0, with_cost(environment, None)), None
        if not (np.isfinite(result.embeddings).all() and np.isfinite(result.control).all()):
            error = "non_finite: the encoder gave values that are not finite"
            return Clip(result.source, result.stamp, error, 0, with_cost(environment, None)), None
        rows = self._rows(result)
        made = with_cost(environment, result.seconds_per_row)
        return Clip(result.source, result.stamp, None, len(rows.start), made), rows

    def _rows(self, result: Embedded) -> Rows:
        n, shape = len(result.start_seconds), result.embeddings.shape
        if shape[:2] != (n, len(self.recipe.layers)) or result.control.shape != (n, CONTROL_DIM):
            raise StoreError(f"{result.source.id}: rows of shape {shape} do not fit {len(self.recipe.layers)} layers")
        with np.errstate(over="ignore"):
            stored = result.embeddings.astype(self.recipe.store_dtype)
        if not np.isfinite(stored).all():
            raise StoreError(
                f"{result.source.id}: a value of {np.abs(result.embeddings).max():.3g} does not fit float16 (up to "
                f"65504). Start another store with --store-dtype float32"
            )
        return Rows.sealed(stored, result.control, result.start_seconds, result.end_seconds)

    def commit(self) -> int:
        """Make what is buffered durable; return how many clips that were."""
        n = len(self._buffer)
        if n:
            with disk_errors(self.path):
                self._begin_anew()
                data = self._part()
                self._parts.add(data)
            self._buffer, self._buffered_bytes, self._committed = [], 0, time.monotonic()
            self._pending_bytes += len(data)
            if self._pending_bytes > max(PUBLISH_BYTES, self.path.stat().st_size if self.path.exists() else 0):
                with suppress(StoreBusyError):
                    self.publish()
        return n

    def _begin_anew(self) -> None:
        if self._overwrite:
            with self._parts.locked(wait_seconds=60), self._parts.alone():
                self._parts.remove([self.path])
                sync_folder(self.path.parent)  # the old file first: it decides whose the parts are
                self._parts.remove([*self._parts.parts(), "identity.json"])
            self._overwrite = False
            self._parts.join(self.recipe)

    def _part(self) -> bytes:
        newest = {clip.source.key: (clip, rows) for clip, rows in self._buffer}
        kept = sorted(newest.values(), key=lambda pair: pair[0].source.sort_key)
        rows = [rows for _, rows in kept if rows is not None and len(rows.start)]
        if len(rows) > 1:  # HDF5 is slow row by row
            rows = [Rows(*map(np.concatenate, zip(*rows, strict=True)))]
        target = io.BytesIO()
        write_store_file(
            target,
            recipe=self.recipe,
            root=root_text(self.path, self.root),
            clips=[clip for clip, _ in kept],
            dim=rows[0].embeddings.shape[2] if rows else 0,
            blocks=rows,
        )
        return target.getvalue()

    # -- publish -----------------------------------------------------------------------------------

    def publish(self, *, wait_seconds: float = 1.0) -> None:
        """Put everything that is committed, by whichever process, into the one file that others read.

        The file is replaced whole or not at all; what has not changed is not written again.

        Parameters
        ----------
        wait_seconds : float
            How long to wait for another publisher.

        Raises
        ------
        StoreBusyError
            Another process is still publishing.
        StoreError
            The disk is full or cannot be written; nothing is lost.
        """
        self.commit()
        if self._overwrite:
            return
        with disk_errors(self.path), self._parts.locked(wait_seconds=wait_seconds):
            pending = self._parts.parts()
            index = self._index()
            changed = [known.apply(index) for known in self._known]
            changed += [index.clips.pop(key, None) is not None for key in self._gone]
            if pending or any(changed):
                publish_entries(self._parts, self.recipe, self.root, index.clips.values())
            self._parts.remove(pending)
            self._pending_bytes = 0
