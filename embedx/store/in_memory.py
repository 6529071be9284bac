"""A whole store in memory: one layer of it, some, or all."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.errors import ParameterError, SkippedSourcesWarning, StoreFormatError
from embedx.files import kind_of_no_file
from embedx.manifest import Source
from embedx.recipe import Recipe
from embedx.store.cost import seconds_per_row
from embedx.store.hdf5_file import Clip, StoreFile, side_crcs
from embedx.store.part_files import PartsFolder
from embedx.store.publish import recorded_root
from embedx.text import count

__all__ = ["StoreTable", "open_store", "read_store"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StoreTable:
    """The clips and rows of a store, sorted by path, start and stop.

    Parameters
    ----------
    recipe : Recipe
        What made the rows; its ``layers`` are the L layers that were read.
    root : Path
        What relative uris are relative to.
    sources : tuple of Source
        All N clips, failed ones too, with the label, group and split that were last seen.
    status : ndarray of shape (N,), uint8
        0 for a clip that has its rows, 1 for one that failed.
    errors : tuple of (str or None)
        ``"reason: message"`` for clips that failed.
    hashes : ndarray of shape (N, 32), uint8
        sha256 of each clip's file.
    row0, n_rows : ndarray of shape (N,), int64
        First row and number of rows of each clip.
    embeddings : ndarray of shape (R, L, D), float16 or float32
        One row a window.
    control : ndarray of shape (R, 128), float32
        Mean and standard deviation of 64 log-mel bands.
    clip : ndarray of shape (R,), int64
        Number of each row's clip.
    start_seconds, end_seconds : ndarray of shape (R,), float64
        Bounds of each row's window in the file, in seconds.
    environments : tuple of dict
        What the rows were computed with: versions, device, dtype, seconds a row.
    embedding_seconds : ndarray of shape (N,), float64
        What embedding each clip took, in seconds, as the mean of all clips that were computed alike; NaN where it
        was not recorded, 0 without rows.
    left_on_disk : bool
        The embeddings were too large to be read: ``embeddings`` has their shape and dtype, and holds nothing.
    """

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
    embedding_seconds: NDArray[np.float64]
    left_on_disk: bool = False


def read_store(
    path: str | os.PathLike[str], *, layers: Sequence[int] | None = None, most_bytes: int | None = None
) -> StoreTable:
    """Read a published store, every row checked against its CRC.

    Parameters
    ----------
    path : path-like
        What ``embedx extract`` wrote.
    layers : sequence of int, optional
        Layer numbers, as in the recipe; the others are not read from disk. All by default.
    most_bytes : int, optional
        Embeddings that take more are left on disk. No limit by default.

    Raises
    ------
    ParameterError
        The store has no such layer.
    StoreFormatError
        Nothing there, no store, damaged or hostile.
    """
    with open_store(path) as file:
        recipe = file.recipe
        chosen = _chosen(file, layers)
        clips = file.clips()
        control, start, end = file.column("control"), file.column("start"), file.column("end")
        file.require_whole(side_crcs(control, start, end) == file.column("crc32")[:, 0])
        shape, dtype = (file.n_rows, len(chosen), file.dim), np.dtype(recipe.store_dtype)
        too_large = most_bytes is not None and math.prod(shape) * dtype.itemsize > most_bytes
        embeddings = np.broadcast_to(np.zeros((), dtype), shape) if too_large else np.empty(shape, dtype)
        for j, layer in enumerate(() if too_large else chosen):
            embeddings[:, j] = file.layer(recipe.layers.index(layer))
        return StoreTable(
            recipe=recipe.replace(layers=chosen),
            root=recorded_root(file.path, file.root),
            embeddings=embeddings,
            left_on_disk=too_large,
            control=control,
            clip=file.column("clip"),
            start_seconds=start,
            end_seconds=end,
            **_clip_fields(clips),
        )


def open_store(path: str | os.PathLike[str]) -> StoreFile:
    """Open the published file of a store; say so when there is only an unfinished extraction."""
    place = Path(os.path.realpath(path))
    n_pending = len(PartsFolder(place).parts())
    if not place.is_file():
        kind = kind_of_no_file(place)
        if kind is not None:
            raise StoreFormatError(f"{path} is {kind}, not a store. Give a file that embedx extract wrote")
        what = "does not exist"
        if n_pending:
            parts = count(n_pending, "part")
            what = f"holds {parts} of an extraction that is running or was cut off, and nothing published"
        raise StoreFormatError(f"{path} {what}. Run embedx extract with -o {path}")
    if n_pending:
        text = (
            f"{path}: an extraction is running or was cut off; what it has done since the last publication is left out"
        )
        warnings.warn(f"{text} ({n_pending} parts). Run embedx extract again", SkippedSourcesWarning, stacklevel=3)
    return StoreFile(place)


def _chosen(file: StoreFile, layers: Sequence[int] | None) -> tuple[int, ...]:
    held = file.recipe.layers
    chosen = held if layers is None else tuple(layers)
    absent = [layer for layer in chosen if layer not in held]
    if absent or not chosen:
        raise ParameterError(f"{file.path} holds the layers {list(held)}, not {absent or 'none'}: choose among them")
    return chosen


def _clip_fields(clips: Sequence[Clip]) -> dict[str, Any]:
    n_rows = np.array([clip.n_rows for clip in clips], np.int64)
    cost = {text: seconds_per_row(text) for text in {clip.environment for clip in clips}}
    return {
        "embedding_seconds": np.array([clip.n_rows and clip.n_rows * cost[clip.environment] for clip in clips], float),
        "sources": tuple(clip.source for clip in clips),
        "status": np.array([clip.error is not None for clip in clips], np.uint8),
        "errors": tuple(clip.error for clip in clips),
        "hashes": np.frombuffer(b"".join(clip.stamp.sha256 for clip in clips), np.uint8).reshape(-1, 32),
        "row0": np.cumsum(n_rows) - n_rows,
        "n_rows": n_rows,
        "environments": tuple(json.loads(text) for text in sorted({clip.environment for clip in clips})),
    }
