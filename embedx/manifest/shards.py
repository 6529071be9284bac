"""Containers of clips become manifests: tar archives as of WebDataset, Parquet files with audio in a column."""

from __future__ import annotations

import glob
import itertools
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedx.containers.clip_files import SHARD_ENDINGS, open_shard
from embedx.containers.parquet_table import ParquetTable
from embedx.errors import ManifestError, SkippedSourcesWarning, unknown_name
from embedx.manifest.columns import usual_names
from embedx.manifest.file_types import is_audio_name
from embedx.manifest.paths import is_text, relative_uri, shorten, shorten_path
from embedx.manifest.split_folders import find_layout, is_part
from embedx.manifest.table import Table

__all__ = ["find_shards", "is_shard_name", "read_shards", "shards_below"]

_COMPRESSED = re.compile(r"\.(tar\.(gz|bz2|xz|zst|lz4|z)|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
_NOTES = (".cls", ".txt", ".json")
_MOST_NOTE_BYTES = 1 << 20
_MEMBER, _FOLDER, _PART, _EITHER = "(member)", "(folder)", "(part)", "(label)"
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_IN_BRACES = 1_000_000

Row = dict[str, str]


def is_shard_name(name: str) -> bool:
    """Say whether a name is that of a container; of one that cannot be read, too.

    Examples
    --------
    >>> is_shard_name("a.tar"), is_shard_name("a.parquet"), is_shard_name("a.tar.gz"), is_shard_name("a.wav")
    (True, True, True, False)
    """
    return name.lower().endswith(SHARD_ENDINGS) or _COMPRESSED.search(name) is not None


def find_shards(location: str) -> list[str] | None:
    """Return the containers that a text names: one, a pattern (``shards/*.tar``) or a range (``{000..099}.tar``).

    None stands for something else.

    Raises
    ------
    ManifestError
        A pattern that fits nothing.
    """
    if os.path.isfile(location):
        return [location] if is_shard_name(location) else None
    if os.path.exists(location) or not is_shard_name(location):
        return None
    spelt = list(_expand(location))
    if any(mark in location for mark in "*?["):
        found = sorted({name for one in spelt for name in glob.glob(one) if os.path.isfile(name)})
        if not found:
            raise ManifestError(f"no file fits the pattern {location!r}")
        return found
    return spelt if len(spelt) > 1 else None


def shards_below(folder: str) -> list[str]:
    """Return the containers below a folder, none where there is audio in files, too."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if is_audio_name(name) and not name.startswith("."):
                return []
            if name.lower().endswith(SHARD_ENDINGS) and not name.startswith("."):
                found.append(os.path.join(parent, name))
    return found


def _expand(pattern: str) -> Iterator[str]:
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    first, last = found.groups()
    if int(last) - int(first) >= _MOST_IN_BRACES:
        raise ManifestError(f"{shorten(pattern)} names more than {_MOST_IN_BRACES:,} files")
    for number in range(int(first), int(last) + 1):
        yield from _expand(f"{pattern[: found.start()]}{number:0{len(first)}}{pattern[found.end() :]}")


def read_shards(
    paths: Sequence[str], where: str, wanted: Mapping[str, str | None], *, root: Path
) -> tuple[Table, dict[str, str | None]]:
    """Read the clips of containers, with what stands beside each in its container.

    Parameters
    ----------
    paths : sequence of str
        Tar archives and Parquet files.
    where : str
        What names them, for messages.
    wanted : mapping of str to str or None
        Columns that were named, by role: of a Parquet file, or ``cls``, ``txt`` and the keys of the JSON beside a
        member of a tar archive. The path is the column of audio.
    root : Path
        What uris are relative to.

    Returns
    -------
    table : Table
        A row a clip.
    wanted : dict of str to str or None
        The columns that are meant, by role, for `choose_roles`.

    Raises
    ------
    ManifestError
        A container cannot be read, is cut off, has no audio, or has a name in it twice.
    """
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise ManifestError(f"{where}: {len(missing)} of {len(paths)} files are missing, the first is {missing[0]}")
    shards = [_read(path, wanted) for path in paths]
    rows = [row for shard in shards for row in shard.rows(relative_uri(os.path.abspath(shard.path), root))]
    _warn(where, shards)
    if not rows:
        seen = sum((shard.other for shard in shards), Counter[str]())
        told = ", ".join(f"{n:,} {ending or 'without ending'}" for ending, n in seen.most_common(8))
        raise ManifestError(f"{where}: no audio file in it (it holds {told or 'nothing'})")
    table = _table(where, rows)
    table, chosen = _with_folders(table, {**wanted, "path": _MEMBER}, shards, root)
    named = "cls" if chosen["label"] == _EITHER and "cls" in table.header else chosen["label"]
    if named in ("cls", "txt"):
        _require_text(where, table, named)
    return table, chosen


@dataclass(slots=True)
class _Shard:
    """One container: the cells of each clip by the name of its member, and what was left out."""

    path: str
    clips: dict[str, Row] = field(default_factory=dict)
    other: Counter[str] = field(default_factory=Counter)
    lonely: list[str] = field(default_factory=list)
    bad_names: int = 0
    n_links: int = 0

    def rows(self, uri: str) -> Iterator[Row]:
        """Yield a row a clip, with its member's name as a path."""
        for name, cells in self.clips.items():
            yield {**cells, _MEMBER: f"{uri}/{name}"}


def _read(path: str, wanted: Mapping[str, str | None]) -> _Shard:
    compressed = _COMPRESSED.search(path)
    if compressed is not None:
        raise ManifestError(
            f"{path} is a compressed archive, which cannot be read at random: unpack it, or write it as .tar "
            f"(sound hardly shrinks): gunzip or its like will do"
        )
    try:
        return _read_parquet(path, wanted) if path.lower().endswith(".parquet") else _read_tar(path)
    except OSError as error:
        raise ManifestError(f"{path} cannot be used: {error.strerror or error}") from error


# -- tar -------------------------------------------------------------------------------------------


def _read_tar(path: str) -> _Shard:
    shard = _Shard(path)
    audio: dict[str, list[str]] = {}
    beside: dict[str, Row] = {}

    def on_member(name: str, size: int, read: Callable[[], bytes]) -> None:
        base = name.rpartition("/")[2]
        if base.startswith("."):
            return
        ending = os.path.splitext(base)[1].lower()
        if not is_text(name):
            shard.bad_names += 1
        elif is_audio_name(base):
            names = audio.setdefault(_key(name), [])
            if name in names:
                raise ManifestError(f"{path} holds {name!r} twice: pack it again, with each name once")
            names.append(name)
        else:
            shard.other[ending] += 1
            if ending in _NOTES:
                note = _note(path, name, ending, size, read)
                known = beside.setdefault(_key(name), {})
                beside[_key(name)] = {**known, **note} if ending != ".json" else {**note, **known}

    archive = open_shard(path, on_member)
    if archive.fault:  # type: ignore[union-attr]
        raise ManifestError(f"{path}: {archive.fault}: fetch or pack it again")  # type: ignore[union-attr]
    shard.n_links = archive.n_links  # type: ignore[union-attr]
    for key, names in audio.items():
        if len(names) > 1 and key in beside:
            raise ManifestError(
                f"{path}: the key {key!r} has {len(names)} members with audio ({', '.join(names[:3])}), and nothing "
                "says which is meant: list those that are in a CSV with a path column"
            )
        for name in names:
            shard.clips[name] = beside.get(key, {})
    shard.lonely = [key for key in beside if key not in audio]
    return shard


def _key(name: str) -> str:
    """Return what the members of one sample have in common, as WebDataset says: all before the first dot."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _note(path: str, name: str, ending: str, size: int, read: Callable[[], bytes]) -> Row:
    if size > _MOST_NOTE_BYTES:
        raise ManifestError(f"{path}: {name!r} has {size:,} bytes, and no label has more than {_MOST_NOTE_BYTES:,}")
    try:
        text = read().decode("utf-8-sig").strip()
        if ending != ".json":
            return {ending[1:]: text or _EMPTY}
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if ending == ".json" else "UTF-8 text"
        raise ManifestError(f"{path}: {name!r} is no {kind}: mend it, or leave it out") from error
    fields = value if isinstance(value, Mapping) else {"json": value}
    return {str(field): _plain(one) for field, one in fields.items()}


def _plain(value: Any) -> str:
    if value is None or isinstance(value, Mapping):
        return ""
    if isinstance(value, list):
        return "|".join(filter(None, map(_plain, value)))
    return str(value).strip()


def _require_text(where: str, table: Table, label: str) -> None:
    at, member = table.header.index(label), table.header.index(_MEMBER)
    empty = next((row[member] for row in table.rows if row[at] == _EMPTY), None)
    if empty is not None:
        raise ManifestError(f"{where}: the .{label} file beside {empty} holds no text: fill it in, or take it out")


_EMPTY = " "
"""What a cell holds whose file is there, and empty."""


# -- Parquet ---------------------------------------------------------------------------------------


def _read_parquet(path: str, wanted: Mapping[str, str | None]) -> _Shard:
    table = open_shard(path)
    assert isinstance(table, ParquetTable)
    _require_named(path, table, wanted.get("path"))
    audio = _audio_column(path, table)
    if not table.has_bytes(audio):
        raise ManifestError(
            f"{path} has paths of audio in the column {audio!r}, and no bytes: give their folder or a CSV, "
            "or write their bytes along, as push_to_hub does"
        )
    cells = {name: values for name in table.columns if name != audio if (values := table.cells(name)) is not None}
    names = table.names(audio)
    rows = zip(*cells.values(), strict=True) if cells else itertools.repeat((), len(names))
    return _Shard(path, {name: dict(zip(cells, row, strict=True)) for name, row in zip(names, rows, strict=True)})


def _require_named(path: str, table: ParquetTable, wanted: str | None) -> None:
    if wanted and wanted not in table.audio_columns:
        raise ManifestError(f"{path}: {unknown_name('column of audio', wanted, table.audio_columns or table.columns)}")


def _audio_column(path: str, table: ParquetTable) -> str:
    found = table.audio_columns
    if len(found) != 1:
        what = f"several columns of audio ({', '.join(found)})" if found else "no column of audio"
        columns = shorten(", ".join(table.columns))
        way = "write it with one of them" if found else "one of {bytes, path} is needed, as datasets.Audio is written"
        raise ManifestError(f"{path} has {what} (its columns: {columns}): {way}")
    return found[0]


# -- all of them -----------------------------------------------------------------------------------


def _table(where: str, rows: Sequence[Row]) -> Table:
    header = tuple(dict.fromkeys(itertools.chain.from_iterable(rows)))
    cells = [[row.get(name, "") for name in header] for row in rows]
    return Table(where, header, cells, range(1, len(rows) + 1))


def _with_folders(
    table: Table, wanted: dict[str, str | None], shards: Sequence[_Shard], root: Path
) -> tuple[Table, dict[str, str | None]]:
    """Add what the names say where no column does: the label by folders in the archives, the part by shards' names."""
    if wanted.get("label") is None and not usual_names("label", table.header):
        named = next((name for name in ("cls", "txt") if name in table.header), None)
        inner = [name for shard in shards for name in shard.clips]
        if named is not None:
            wanted["label"] = named
        elif not any(shard.path.lower().endswith(".parquet") for shard in shards):
            layout = find_layout(inner, table.place)
            read = [layout.read(name) for name in inner]
            if any(label for label, _ in read):
                table, wanted["label"] = table.with_column(_FOLDER, [label or "" for label, _ in read]), _FOLDER
            if any(part for _, part in read) and wanted.get("split") is None:
                table, wanted["split"] = table.with_column(_PART, [part or "" for _, part in read]), _PART
    elif wanted.get("label") is None and len(names := _label_names(table.header)) > 1:
        table, wanted["label"] = _with_either(table, names), _EITHER
    if wanted.get("split") is None and not usual_names("split", table.header):
        parts = [_part_of(relative_uri(os.path.abspath(shard.path), root)) for shard in shards]
        if len(set(parts)) > 1 and None not in parts:
            told = [part or "" for part, shard in zip(parts, shards, strict=True) for _ in shard.clips]
            table, wanted["split"] = table.with_column(_PART, told), _PART
    return table, wanted


def _label_names(header: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*(name for name in header if name == "cls"), *usual_names("label", header)]))


def _with_either(table: Table, names: Sequence[str]) -> Table:
    """Add the label that each clip has, by the first of some columns that says one: samples of one list may differ."""
    places = [table.header.index(name) for name in names]
    return table.with_column(_EITHER, [next((row[at] for at in places if row[at].strip()), "") for row in table.rows])


def _part_of(uri: str) -> str | None:
    """Return the part that the name of a container says: ``train-00000-of-00002.parquet``, ``test/a.tar``."""
    *folders, name = uri.split("/")
    words = re.split(r"[-_.]", os.path.splitext(name)[0])
    return next((word for word in (*folders, *words) if is_part(word)), None)


def _warn(where: str, shards: Sequence[_Shard]) -> None:
    told = []
    lonely = [(shard.path, key) for shard in shards for key in shard.lonely]
    if lonely:
        path, key = lonely[0]
        told.append(f"left out, as no audio belongs to them: {len(lonely):,} keys ({key!r} of {shorten_path(path)})")
    n_links, n_bad = (sum(values) for values in zip(*((one.n_links, one.bad_names) for one in shards), strict=True))
    if n_links:
        told.append(f"left out, as they are links or sparse files: {n_links:,} members")
    if n_bad:
        told.append(f"left out, as their names are not UTF-8: {n_bad:,} members")
    for text in told:
        warnings.warn(f"{where}: {text}", SkippedSourcesWarning, stacklevel=4)
