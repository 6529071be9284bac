"""search_store(): the clips of a store nearest to a clip, or to those of a label."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_number
from embedx.containers.clip_files import hash_clip, is_clip
from embedx.dataset import Dataset, build_dataset, load_embeddings
from embedx.errors import DatasetError, ParameterError, unknown_name
from embedx.files import kind_of_no_file
from embedx.manifest import Manifest, Source
from embedx.recipe import Resources
from embedx.search.similarity import Similarity
from embedx.store.rows import Failure

__all__ = ["Hit", "search_store"]

_MOST_BYTES = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A clip that was found.

    Parameters
    ----------
    rank : int
        From 1.
    similarity : float
        Cosine, from -1 to 1.
    source : Source
        The clip, as the store names it.
    path : str
        Its file.
    """

    rank: int
    similarity: float
    source: Source
    path: str


def search_store(
    store: str | os.PathLike[str],
    query: str | os.PathLike[str] | None = None,
    *,
    label: str | None = None,
    k: int = 20,
    layers: Sequence[int] | None = None,
    labels: str | os.PathLike[str] | Manifest | None = None,
    standardized: bool = True,
    resources: Resources | None = None,
) -> tuple[Hit, ...]:
    """Find the clips of a store that sound most like one clip, or like the clips of a label.

    Every clip is compared: what is found is exact. One float32 row of ``D`` columns a clip is held.

    Parameters
    ----------
    store : path-like
        What ``embedx extract`` wrote.
    query : path-like, optional
        A clip of the store, by its path or as the store names it (its segments are taken together), or any other audio
        file, which is embedded as the store's clips were. Clips of the query's own file are not found.
    label : str, optional
        Instead of a query: find clips near those of this label that are not labelled so, those without a label first.
    k : int
        Clips at most.
    layers : sequence of int, optional
        Layers whose mean is compared, by their numbers in the store; all by default.
    labels : path-like or Manifest, optional
        Labels to use instead of those that the store saw.
    standardized : bool
        Whether each column is standardized over the store's clips before, which finds more of the same class
        (docs/benchmarks/search.md); otherwise plain cosine.
    resources : Resources, optional
        Device, for a query that has to be embedded.

    Returns
    -------
    tuple of Hit
        The most similar first; with ``label`` those without a label before those with another one.

    Raises
    ------
    ParameterError
        Neither query nor label, or both; no such file or label; ``k`` below 1.
    DatasetError
        The query cannot be embedded, or the store holds no embedding.
    StoreError
        The store cannot be read, or has no such layer.

    Examples
    --------
    >>> import tempfile
    >>> from embedx.testing import make_store
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hits = search_store(make_store(f"{folder}/emb.h5"), "clip_0000.wav", k=3, layers=[1])
    >>> [(hit.rank, hit.source.label) for hit in hits]
    [(1, 'class 0'), (2, 'class 0'), (3, 'class 0')]
    """
    require_number("k", k, 1, whole=True)
    if (query is None) == (label is None):
        raise ParameterError("give a query or a label, one of the two: a path, or label='dog'")
    dataset = load_embeddings(store, layers=layers, labels=labels, most_bytes=_MOST_BYTES)
    values = dataset.average_layers()
    similarity = Similarity.of(values, standardized=standardized)
    if label is not None:
        asked, order = _by_label(dataset, label)
        direction = similarity.direction(values[asked])
    else:
        assert query is not None
        asked, order = _rows_of(dataset, query), np.zeros(len(dataset), dtype=np.intp)
        own = _changed(dataset, asked, query)
        direction = similarity.direction(_embedded(dataset, query, resources) if own else values[asked])
    found = similarity.to(direction, values)
    nearest = np.lexsort((-found, order))
    kept = nearest[~np.isin(nearest, asked)][:k]
    return tuple(_hits(dataset, kept, found))


def _hits(dataset: Dataset, rows: NDArray[np.intp], found: NDArray[np.float64]) -> Iterator[Hit]:
    for rank, row in enumerate(rows, start=1):
        source = dataset.sources[row]
        path = str(Path(dataset.root) / source.uri)
        yield Hit(rank=rank, similarity=float(found[row]), source=source, path=path)


def _by_label(dataset: Dataset, label: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of a label, and for each row 0 where it has none and 1 where it has one."""
    given = [source.label for source in dataset.sources]
    rows = np.flatnonzero([one == label for one in given])
    if not len(rows):
        known = sorted({one for one in given if one is not None})
        if not known:
            raise ParameterError(f"no clip of the store has a label, so none has {label!r}: give --labels clips.csv")
        raise ParameterError(unknown_name("label", label, known))
    return rows, np.array([one is not None for one in given], dtype=np.intp)


def _rows_of(dataset: Dataset, query: str | os.PathLike[str]) -> NDArray[np.intp]:
    """Return the rows of a file, none when the store does not have it."""
    text, root = os.fspath(query), os.path.realpath(dataset.root)
    names = {text, os.path.abspath(text), os.path.realpath(text)}
    rows = [
        row
        for row, source in enumerate(dataset.sources)
        if source.uri in names or os.path.normpath(os.path.join(root, source.uri)) in names
    ]
    return np.array(rows, dtype=np.intp)


def _changed(dataset: Dataset, rows: NDArray[np.intp], query: str | os.PathLike[str]) -> bool:
    """Say whether a query has to be embedded: the store does not have it, or has other bytes of that name."""
    if not is_clip(query):
        if len(rows):
            return False
        kind = kind_of_no_file(query)
        what = "does not exist, and is no clip of the store" if kind is None else f"is {kind}: give one audio file"
        raise ParameterError(f"the query {os.fspath(query)} {what}")
    return not len(rows) or hash_clip(query) != bytes(dataset.hashes[rows[0]])


def _embedded(dataset: Dataset, query: str | os.PathLike[str], resources: Resources | None) -> NDArray[np.floating]:
    """Embed a file as the store's clips were, and round it as they are, shape (1, D)."""
    from embedx.extract.job import embed

    manifest = Manifest.from_paths([query])
    results, recipe = embed(manifest, recipe=dataset.recipe, resources=resources or Resources(workers=0))
    if isinstance(results[0], Failure):
        raise DatasetError(f"the query cannot be embedded: {results[0].message}")
    found = build_dataset(results, recipe=recipe, root=manifest.root)
    return replace(found, X=np.asarray(found.X, dtype=recipe.store_dtype)).average_layers()
