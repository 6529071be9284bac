"""One order for everything that is learned from: X, control, y, groups, split, sources."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedx.checks import require_number, require_seed
from embedx.containers.clip_files import hash_clip, is_clip
from embedx.errors import DatasetError, SkippedSourcesWarning
from embedx.manifest import (
    DEFAULT_SEPARATOR,
    Source,
    as_set,
    require_separator,
    split_classes,
)
from embedx.pooling import StoredLayers, average_layers
from embedx.recipe import Recipe
from embedx.text import as_html

__all__ = ["Dataset"]


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
        return _require_classes(self.labelled(), least)

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


def _require_classes(dataset: Dataset, least: int) -> Dataset:
    """Return labelled clips if they are of two classes or more, with so many clips each at least.

    Raises
    ------
    DatasetError
        They are not.
    """
    if dataset.label_separator is not None:
        return _require_sets(dataset, least)
    names, counts = np.unique([s.label for s in dataset.sources if s.label is not None], return_counts=True)
    if len(names) < 2:
        raise DatasetError(f"every clip is labelled {str(names[0])!r}: a classifier needs at least two classes")
    if counts.min() < least:
        few = ", ".join(f"{str(n)!r} ({c})" for n, c in zip(names, counts, strict=True) if c < least)
        raise DatasetError(
            f"a class needs at least {least} clips, these have fewer: {few}. Add clips or drop the class"
        )
    return dataset


def _require_sets(dataset: Dataset, least: int) -> Dataset:
    counts = dataset.label_matrix(dataset.classes).sum(0)
    if len(counts) < 2:
        named = f"the one class {dataset.classes[0]!r}" if dataset.classes else "no class"
        raise DatasetError(
            f"the labels name {named}: several labels a clip need two classes or more (for one, give the clips "
            "without it a label of their own, and leave the separator out)"
        )
    pairs = [(name, int(n)) for name, n in zip(dataset.classes, counts, strict=True)]
    few = ", ".join(f"{name!r} ({n})" for name, n in pairs if n < least)
    if few:
        raise DatasetError(
            f"a class needs at least {least} clips, these have fewer: {few}. Add clips or drop the class"
        )
    everywhere = ", ".join(repr(name) for name, n in pairs if n == len(dataset))
    if everywhere:
        raise DatasetError(f"every clip has the class {everywhere}: there is nothing to tell it from; leave it out")
    return dataset
