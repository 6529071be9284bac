"""Ordered, unique clips below one root."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from embedx.containers.clip_files import is_clip
from embedx.errors import ManifestError, unknown_name
from embedx.manifest.audio_datasets import audio_column as find_audio_column
from embedx.manifest.audio_datasets import table_of
from embedx.manifest.columns import ROLES, Columns, choose_roles, clip_rows
from embedx.manifest.label_sets import as_set
from embedx.manifest.packing import pack_dataset
from embedx.manifest.paths import is_text, relative_uri, shorten
from embedx.manifest.shards import read_shards
from embedx.manifest.source import Source, require_short, unique_sources
from embedx.manifest.table import Table

__all__ = ["Manifest", "text_of"]


@dataclass(frozen=True, slots=True)
class Manifest(Sequence[Source]):
    """Ordered, unique sources below one root.

    Parameters
    ----------
    sources : tuple of Source
        In the order of the file or, for a folder, of the paths.
    root : Path
        What relative uris are relative to.
    columns : mapping of str to str
        Which column of the table was read as what; empty for a folder.
    n_repeats : int
        Rows that repeated an earlier clip and were left out.
    unread : tuple of str
        Columns of the table that were read as nothing.
    notes : tuple of str
        What else a reader has to know of how it was read, a line each.
    left_out : mapping of str to int
        Files of a folder that are no audio, by ending.
    n_bad_names : int
        Files of a folder that were left out because their names are not UTF-8.
    label_separator : str or None
        What stands between the classes of a label where a clip may have several; None where it has one.

    Examples
    --------
    >>> manifest = Manifest.from_paths(["a.wav", "b.wav"], labels=["dog", "cat"], root="/data")
    >>> [(source.id, source.label) for source in manifest]
    [('a.wav', 'dog'), ('b.wav', 'cat')]
    """

    sources: tuple[Source, ...]
    root: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    n_repeats: int = 0
    unread: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    n_bad_names: int = 0
    label_separator: str | None = None

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # int -> Source, slice -> tuple
        return self.sources[index]

    def __iter__(self) -> Iterator[Source]:
        return iter(self.sources)

    def path_of(self, source: Source) -> Path:
        """Return where the source's file lies."""
        return self.root / source.uri

    def require_labels(self, where: object = "the labels") -> None:
        """Refuse a manifest in which no clip has a label.

        Raises
        ------
        ManifestError
            With the columns that were read as nothing, one of which may hold the labels.
        """
        if any(source.label is not None for source in self.sources):
            return
        if "label" in self.columns:
            raise ManifestError(f"{where}: no clip has a label, the column {self.columns['label']!r} is empty")
        unread = shorten(", ".join(map(repr, self.unread)))
        way = f"name one of its columns with --label-column: {unread}" if unread else "give one with a label column"
        raise ManifestError(f"{where}: nothing was read as the label: {way}")

    @property
    def hash(self) -> str:
        """64 hexadecimal digits of the clips and what is known of them (not of the audio)."""
        rows = [[s.uri, s.start_seconds, s.stop_seconds, s.label, s.group, s.split] for s in self.sources]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @classmethod
    def from_paths(
        cls,
        paths: Iterable[str | os.PathLike[str]],
        *,
        labels: Iterable[object] | None = None,
        groups: Iterable[object] | None = None,
        root: str | os.PathLike[str] = ".",
    ) -> Manifest:
        """Make a manifest from paths in memory; a repeated path is kept once.

        Parameters
        ----------
        paths : iterable of path-like
            Audio files, relative to ``root`` or absolute.
        labels, groups : iterable, optional
            As long as ``paths``; values become text; None, NaN, ``pandas.NA`` and an empty text say that nothing is
            known.
        root : path-like
            Folder that relative paths are relative to.

        Raises
        ------
        ManifestError
            Lengths differ, one path has two labels or groups, a name is not UTF-8, ``paths`` is one path, or an item
            is none.
        """
        if isinstance(paths, str | bytes | os.PathLike):
            raise ManifestError(f"paths is the one path {os.fspath(paths)!r}: give a list, or use read_manifest")
        names = list(map(_as_name, paths))
        odd = [name for name in names if isinstance(name, str) and not is_text(name)]
        if odd:
            raise ManifestError(f"path {odd[0]!r} is not UTF-8: rename the file")
        base = Path(os.path.abspath(root))
        columns = (_as_texts(labels, "label", len(names)), _as_texts(groups, "group", len(names)))
        rows = (
            (i, Source(relative_uri(name, base), label=label, group=group))
            for i, (name, label, group) in enumerate(zip(names, *columns, strict=True))
        )
        sources, n_repeats = unique_sources(rows, "paths", "item")
        return cls(sources, base, n_repeats=n_repeats)

    @classmethod
    def from_dataframe(cls, frame: Any, *, root: str | os.PathLike[str] = ".", **columns: str | None) -> Manifest:
        """Make a manifest from a data frame (pandas, polars or any with ``columns`` and ``frame[name]``).

        Parameters
        ----------
        frame : data frame
            A row a clip. Named levels of an index are columns too, as in the tables of audb.
        root : path-like
            Folder that relative paths are relative to.
        **columns : str, optional
            ``path_column``, ``label_column`` and so on, as in `read_manifest`; guessed otherwise.

        Raises
        ------
        ManifestError
            As `read_manifest` does; rows are counted from 0.
        """
        if any(getattr(getattr(frame, "index", None), "names", ())):
            frame = frame.reset_index()
        header = tuple(str(name) for name in frame.columns)
        rows = list(zip(*([text_of(value) or "" for value in frame[name]] for name in frame.columns), strict=True))
        table = Table("the data frame", header, rows, range(len(rows)))
        return cls.from_table(table, choose_roles(table, _wanted(columns)), root=Path(os.path.abspath(root)))

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        *,
        audio_column: str | None = None,
        root: str | os.PathLike[str] = ".",
        shard: str | os.PathLike[str] | None = None,
        **columns: str | None,
    ) -> Manifest:
        """Make a manifest from a dataset of Hugging Face's ``datasets`` whose audio lies in files, or is kept in one.

        Parameters
        ----------
        dataset : datasets.Dataset or IterableDataset
            With an Audio column; nothing is decoded. Class labels become their names.
        audio_column : str, optional
            Which one, where there are several.
        root : path-like
            Folder that relative paths are relative to.
        shard : path-like, optional
            A tar archive that the clips are written to, for a dataset that is streamed or holds its audio itself: it
            is read once, a row at a time. An archive that is there is taken as it is, and nothing is streamed again.
        **columns : str, optional
            ``label_column`` and so on, as in `read_manifest`; guessed otherwise.

        Raises
        ------
        ManifestError
            As `from_dataframe` does; or audio that lies inside of the dataset, or is missing.
        """
        if shard is not None:
            return cls._from_packed(dataset, find_audio_column(dataset, audio_column), shard, _wanted(columns))
        table = table_of(dataset, find_audio_column(dataset, audio_column))
        wanted = {"path": find_audio_column(dataset, audio_column), **_wanted(columns)}
        manifest = cls.from_table(table, choose_roles(table, wanted), root=Path(os.path.abspath(root)))
        missing = [source.uri for source in manifest if not is_clip(manifest.path_of(source))]
        if missing:
            raise ManifestError(
                f"the dataset: {len(missing):,} of {len(manifest):,} files are missing, the first is {missing[0]!r} "
                f"(looked in {manifest.root}): say where they lie with root"
            )
        return manifest

    @classmethod
    def _from_packed(cls, dataset: Any, column: str, shard: Any, wanted: Mapping[str, str | None]) -> Manifest:
        if not os.path.exists(shard):
            pack_dataset(dataset, column, shard)
        root = Path(os.path.abspath(os.path.dirname(shard)))
        table, chosen = read_shards([os.fspath(shard)], os.fspath(shard), wanted, root=root)
        return cls.from_table(table, choose_roles(table, chosen), root=root)

    @classmethod
    def from_table(cls, table: Table, columns: Columns, *, root: Path, separator: str | None = None) -> Manifest:
        """Make a manifest from a table whose columns have their roles; with a separator, labels are sets of classes."""
        rows = (
            (row.line, Source(row.uri, row.label, row.group, row.split, row.start_seconds, row.stop_seconds))
            for row in clip_rows(table, columns, root)
        )
        if separator is not None:
            rows = ((line, replace(source, label=as_set(source.label, separator))) for line, source in rows)
        sources, n_repeats = unique_sources(rows, table.place, "row", separator=separator)
        return cls(sources, root, columns.names, n_repeats, unread=columns.unread, label_separator=separator)


def _wanted(columns: Mapping[str, str | None]) -> dict[str, str | None]:
    allowed = [f"{role}_column" for role in ROLES]
    odd = next((name for name in columns if name not in allowed), None)
    if odd is not None:
        raise ManifestError(unknown_name("argument", odd, allowed))
    return {name.removesuffix("_column"): value for name, value in columns.items()}


def _as_name(path: Any) -> Any:
    try:
        return os.fspath(path)
    except TypeError:
        kind = type(path).__name__
        raise ManifestError(
            f"paths has an item of type {kind}, which is no path: give the names of audio files (Model.predict and "
            "AudioEmbedder take samples in memory, too)"
        ) from None


def _as_texts(values: Iterable[object] | None, name: str, n_paths: int) -> list[str | None]:
    if values is None:
        return [None] * n_paths
    texts = [text_of(value) for value in values]
    if len(texts) != n_paths:
        raise ManifestError(f"{n_paths} paths but {len(texts)} {name}s: give one {name} a path")
    for i, text in enumerate(texts):
        require_short(text, f"item {i}: the {name}")
    return texts


def text_of(value: object) -> str | None:
    """Return a value as text; None for whatever says that nothing is known.

    Examples
    --------
    >>> text_of(float("nan")), text_of(""), text_of(1), text_of("NA")
    (None, None, '1', 'NA')
    """
    try:
        missing = value is None or bool(value != value)
    except (TypeError, ValueError):  # pandas.NA is neither equal nor unequal to itself
        missing = type(value).__name__ == "NAType"
    if missing:
        return None
    seconds = getattr(value, "total_seconds", None)
    return (repr(seconds()) if callable(seconds) else str(value)) or None
