"""Datasets of a store, of an extraction that was kept in memory, and of audio alone."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from embedx.containers.clip_files import hash_clip
from embedx.dataset.dataset import Dataset
from embedx.dataset.doubts import describe_doubts
from embedx.errors import DatasetError, EmbedxWarning, SkippedSourcesWarning
from embedx.manifest import Manifest, Source, read_manifest, shorten_pair, with_labels
from embedx.pooling import StoredLayers, pool_windows
from embedx.recipe import Recipe
from embedx.store.rows import CONTROL_DIM, ClipResult, Embedded
from embedx.text import count

__all__ = ["build_dataset", "list_audio", "load_embeddings"]


def list_audio(manifest: Manifest, *, recipe: Recipe) -> Dataset:
    """Make a dataset of audio alone, for heads that learn from it: X has no columns.

    Parameters
    ----------
    manifest : Manifest
        The clips; every file exists.
    recipe : Recipe
        The encoder that training begins from, and which part of a file is used.
    """
    digests = {source.uri: hash_clip(manifest.path_of(source)) for source in manifest}
    dataset = Dataset(
        X=np.zeros((len(manifest), 0), dtype=np.float32),
        control=np.zeros((len(manifest), CONTROL_DIM), dtype=np.float32),
        sources=tuple(manifest),
        recipe=recipe,
        root=str(manifest.root),
        seconds=np.zeros(len(manifest)),
        label_separator=manifest.label_separator,
        hashes=np.stack([np.frombuffer(digests[source.uri], dtype=np.uint8) for source in manifest]),
    )
    for told in describe_doubts(dataset):
        warnings.warn(told, EmbedxWarning, stacklevel=2)
    return dataset


def load_embeddings(
    path: str | PathLike[str],
    *,
    layers: Sequence[int] | None = None,
    labels: str | PathLike[str] | Manifest | None = None,
    label_separator: str | None = None,
    most_bytes: int | None = None,
) -> Dataset:
    """Load what can be learned from a store, one row a clip.

    A clip of several windows is their mean, weighted by the seconds that each adds.

    Parameters
    ----------
    path : path-like
        A store written by ``embedx extract``.
    layers : sequence of int, optional
        Layer numbers to read; all that the store holds by default. The others are not read from disk.
    labels : path-like or Manifest, optional
        Labels, groups and splits to use instead of those that the store saw.
    label_separator : str, optional
        What stands between the classes of a label where a clip may have several, such as ``"|"``; that of ``labels``
        by default.
    most_bytes : int, optional
        Embeddings that take more stay on disk, and ``X`` is `StoredLayers`: a head reads the layers that it learns
        from. By default X is an array, whatever its size.

    Returns
    -------
    Dataset
        The clips that have rows; failed ones are left out with a `SkippedSourcesWarning`.

    Raises
    ------
    StoreFormatError
        The file is no store, or a damaged one.
    DatasetError
        The store holds no embedding, or ``labels`` names none of its clips.

    Examples
    --------
    >>> import tempfile
    >>> from embedx.testing import make_store
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dataset = load_embeddings(make_store(f"{folder}/emb.h5"), layers=[1, 2])
    >>> dataset.layers, dataset.X.shape
    ((1, 2), (60, 16))
    """
    from embedx.store.store import read_store

    table = read_store(path, layers=layers, most_bytes=most_bytes)
    kept = np.flatnonzero((table.status == 0) & (table.n_rows > 0))
    _warn_left_out(len(table.sources) - len(kept), len(table.sources), str(path))
    if not len(kept):
        raise DatasetError(f"{path} holds no embedding: all {len(table.sources)} clips failed (embedx info --failures)")
    order = kept[np.argsort(table.row0[kept], kind="stable")]
    counts = table.n_rows[order]
    rows = table.embeddings[:, :, :0] if table.left_on_disk else table.embeddings
    pooled = pool_windows(
        rows, table.control, table.start_seconds, table.end_seconds, counts, pooling=table.recipe.pooling
    )
    dataset = Dataset(
        X=StoredLayers.of(table, path) if table.left_on_disk else pooled[0],
        control=pooled[1],
        sources=tuple(table.sources[i] for i in order),
        recipe=table.recipe,
        root=str(table.root),
        seconds=pooled[2],
        hashes=table.hashes[order],
        embedding_seconds=table.embedding_seconds[order],
        store_bytes=os.path.getsize(path) if os.path.isfile(path) else None,
    )
    dataset = dataset if labels is None else _relabelled(dataset, labels)
    separator = label_separator or dataset.label_separator
    dataset = dataset if separator is None else dataset.multi_label(separator)
    for told in describe_doubts(dataset):
        warnings.warn(told, EmbedxWarning, stacklevel=2)
    return dataset


def build_dataset(results: Iterable[ClipResult], *, recipe: Recipe, root: str | PathLike[str]) -> Dataset:
    """Make a dataset from an extraction that was kept in memory.

    Parameters
    ----------
    results : iterable of Embedded or Failure
        In any order; the dataset keeps it.
    recipe : Recipe
        What they were computed by.
    root : path-like
        Folder that relative uris are relative to.

    Returns
    -------
    Dataset
        Failures are left out with a `SkippedSourcesWarning`.

    Raises
    ------
    DatasetError
        There is no embedding among the results.
    """
    everything = list(results)
    clips = [result for result in everything if isinstance(result, Embedded) and len(result.embeddings)]
    _warn_left_out(len(everything) - len(clips), len(everything), "the extraction")
    if not clips:
        raise DatasetError(f"no embedding: all {len(everything)} clips failed")
    counts = np.array([len(clip.embeddings) for clip in clips])
    joined = [
        np.concatenate([getattr(clip, name) for clip in clips])
        for name in ("embeddings", "control", "start_seconds", "end_seconds")
    ]
    x, control, seconds = pool_windows(joined[0], joined[1], joined[2], joined[3], counts, pooling=recipe.pooling)
    return Dataset(
        X=x,
        control=control,
        sources=tuple(clip.source for clip in clips),
        recipe=recipe,
        root=str(root),
        seconds=seconds,
        hashes=np.stack([np.frombuffer(clip.stamp.sha256, dtype=np.uint8) for clip in clips]),
        embedding_seconds=np.array([len(c.embeddings) * (c.seconds_per_row or np.nan) for c in clips]),
    )


def _warn_left_out(n_left_out: int, n_all: int, where: str) -> None:
    if n_left_out and n_left_out < n_all:
        warnings.warn(
            f"{where}: {n_left_out} of {n_all} clips have no embedding and are left out",
            SkippedSourcesWarning,
            stacklevel=3,
        )


def _relabelled(dataset: Dataset, labels: str | PathLike[str] | Manifest) -> Dataset:
    manifest = labels if isinstance(labels, Manifest) else read_manifest(labels, must_exist=False)
    manifest.require_labels("the labels" if isinstance(labels, Manifest) else labels)
    absolute = Manifest(tuple(replace(source, uri=str(manifest.path_of(source))) for source in manifest), manifest.root)
    root = Path(dataset.root)
    located = [replace(source, uri=str(root / source.uri)) for source in dataset.sources]
    found = with_labels(located, absolute)
    if all(source.label is None for source in manifest):
        read = ", ".join(f"{role} = {column!r}" for role, column in manifest.columns.items())
        raise DatasetError(
            f"the labels hold no label: no column was read as one{f' (read: {read})' if read else ''}. "
            "Name it with --label-column NAME"
        )
    if all(source.label is None for source in found):
        named = {source.key for source in absolute} & {source.key for source in located}
        if named:
            raise DatasetError(f"the {len(named)} clips of the store that the labels name have no label there")
        clip, row = shorten_pair(located[0].id, absolute[0].id)
        raise DatasetError(
            f"the labels name none of the {len(dataset)} clips (first clip: {clip}, first label row: {row}): "
            "paths must lead to the same files, and segments begin and end alike"
        )
    _warn_of_unused(dataset.sources, manifest)
    renamed = dataset.with_sources([replace(new, uri=old.uri) for new, old in zip(found, dataset.sources, strict=True)])
    return replace(renamed, label_separator=manifest.label_separator)


def _warn_of_unused(sources: Sequence[Source], manifest: Manifest) -> None:
    """Say that groups or parts which the store knows are lost with labels that have none."""
    for role, then in (("group", "learned from and tested on"), ("split", "of the test part and learned from")):
        known = {getattr(source, role) for source in sources} - {None}
        if known and not any(getattr(source, role) for source in manifest):
            warnings.warn(
                f"the labels have no {role}, and what the store knows of it ({count(len(known), role)}) is not used: "
                f"clips may be {then}. Add the column, or name it with --{role}-column",
                EmbedxWarning,
                stacklevel=4,
            )
