"""What is in a store, is it whole, and one store from many."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from embedx.errors import EmbedxError, StoreError, StoreFormatError
from embedx.manifest.source import KNOWN
from embedx.recipe import Recipe
from embedx.store.check import SCHEMA
from embedx.store.hdf5_file import StoreFile
from embedx.store.in_memory import open_store
from embedx.store.part_files import PartsFolder, disk_errors, part_problem
from embedx.store.publish import Entry, Index, publish_entries, read_index, recorded_root

__all__ = ["StoreInfo", "merge_stores", "store_info", "verify_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """What a store holds, counted.

    Parameters
    ----------
    recipe : Recipe
        What made the rows.
    root : Path
        What relative paths are relative to.
    schema : int
        Version of the file's layout.
    n_clips, n_failed, n_rows, n_pending : int
        Clips (failed ones too), failed clips, rows, and parts that are not published yet.
    dim : int
        Width D of a layer.
    size_bytes : int
        Of the published file.
    labels : mapping of str to int
        Clips a label, the most frequent first; clips without a label are not counted.
    n_groups : int
        Groups; 0 where no clip has one.
    splits : mapping of str to int
        Clips a part or fold.
    reasons : mapping of str to int
        Failed clips a reason.
    failures : sequence of (str, str)
        Id and ``"reason: message"`` of every failed clip.
    environments : mapping of str to int
        Clips computed with these versions, device and dtype (JSON).
    """

    recipe: Recipe
    root: Path
    schema: int
    n_clips: int
    n_failed: int
    n_rows: int
    n_pending: int
    dim: int
    size_bytes: int
    labels: Mapping[str, int]
    n_groups: int
    splits: Mapping[str, int]
    reasons: Mapping[str, int]
    failures: Sequence[tuple[str, str]]
    environments: Mapping[str, int]


def store_info(path: str | os.PathLike[str]) -> StoreInfo:
    """Count what a store holds, without reading its embeddings."""
    with open_store(path) as file:
        clips = file.clips()
        failures = [(clip.source.id, clip.error) for clip in clips if clip.error is not None]
        return StoreInfo(
            recipe=file.recipe,
            root=recorded_root(file.path, file.root),
            schema=SCHEMA,
            n_clips=len(clips),
            n_failed=len(failures),
            n_rows=file.n_rows,
            n_pending=len(PartsFolder(file.path).parts()),
            dim=file.dim,
            size_bytes=file.path.stat().st_size,
            labels=_counted(clip.source.label for clip in clips if clip.source.label is not None),
            n_groups=len({clip.source.group for clip in clips} - {None}),
            splits=_counted(clip.source.split for clip in clips if clip.source.split is not None),
            reasons=_counted(error.split(":")[0] for _, error in failures),
            failures=failures,
            environments=_counted(clip.environment for clip in clips),
        )


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def verify_store(path: str | os.PathLike[str]) -> list[str]:
    """Read all of a store, and what is committed beside it, and say everything that is wrong with it.

    Parameters
    ----------
    path : path-like
        What ``embedx extract`` wrote.

    Returns
    -------
    list of str
        A line for each problem: rows that do not match their CRC, values that are not finite, a file that is
        missing or no store. None when it is whole. To drop damaged rows, merge the store into itself.

    Examples
    --------
    >>> verify_store("nowhere.h5")
    ['/...nowhere.h5 does not exist']
    """
    place = Path(os.path.realpath(path))
    parts = PartsFolder(place)
    problems = [f"{part} {problem}" for part in parts.parts() if (problem := part_problem(part))]
    for file in [*([place] if place.exists() or not parts.parts() else []), *parts.parts()]:
        problems += _problems(file)
    return problems


def _problems(path: Path) -> list[str]:
    try:
        with StoreFile(path) as file:
            ids = [clip.source.id for clip in file.clips()]
            clip = file.column("clip")
            damaged, odd = [], []
            for first, rows in file.blocks():
                damaged += (first + rows.damaged()).tolist()
                odd += (first + np.flatnonzero(~np.isfinite(rows.embeddings).all(axis=(1, 2)))).tolist()
            found = (("do not match their CRC", damaged), ("hold values that are not finite", odd))
            return [
                f"{path}: {len(rows)} rows {what}, the first of {ids[clip[rows[0]]]}" for what, rows in found if rows
            ]
    except FileNotFoundError:
        return [f"{path} does not exist"]
    except EmbedxError as error:
        return [str(error)]


def merge_stores(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    last_wins: bool = False,
) -> int:
    """Make one store of several that one recipe made, such as those of the shards of a job array.

    Parameters
    ----------
    inputs : sequence of path-like
        Stores; what they have committed and not published is taken too.
    output : path-like
        A new store, or one of the inputs. Merging a store into itself drops its damaged rows.
    root : path-like, optional
        The folder that the relative paths of all inputs are relative to. By default the paths go on
        naming the files they named, relative to the common folder of the inputs' roots.
    last_wins : bool
        Whether the later input is taken where two hold different content, or another label, group or split, for one
        path.

    Returns
    -------
    int
        Clips in the output.

    Raises
    ------
    RecipeMismatchError
        Two inputs were made by different recipes.
    StoreError
        The output exists and is no input, or two inputs contradict each other.

    Examples
    --------
    >>> import tempfile
    >>> from embedx import load_embeddings
    >>> from embedx.testing import make_dataset, make_store
    >>> clips = make_dataset()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     halves = [make_store(f"{folder}/{i}.h5", clips.take(range(i, 60, 2))) for i in (0, 1)]
    ...     n_clips = merge_stores(halves, f"{folder}/all.h5")
    ...     len(load_embeddings(f"{folder}/all.h5"))
    60
    """
    places = [Path(os.path.realpath(path)) for path in inputs]
    place = Path(os.path.realpath(output))
    if place.exists() and place not in places:
        raise StoreError(f"{output} exists: name it as an input too, or give another output")
    recipe, common = _common(places)
    merged = Index()
    for path in places:
        index = read_index(PartsFolder(path), recipe, None if root is not None else common)
        _merge(merged, index, path, last_wins=last_wins)
    parts = PartsFolder(place)
    with disk_errors(place):
        parts.join(recipe)
        try:
            with parts.locked():
                pending = parts.parts()
                publish_entries(
                    parts, recipe, common if root is None else Path(os.path.abspath(root)), merged.clips.values()
                )
                parts.remove(pending)
        finally:
            parts.leave()
    return len(merged.clips)


def _common(places: Sequence[Path]) -> tuple[Recipe, Path]:
    recipes, roots = [], []
    for place in places:
        held = [place] if place.exists() else PartsFolder(place).parts()
        if not held:
            raise StoreFormatError(f"{place} does not exist: give stores that embedx extract wrote")
        with StoreFile(held[0]) as file:
            recipes.append(file.recipe)
            roots.append(recorded_root(place, file.root))
    for place, recipe in zip(places, recipes, strict=True):
        recipes[0].require_same(recipe, where=str(places[0]), advice=f"{place} cannot be merged with it")
    return recipes[0], Path(os.path.commonpath(roots))


def _merge(merged: Index, index: Index, path: Path, *, last_wins: bool) -> None:
    for key, entry in index.clips.items():
        known = merged.clips.get(key)
        if known is not None and entry.clip.error is not None and known.clip.error is None:
            continue
        good = known is not None and known.clip.error is None
        if known is not None and good and known.clip.stamp.sha256 != entry.clip.stamp.sha256 and not last_wins:
            raise StoreError(
                f"{known.path} and {path} hold different content for {entry.clip.source.id}: give --last-wins to take "
                "the later one, or --root if they name different files"
            )
        merged.clips[key] = entry if known is None else _joined(known, entry, path, last_wins=last_wins)


def _joined(known: Entry, entry: Entry, path: Path, *, last_wins: bool) -> Entry:
    """Return the later of two entries of one clip, with all that both know of it."""
    old, new = known.clip.source, entry.clip.source
    for name in KNOWN:
        mine, theirs = getattr(old, name), getattr(new, name)
        if None not in (mine, theirs) and mine != theirs and not last_wins:
            raise StoreError(
                f"the {name} of {new.id} is {mine!r} in {known.path} and {theirs!r} in {path}: extract one of them "
                "again with the right one, or give --last-wins to take the later"
            )
        if theirs is None:
            new = replace(new, **{name: mine})
    return entry._replace(clip=entry.clip._replace(source=new))
