"""One order for everything that is learned from: X, control, y, groups, split, sources."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_number, require_seed
from embedx.containers.clip_files import hash_clip, is_clip
from embedx.errors import DatasetError, EmbedxWarning, SkippedSourcesWarning
from embedx.manifest import (
    DEFAULT_SEPARATOR,
    Manifest,
    Source,
    as_set,
    describe_alike,
    describe_sets,
    read_manifest,
    require_separator,
    shorten_pair,
    split_classes,
    with_labels,
)
from embedx.pooling import StoredLayers, average_layers, pool_windows
from embedx.recipe import Recipe
from embedx.store.rows import CONTROL_DIM, ClipResult, Embedded
from embedx.text import as_html, count

__all__ = ["Dataset", "build_dataset", "list_audio", "load_embeddings"]


class _DeclaresInput(Protocol):
    @property
    def input_kind(self) -> str: ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Dataset:
    """Clips with their embeddings and labels, all in one order.

    Parameters
    ----------
    X : ndarray or StoredLayers of shape (n, L * D)
        Layer after layer, in the dtype of the store (heads ask for float32 themselves).
    control : ndarray of shape (n, 128), float32
        Log-mel statistics.
    sources : tuple of Source
        The clips.
    recipe : Recipe
        What the embeddings were made by; its ``layers`` name the L layers.
    root : str
        Folder that relative uris are relative to.
    seconds : ndarray of shape (n,), float64
        Audio that was embedded, per clip, in seconds.
    hashes : ndarray of shape (n, 32), uint8
        sha256 of each clip's file.
    embedding_seconds : ndarray of shape (n,), float64, optional
        What embedding each clip took, in seconds; NaN where it was not recorded.
    store_bytes : int, optional
        Size of the store that the clips were loaded from, with whatever else it holds.
    label_separator : str, optional
        What stands between the classes of a label where a clip may have several (`multi_label`); None where it has one.

    Examples
    --------
    >>> from embedx.testing import make_dataset
    >>> dataset = make_dataset(n=12)
    >>> dataset.X.shape, dataset.take([0, 5]).y.tolist(), len(dataset.balanced(2))
    ((12, 24), ['class 0', 'class 2'], 6)
    """

    X: NDArray[Any] | StoredLayers
    control: NDArray[np.float32]
    sources: tuple[Source, ...]
    recipe: Recipe
    root: str
    seconds: NDArray[np.float64]
    hashes: NDArray[np.uint8]
    embedding_seconds: NDArray[np.float64] | None = None
    store_bytes: int | None = None
    label_separator: str | None = None

    def __len__(self) -> int:
        return len(self.sources)

    def __repr__(self) -> str:
        several = "" if self.label_separator is None else ", several a clip"
        labels = "no labels" if self.y is None else f"{len(self.classes)} classes{several}"
        shape = f"{len(self)} clips, {self.n_layers} layers x {self.dim}"
        return f"Dataset({shape}, {labels}, encoder={self.recipe.encoder!r})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the clips, seconds and groups of every class."""
        labels: Sequence[str] = self.classes
        if self.label_separator is None:
            names, members = np.unique([str(source.label) for source in self.sources], return_inverse=True)
            labels, has = names.tolist(), members[:, None] == np.arange(len(names))
        else:
            has = self.label_matrix(labels)
        groups, rows = self.groups, []
        for label, of in zip(labels, has.T, strict=True):
            n_groups = "unknown" if groups is None else len(np.unique(groups[of]))
            rows.append((label, of.sum(), f"{self.seconds[of].sum():,.0f}", n_groups))
        return as_html(repr(self), rows, header=("label", "clips", "seconds", "groups"))

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the L layers, as transformers counts them."""
        return self.recipe.layers

    @property
    def n_layers(self) -> int:
        """Number L of layers."""
        return len(self.recipe.layers)

    @property
    def dim(self) -> int:
        """Width D of a layer (twice the encoder's for ``mean+std`` and ``mean+max``)."""
        return int(self.X.shape[1]) // self.n_layers

    @property
    def y(self) -> NDArray[np.str_] | None:
        """Labels (n,), or None unless every clip has one."""
        return self._column("label")

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the labels name, sorted."""
        known = {source.label for source in self.sources if source.label is not None}
        if self.label_separator is not None:
            known = {name for label in known for name in split_classes(label, self.label_separator)}
        return tuple(sorted(known))

    @property
    def Y(self) -> NDArray[np.bool_] | None:
        """Which classes each clip has (n, n_classes), bool; None unless every clip has a label.

        Columns are in the order of ``classes``.
        """
        return None if self.y is None else self.label_matrix(self.classes)

    def label_matrix(self, classes: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these classes each clip has (n, len(classes)), bool; a clip without a label has none."""
        column = {name: j for j, name in enumerate(classes)}
        matrix = np.zeros((len(self), len(column)), dtype=bool)
        for i, source in enumerate(self.sources):
            label, separator = source.label or "", self.label_separator
            names = (label,) if separator is None else split_classes(label, separator)
            matrix[i, [column[name] for name in names if name in column]] = True
        return matrix

    def multi_label(self, separator: str = DEFAULT_SEPARATOR) -> Dataset:
        """Return the same clips with each label read as a set of classes.

        Parameters
        ----------
        separator : str
            What stands between the classes of a label; alone it is the label of a clip of no class.

        Raises
        ------
        ParameterError
            It cannot stand there.

        Examples
        --------
        >>> from embedx.testing import make_dataset
        >>> dataset = make_dataset(n=3).relabel(["rain|dog", "dog", "|"]).multi_label()
        >>> dataset.classes, dataset.Y.astype(int).tolist()
        (('dog', 'rain'), [[1, 1], [1, 0], [0, 0]])
        """
        require_separator(separator)
        sources = tuple(replace(source, label=as_set(source.label, separator)) for source in self.sources)
        return replace(self, sources=sources, label_separator=separator)

    def require_single_label(self, what: str) -> Dataset:
        """Return the dataset if a clip has one label; ``what`` cannot do with several.

        Raises
        ------
        DatasetError
            Its labels are sets of classes.
        """
        if self.label_separator is not None:
            raise DatasetError(
                f"{what} takes one label a clip, and these labels are sets (joined by {self.label_separator!r}): for "
                "several labels a clip there are compare, tune and fit with the heads logreg, lgbm and mlp"
            )
        return self

    @property
    def groups(self) -> NDArray[np.str_] | None:
        """What must not be cut apart (n,): the one rule for all that sets clips aside.

        A clip's group is what its source names, else its file: segments of one file, and copies of its bytes, are one
        group (that of the file's other clips, where they name a single one). None when no group is named and no
        file is there twice.
        """
        files = self._files()
        named = [source.group for source in self.sources]
        if len(set(files)) == len(files) and not any(named):
            return None
        of_file: dict[str, set[str]] = {}
        for file, group in zip(files, named, strict=True):
            if group is not None:
                of_file.setdefault(file, set()).add(group)
        alone = {file: next(iter(groups)) for file, groups in of_file.items() if len(groups) == 1}
        return np.array([alone.get(f, f) if group is None else group for f, group in zip(files, named, strict=True)])

    def _files(self) -> list[str]:
        """Return the file of each clip, by one uri for all files of the same bytes."""
        names: dict[str, str] = {}
        by_content: dict[bytes, str] = {}
        for source, digest in zip(self.sources, self.hashes, strict=True):
            content = bytes(digest)
            first = by_content.setdefault(content, source.uri) if any(content) else source.uri
            names.setdefault(source.uri, first)
        return [names[source.uri] for source in self.sources]

    @property
    def split(self) -> NDArray[np.str_] | None:
        """Predefined parts or folds (n,), an empty text where a clip has none; None when no clip has one."""
        values = [source.split or "" for source in self.sources]
        return np.array(values) if any(values) else None

    def _column(self, name: str) -> NDArray[np.str_] | None:
        values = [getattr(source, name) for source in self.sources]
        return None if not values or None in values else np.array(values)

    def average_layers(self) -> NDArray[np.float32]:
        """Return the mean of each clip's layers (n, D), float32."""
        return average_layers(self.X, self.n_layers).astype(np.float32, copy=False)

    def take(self, indices: NDArray[np.intp] | Sequence[int]) -> Dataset:
        """Return some of the clips, in the given order."""
        chosen = np.asarray(indices)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.intp)
        return replace(
            self,
            X=self.X[chosen],
            control=self.control[chosen],
            sources=tuple(self.sources[i] for i in chosen),
            seconds=self.seconds[chosen],
            hashes=self.hashes[chosen],
            embedding_seconds=None if self.embedding_seconds is None else self.embedding_seconds[chosen],
        )

    def with_sources(self, sources: Sequence[Source]) -> Dataset:
        """Return the same clips with other labels, groups or splits (same keys, same order)."""
        if [s.key for s in sources] != [s.key for s in self.sources]:
            raise DatasetError("the sources are not the same clips in the same order")
        return replace(self, sources=tuple(sources))

    def relabel(self, labels: Sequence[str], *, groups: Sequence[str | None] | None = None) -> Dataset:
        """Return the same clips with these labels (n,) and groups (n,)."""
        parts: Sequence[str | None] = [source.group for source in self.sources] if groups is None else groups
        named = zip(self.sources, labels, parts, strict=True)
        return replace(self, sources=tuple(replace(s, label=label, group=group) for s, label, group in named))

    def inputs_for(self, head: _DeclaresInput) -> Any:
        """Return what a head learns from: the only place where heads on audio and on embeddings differ.

        Returns
        -------
        ndarray of shape (n, L * D), (n, 128) or, for heads on audio, (n,) of `Source` with absolute paths
        """
        if head.input_kind == "embeddings":
            return self.X
        if head.input_kind == "control":
            return self.control
        inputs = np.empty(len(self), dtype=object)
        inputs[:] = [replace(source, uri=str(Path(self.root) / source.uri)) for source in self.sources]
        return inputs

    def to_dataframe(self) -> Any:
        """Return a data frame of pandas: path, label, group, split, start, stop and seconds, then every number.

        Returns
        -------
        pandas.DataFrame
            A row a clip, in order; the numbers of layer 3 are the columns ``layer3_0``, ``layer3_1``, ... (float32).
            Ask `load_embeddings` for the layers that you need.

        Raises
        ------
        MissingExtraError
            pandas is not installed.

        Examples
        --------
        >>> from embedx.testing import make_dataset
        >>> make_dataset(n=12).to_dataframe().groupby("label")["layer1_0"].count().tolist()
        [4, 4, 4]
        """
        from embedx.embedding_tables import as_dataframe

        return as_dataframe(self)

    def to_anndata(self) -> Any:
        """Return an AnnData, for scanpy's neighbours, clusters and maps of clips.

        Returns
        -------
        anndata.AnnData
            ``X`` (n, L * D), float32; ``obs`` a row a clip, named by its number, with the columns of `to_dataframe`;
            ``var`` with ``layer`` (the encoder's) and ``position``; ``obsm["control"]`` (n, 128); ``uns["embedx"]``
            with the recipe as JSON, its fingerprint and the root.

        Raises
        ------
        MissingExtraError
            anndata is not installed (``embedx[anndata]``).
        """
        from embedx.embedding_tables import as_anndata

        return as_anndata(self)

    def to_arrow(self) -> Any:
        """Return a table of Arrow: the columns of `to_dataframe`, and a vector a layer.

        Returns
        -------
        pyarrow.Table
            A row a clip, in order; ``layer3`` holds vectors of D numbers, ``control`` of 128 (float32). Its metadata
            hold the recipe and the root.

        Raises
        ------
        MissingExtraError
            pyarrow is not installed (``embedx[parquet]``).
        """
        from embedx.embedding_tables import as_arrow

        return as_arrow(self)

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write the table of `to_arrow` to a Parquet file, whole or not at all.

        Parameters
        ----------
        path : path-like
            A new file, or a Parquet file that is replaced.

        Raises
        ------
        MissingExtraError
            pyarrow is not installed (``embedx[parquet]``).
        ParameterError
            It cannot be written, or a file of another kind lies there.
        """
        from embedx.embedding_tables import write_parquet

        write_parquet(self, path)

    def located_at(self, root: str | PathLike[str]) -> Dataset:
        """Return the same clips with their files looked for below another folder."""
        return replace(self, root=os.path.abspath(root))

    def require_audio(self) -> Dataset:
        """Return the dataset if every clip's file is where it was and holds the bytes that were embedded.

        Raises
        ------
        DatasetError
            Files are missing or have changed; the first is named, and they are counted.
        """
        known = {source.uri: bytes(digest) for source, digest in zip(self.sources, self.hashes, strict=True)}
        paths = {Path(self.root) / uri: digest for uri, digest in known.items()}
        missing = [path for path in paths if not is_clip(path)]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {len(paths)} audio files are missing, the first is {missing[0]}: a head that "
                "learns from audio needs them all; say where they lie with --root"
            )
        changed = [path for path, digest in paths.items() if hash_clip(path) != digest]
        if changed:
            raise DatasetError(
                f"{len(changed)} of {len(paths)} audio files have changed since they were embedded, the first is "
                f"{changed[0]}: extract again, so that all heads learn from the same audio"
            )
        return self

    def describe_doubts(self) -> list[str]:
        """Say what may be wrong with groups, labels, parts and times as they are written, a sentence each."""
        told = [self.describe_missing_groups(), self._describe_files_of_several_groups()]
        labels = () if self.label_separator is not None else (source.label for source in self.sources)
        told += [self.describe_short_segments(), describe_sets(labels)]
        return [*filter(None, told), *describe_alike(self._named_apart())]

    def _named_apart(self) -> Iterable[Source]:
        """Return sources whose labels are single classes: of a clip of several, one for each."""
        if self.label_separator is None:
            return self.sources
        blank = (replace(source, label=None) for source in self.sources)
        return (*blank, *(Source("", label=name) for name in self.classes))

    def _describe_files_of_several_groups(self) -> str:
        """Say how many files are cut apart by the named groups of their segments; empty when none is."""
        named: dict[str, set[str]] = {}
        for source in self.sources:
            if source.group is not None:
                named.setdefault(source.uri, set()).add(source.group)
        several = {uri: groups for uri, groups in named.items() if len(groups) > 1}
        if not several:
            return ""
        first, groups = next(iter(several.items()))
        return (
            f"{count(len(several), 'file')} with clips of several groups (the first, {first}: "
            f"{', '.join(map(repr, sorted(groups)[:2]))}): one recording may be learned from and tested on. If the "
            "room or device could give the class away, name the recording in the group column"
        )

    def describe_short_segments(self) -> str:
        """Say how many segments end with their file, well before their own end; empty when none does."""
        recipe = self.recipe
        spans = np.array([(s.start_seconds, s.stop_seconds) for s in self.sources], dtype=np.float64)  # None is NaN
        wanted = np.fmin(spans[:, 1] - spans[:, 0], np.inf if recipe.max_seconds is None else recipe.max_seconds)
        lacking = np.where(np.isnan(spans[:, 1]) | (self.seconds <= 0), 0.0, wanted - self.seconds)
        short = lacking > np.maximum(max(0.5, recipe.min_tail_seconds), 0.1 * wanted)
        if recipe.offset != "start" or recipe.hop_seconds > recipe.window_seconds or not short.any():
            return ""
        first = int(np.flatnonzero(short)[0])
        return (
            f"{count(int(short.sum()), 'segment')} of {len(self):,} ended with the file, before the stop (the first, "
            f"{self.sources[first].id}, after {self.seconds[first]:.1f} of {wanted[first]:.1f} s): are the times in "
            "seconds of the file?"
        )

    def describe_missing_groups(self) -> str:
        """Say how many clips have no group although others have one; empty when there is nothing to say."""
        n = sum(source.group is None for source in self.sources)
        if not 0 < n < len(self):
            return ""
        return (
            f"{n} of {len(self)} clips have no group: only segments and copies of one file are kept together there. "
            "If a speaker or recording is behind them, name it in the group column"
        )

    def labelled(self) -> Dataset:
        """Return the clips that have a label, with a warning when some have none.

        Raises
        ------
        DatasetError
            No clip has a label.
        """
        known = np.array([source.label is not None for source in self.sources], dtype=bool)
        if not known.any():
            raise DatasetError(
                f"none of the {len(self)} clips has a label: extract from a folder with a subfolder for each class, "
                "or give a CSV with labels (--labels clips.csv)"
            )
        if known.all():
            return self  # gigabytes are not copied for nothing
        n = int((~known).sum())
        warnings.warn(f"{n} of {len(self)} clips have no label and are left out", SkippedSourcesWarning, stacklevel=2)
        return self.take(np.flatnonzero(known))

    def require_learnable(self, *, least: int = 2) -> Dataset:
        """Return the labelled clips if a classifier can be learned and judged on them.

        Parameters
        ----------
        least : int
            Clips that every class must have.

        Raises
        ------
        DatasetError
            No labels, a single class, or a class with too few clips.
        """
        dataset = self.labelled()
        if self.label_separator is not None:
            return dataset._require_learnable_sets(least)
        names, counts = np.unique([s.label for s in dataset.sources if s.label is not None], return_counts=True)
        if len(names) < 2:
            raise DatasetError(f"every clip is labelled {str(names[0])!r}: a classifier needs at least two classes")
        if counts.min() < least:
            few = ", ".join(f"{str(n)!r} ({c})" for n, c in zip(names, counts, strict=True) if c < least)
            raise DatasetError(
                f"a class needs at least {least} clips, these have fewer: {few}. Add clips or drop the class"
            )
        return dataset

    def _require_learnable_sets(self, least: int) -> Dataset:
        counts = self.label_matrix(self.classes).sum(0)
        if len(counts) < 2:
            named = f"the one class {self.classes[0]!r}" if self.classes else "no class"
            raise DatasetError(
                f"the labels name {named}: several labels a clip need two classes or more (for one, give the clips "
                "without it a label of their own, and leave the separator out)"
            )
        pairs = [(name, int(n)) for name, n in zip(self.classes, counts, strict=True)]
        few = ", ".join(f"{name!r} ({n})" for name, n in pairs if n < least)
        if few:
            raise DatasetError(
                f"a class needs at least {least} clips, these have fewer: {few}. Add clips or drop the class"
            )
        everywhere = ", ".join(repr(name) for name, n in pairs if n == len(self))
        if everywhere:
            raise DatasetError(f"every clip has the class {everywhere}: there is nothing to tell it from; leave it out")
        return self

    def balanced(self, per_class: int, *, seed: int = 0) -> Dataset:
        """Draw the same number of clips from every class.

        Parameters
        ----------
        per_class : int
            Clips a class.
        seed : int
            Seed of the draw.

        Raises
        ------
        DatasetError
            A class has fewer clips than asked for.
        """
        require_number("per_class", per_class, 1, whole=True)
        self.require_single_label("drawing the same number of clips from every class")
        rng = np.random.default_rng(require_seed(seed))
        dataset = self.labelled()
        labels = np.array([s.label for s in dataset.sources])
        chosen: list[int] = []
        for name in np.unique(labels):
            members = np.flatnonzero(labels == name)
            if len(members) < per_class:
                raise DatasetError(
                    f"class {str(name)!r} has {len(members)} clips, {per_class} were asked for: "
                    "ask for fewer with --per-class, or add clips"
                )
            chosen.extend(rng.choice(members, per_class, replace=False).tolist())
        return dataset.take(sorted(chosen))


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
    for told in dataset.describe_doubts():
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
    for told in dataset.describe_doubts():
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
