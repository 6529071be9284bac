"""A location becomes a manifest: a folder, a table, or annotations of one recording."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from embedx.containers.clip_files import is_clip
from embedx.errors import ManifestError
from embedx.manifest.annotations import is_audacity, is_raven, read_audacity, read_raven
from embedx.manifest.columns import choose_roles
from embedx.manifest.file_types import is_audio_name
from embedx.manifest.folder import read_folder
from embedx.manifest.label_sets import as_set, choose_separator, read_class_columns, with_usual_label
from embedx.manifest.manifest import Manifest
from embedx.manifest.paths import shorten, shorten_path
from embedx.manifest.shards import find_shards, is_shard_name, read_shards, shards_below
from embedx.manifest.table import Table, parse_table, read_text

__all__ = ["read_manifest"]


def read_manifest(
    location: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    start_column: str | None = None,
    stop_column: str | None = None,
    duration_column: str | None = None,
    label_separator: str | None = None,
    label_columns: str | Sequence[str] | None = None,
    multi_label: bool = False,
    must_exist: bool = True,
) -> Manifest:
    """Read a folder (first subfolder = label), a CSV with a path column, or annotations of a recording.

    Tar archives (as WebDataset writes them) and Parquet files with audio in a column are read where they lie: a
    clip's path is that of its container and the name of its member, ``shards/a.tar/key.wav``.

    Columns that are not named are guessed from the usual names (``Manifest.columns`` says what was
    taken, ``Manifest.unread`` what was not); columns such as ``start`` and ``stop``, ``onset`` and ``duration`` or
    ``Begin Time (s)`` cut a file into segments. In a folder ``train/dog`` and ``dog/train`` are a part and a label.

    Parameters
    ----------
    location : path-like or sequence of path-like
        A folder of audio; a CSV (comma, semicolon or tab; UTF-8) whose paths are relative to its folder; a
        selection table of Raven; a label file of Audacity beside its recording; or ``.tar`` and ``.parquet`` files:
        one, a folder of them, a pattern (``shards/*.tar``, ``shards/{000..099}.tar``), or a list.
    path_column, label_column, group_column, split_column : str, optional
        Column names; ``""`` ignores a column that would be guessed.
    start_column, stop_column, duration_column : str, optional
        Columns that say where a segment begins, and where it ends or how long it is: numbers of seconds, of
        milliseconds where the name says so (``start_ms``), or times such as ``1:02.5``.
    label_separator : str, optional
        What stands between the classes of a label cell (``dog|rain``), where a clip may have several labels.
    label_columns : str or sequence of str, optional
        A 0/1 column for each class, by names with commas or a pattern such as ``"has_*"``.
    multi_label : bool
        Whether several rows of one clip add up to its labels. Each of the three asks for several labels a clip: labels
        are then sets, written sorted and joined (by ``|`` unless told), the separator alone for a clip of no class.
    must_exist : bool
        Whether a path without a file is an error (it stops the run before hours are spent) or is
        left to the extraction, where it becomes a failure.

    Returns
    -------
    Manifest
        At least one source.

    Raises
    ------
    ManifestError
        Nothing there, not readable, no such column, an empty cell, two rows of one clip that contradict each other,
        a missing file.

    Warns
    -----
    EmbedxWarning
        Something was left out, or a column that looks like time or a label was read as nothing.

    Examples
    --------
    >>> import os, tempfile
    >>> from embedx.testing import make_tone, write_wav
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for label in ("cat", "dog"):
    ...         os.mkdir(f"{folder}/{label}")
    ...         write_wav(f"{folder}/{label}/1.wav", make_tone(440))
    ...     [(source.id, source.label) for source in read_manifest(folder)]
    [('cat/1.wav', 'cat'), ('dog/1.wav', 'dog')]
    """
    wanted = {"path": path_column, "label": label_column, "group": group_column, "split": split_column}
    wanted |= {"start": start_column, "stop": stop_column, "duration": duration_column}
    separator = choose_separator(label_separator, label_columns, multi_label)
    location = _only(location)
    shards, root = _find_shards(location)
    if shards:
        where = location if isinstance(location, str) else f"{len(shards):,} files"
        table, wanted = read_shards(shards, where, wanted, root=root)
        return _from_table(table, wanted, root, label_columns, separator)
    if not isinstance(location, str):
        odd = next((one for one in location if not is_shard_name(one)), "an empty list")
        raise ManifestError(f"{odd} is no tar or Parquet file: of several places all must be; give one folder or CSV")
    if not location:
        raise ManifestError("no sources were named (an empty text). Give a folder of audio or a CSV with a path column")
    place = Path(location)
    if os.path.isdir(place):
        _refuse_columns(place, {**wanted, "labels": str(label_columns or "")})
        return _as_sets(read_folder(place), separator)
    if not os.path.exists(place):
        raise ManifestError(
            f"no such file or folder: {shorten_path(str(place))}. Give a folder of audio or a CSV with a path column"
        )
    if is_audio_name(place.name):
        raise ManifestError(f"{place} is one audio file: give the folder it lies in, or a CSV that lists it")
    table, wanted = _read_table(place, wanted)
    manifest = _from_table(table, wanted, root, label_columns, separator)
    if must_exist:
        _require_files(place, manifest)
    return manifest


def _from_table(
    table: Table,
    wanted: dict[str, str | None],
    root: Path,
    label_columns: str | Sequence[str] | None,
    separator: str | None,
) -> Manifest:
    if separator is not None and label_columns:
        table, wanted = read_class_columns(table, wanted, label_columns, separator)
    elif separator is not None:
        wanted = with_usual_label(table, wanted)
    return Manifest.from_table(table, choose_roles(table, wanted), root=root, separator=separator)


def _only(location: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> str | list[str]:
    """Return one place as text, several as a list of texts."""
    if isinstance(location, str | os.PathLike):
        return os.fspath(location)
    places = [os.fspath(one) for one in location]
    return places[0] if len(places) == 1 else places


def _find_shards(location: str | list[str]) -> tuple[list[str], Path]:
    """Return the containers that are named, none where something else is, and the folder that paths are relative to."""
    if not isinstance(location, str):
        if not location or not all(map(is_shard_name, location)):
            return [], Path()
        return location, Path(os.path.commonpath([os.path.dirname(os.path.abspath(one)) for one in location]))
    if os.path.isdir(location):
        return shards_below(location), Path(os.path.abspath(location))
    plain = location if os.path.exists(location) else re.split(r"[*?\[{]", location)[0]
    return find_shards(location) or [], Path(os.path.abspath(os.path.dirname(plain)))


def _as_sets(manifest: Manifest, separator: str | None) -> Manifest:
    """Read the labels of a folder as sets of classes, where that is asked for."""
    if separator is None:
        return manifest
    sources = tuple(replace(source, label=as_set(source.label, separator)) for source in manifest)
    return replace(manifest, sources=sources, label_separator=separator)


def _refuse_columns(folder: Path, wanted: Mapping[str, str | None]) -> None:
    named = [f"{role} = {name!r}" for role, name in wanted.items() if name]
    if named:
        raise ManifestError(f"{folder} is a folder and has no columns ({', '.join(named)}): give the CSV, or name none")


def _read_table(place: Path, wanted: dict[str, str | None]) -> tuple[Table, dict[str, str | None]]:
    text = read_text(place)
    if is_audacity(text):
        return read_audacity(place, text), wanted
    if is_raven(text):
        return read_raven(place, text, wanted)
    return parse_table(str(place), text), wanted


def _require_files(place: Path, manifest: Manifest) -> None:
    missing = [source.uri for source in manifest if not is_clip(manifest.path_of(source))]
    if not missing:
        return
    first = missing[0]
    if first.lower().startswith(("http:/", "https:/", "s3:/", "gs:/")):
        raise ManifestError(
            f"{place} lists links ({shorten(first.replace(':/', '://', 1))!r}): fetch them first with embedx download"
        )
    raise ManifestError(
        f"{place}: {len(missing):,} of {len(manifest):,} files are missing, the first is {shorten_path(first)!r} "
        f"(looked in {manifest.root}). Correct the paths, or leave them out with --skip-missing"
    )
