"""A CSV or a folder of audio becomes an ordered list of checked, unique sources."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from embedx.errors import ManifestError, SkippedSourcesWarning, unknown_name

__all__ = ["AUDIO_SUFFIXES", "ClipKey", "Manifest", "Source", "parse_seconds", "read_manifest", "with_labels"]

AUDIO_SUFFIXES = frozenset(
    [".aac", ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp2", ".mp3"]
    + [".mp4", ".oga", ".ogg", ".opus", ".wav", ".weba", ".webm", ".wma"]
)
"""File endings that a folder is searched for; a CSV may name any file."""

ClipKey = tuple[str, float, float | None]
"""(path relative to the root, start, stop): two segments of one file are two clips."""

_USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "filepath", "file_path", "audio_path", "filename", "file_name", "file", "audio", "clip", "wav"),
    "label": ("label", "class", "category", "target", "class_name", "y"),
    "group": ("group", "source_id", "speaker", "speaker_id", "video_id", "video", "session", "recording", "channel"),
    "split": ("split", "fold", "subset", "set", "partition"),
    "start": ("start_seconds", "start", "begin", "onset"),
    "stop": ("stop_seconds", "stop", "end_seconds", "end", "offset_end"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """One clip: a file, or a segment of one, with what is known of it.

    Parameters
    ----------
    uri : str
        Path relative to the manifest's root where it lies below it (POSIX separators), else absolute.
    label, group, split : str or None
        The class; what must not be cut apart (speaker, video, source recording); a predefined part
        (``train``, ``valid``, a fold's name).
    start_seconds : float
        Where the segment begins in the file, in seconds.
    stop_seconds : float or None
        Where it ends; None is the end of the file.

    Examples
    --------
    >>> Source("a.wav", label="dog", start_seconds=1.5, stop_seconds=4).id
    'a.wav#1.5-4'
    """

    uri: str
    label: str | None = None
    group: str | None = None
    split: str | None = None
    start_seconds: float = 0.0
    stop_seconds: float | None = None

    @property
    def key(self) -> ClipKey:
        """What names the clip: path, start, stop."""
        return (self.uri, self.start_seconds, self.stop_seconds)

    @property
    def id(self) -> str:
        """The key as one readable text."""
        if self.start_seconds == 0 and self.stop_seconds is None:
            return self.uri
        stop = "" if self.stop_seconds is None else _short_number(self.stop_seconds)
        return f"{self.uri}#{_short_number(self.start_seconds)}-{stop}"

    @property
    def sort_key(self) -> tuple[str, float, float]:
        """The key with an open end last: the order of a store's rows."""
        return (self.uri, self.start_seconds, math.inf if self.stop_seconds is None else self.stop_seconds)


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
        Which column of the CSV was read as what; empty for a folder.
    n_repeats : int
        Rows that repeated an earlier clip with the same label and were left out.

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

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # int -> Source, slice -> tuple
        return self.sources[index]

    def __iter__(self) -> Iterator[Source]:
        return iter(self.sources)

    def path_of(self, source: Source) -> Path:
        """Return where the source's file lies."""
        return self.root / source.uri

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
            As long as ``paths``; values become text, None and NaN say that nothing is known.
        root : path-like
            Folder that relative paths are relative to.

        Raises
        ------
        ManifestError
            Lengths differ, one path has two labels, a name is not UTF-8, or ``paths`` is one path.
        """
        if isinstance(paths, str | bytes | os.PathLike):
            raise ManifestError(f"paths is the one path {os.fspath(paths)!r}: give a list, or use read_manifest")
        names = [os.fspath(path) for path in paths]
        odd = [name for name in names if isinstance(name, str) and not _is_text(name)]
        if odd:
            raise ManifestError(f"path {odd[0]!r} is not UTF-8: rename the file")
        base = Path(os.path.abspath(root))
        columns = (_as_texts(labels, "label", len(names)), _as_texts(groups, "group", len(names)))
        rows = (
            (str(i), Source(_relative(name, base), label=label, group=group))
            for i, (name, label, group) in enumerate(zip(names, *columns, strict=True))
        )
        sources, n_repeats = _unique(rows, "paths", "item")
        return cls(sources, base, n_repeats=n_repeats)


def _as_texts(values: Iterable[object] | None, name: str, n_paths: int) -> list[str | None]:
    if values is None:
        return [None] * n_paths
    texts = [None if value is None or _is_nan(value) else str(value) for value in values]
    if len(texts) != n_paths:
        raise ManifestError(f"{n_paths} paths but {len(texts)} {name}s: give one {name} a path")
    return texts


def _is_nan(value: object) -> bool:
    """Whether a value is how pandas writes an empty cell."""
    return isinstance(value, float) and math.isnan(value)


def read_manifest(
    location: str | os.PathLike[str],
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    must_exist: bool = True,
) -> Manifest:
    """Read a folder (first subfolder = label) or a CSV with a path column.

    Columns that are not named are guessed from the usual names (``Manifest.columns`` says what was
    taken); columns named ``start`` and ``stop`` cut a file into segments.

    Parameters
    ----------
    location : path-like
        A folder of audio, or a CSV (comma, semicolon or tab; UTF-8) whose paths are relative to its folder.
    path_column, label_column, group_column, split_column : str, optional
        Column names; ``""`` ignores a column that would be guessed.
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
        Nothing there, not readable, no such column, an empty cell, one clip with two labels, a missing file.
    """
    if not os.fspath(location):
        raise ManifestError("no sources were named (an empty text). Give a folder of audio or a CSV with a path column")
    place = Path(location)
    wanted = {"path": path_column, "label": label_column, "group": group_column, "split": split_column}
    if os.path.isdir(place):
        return _read_folder(place, wanted)
    if not os.path.exists(place):
        raise ManifestError(
            f"no such file or folder: {_shorten(str(place))}. Give a folder of audio or a CSV with a path column"
        )
    if place.suffix.lower() in AUDIO_SUFFIXES:
        raise ManifestError(f"{place} is one audio file: give the folder it lies in, or a CSV that lists it")
    return _read_csv(place, wanted, must_exist)


def _read_folder(folder: Path, wanted: Mapping[str, str | None]) -> Manifest:
    named = [f"{role} = {name!r}" for role, name in wanted.items() if name]
    if named:
        raise ManifestError(f"{folder} is a folder and has no columns ({', '.join(named)}): give the CSV, or name none")
    root = Path(os.path.abspath(folder))
    names, unreadable = [], 0
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if name.startswith(".") or Path(name).suffix.lower() not in AUDIO_SUFFIXES:
                continue
            relative = Path(parent, name).relative_to(root).as_posix()
            if _is_text(relative):
                names.append(relative)
            else:
                unreadable += 1
    if unreadable:
        warnings.warn(
            f"{unreadable} files under {folder} have names that are not UTF-8 and were left out: rename them",
            SkippedSourcesWarning,
            stacklevel=3,
        )
    if not names:
        known = " ".join(sorted(AUDIO_SUFFIXES))
        raise ManifestError(f"no audio file under {folder} (looked for {known}). Give another folder, or a CSV")
    return Manifest(tuple(Source(name, label=_folder_label(name)) for name in sorted(names)), root)


def _folder_label(relative: str) -> str | None:
    return relative.split("/", 1)[0] if "/" in relative else None


def _read_csv(place: Path, wanted: Mapping[str, str | None], must_exist: bool) -> Manifest:
    header, rows = _csv_rows(place)
    columns = _choose_columns(place, header, wanted)
    _require_cells(place, header, rows)
    root = Path(os.path.abspath(place.parent))
    sources, n_repeats = _unique(_csv_sources(place, rows, columns, root), str(place), "row")
    manifest = Manifest(sources, root, columns, n_repeats)
    if must_exist:
        _require_files(place, manifest)
    return manifest


def _csv_rows(place: Path) -> tuple[list[str], list[dict[str, Any]]]:
    if place.is_block_device() or place.is_char_device():
        raise ManifestError(f"{place} is a device, no file: give a folder of audio or a CSV with a path column")
    try:
        text = place.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{place} is not UTF-8 text (byte {error.start}): save it as UTF-8 CSV") from error
    except OSError as error:
        raise ManifestError(f"{place} cannot be read: {error.strerror}") from error
    first = text.split("\n", 1)[0]
    if first.lstrip()[:1] in ("{", "["):
        raise ManifestError(f"{place} looks like JSON: save it as CSV, with a header that names a path column")
    delimiter = max(",;\t", key=first.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
        rows = list(reader)
    except csv.Error as error:
        raise ManifestError(f"{place} cannot be read as CSV: {error}") from error
    header = [name or "" for name in (reader.fieldnames or [])]
    if not header or not rows:
        what = "is empty" if not header else "has a header but no rows"
        raise ManifestError(f"{place} {what}: it needs a header with a path column and one row a clip")
    return header, rows


def _require_cells(place: Path, header: Sequence[str], rows: Sequence[Mapping[Any, Any]]) -> None:
    """Refuse a row with more cells than the header has: a comma that is not quoted shifts what follows it."""
    for number, row in enumerate(rows, start=2):
        extra = [cell for cell in row.get(None, ()) if cell.strip()]
        if extra:
            raise ManifestError(
                f"{place} row {number}: {_shorten(extra[0])!r} stands beyond the {len(header)} columns of the header. "
                'Write a cell that holds the delimiter in quotes ("a, b")'
            )


def _choose_columns(place: Path, header: Sequence[str], wanted: Mapping[str, str | None]) -> dict[str, str]:
    by_lower = {name.strip().lower(): name for name in reversed(header)}
    chosen: dict[str, str] = {}
    for role, usual in _USUAL_NAMES.items():
        name = wanted.get(role)
        if name:
            if name not in header:
                raise ManifestError(f"{place}: {unknown_name('column', name, header)}")
            chosen[role] = name
        elif name is None:
            guess = next((by_lower[candidate] for candidate in usual if candidate in by_lower), None)
            if guess is not None:
                chosen[role] = guess
    if "path" not in chosen:
        raise ManifestError(
            f"{place} has no path column (its columns: {_shorten(', '.join(header))}): name it with --path-column"
        )
    for role, name in chosen.items():
        if header.count(name) > 1:
            raise ManifestError(f"{place} has {header.count(name)} columns {name!r} (read as {role}): rename one")
    return chosen


def _csv_sources(
    place: Path, rows: Sequence[Mapping[str, str]], columns: Mapping[str, str], root: Path
) -> Iterator[tuple[str, Source]]:
    for number, row in enumerate(rows, start=2):
        path = (row[columns["path"]] or "").strip()
        if not path or "\0" in path:
            raise ManifestError(
                f"{place} row {number}, column {columns['path']!r}: no path. Fill it in or delete the row"
            )
        texts = {
            role: (row[columns[role]] or "").strip() or None for role in ("label", "group", "split") if role in columns
        }
        times = {f"{role}_seconds": _seconds(place, number, row, columns.get(role)) for role in ("start", "stop")}
        start, stop = times["start_seconds"] or 0.0, times["stop_seconds"]
        if stop is not None and stop <= start:
            raise ManifestError(
                f"{place} row {number}: the segment stops at {_short_number(stop)} s, "
                f"not after its start at {_short_number(start)} s"
            )
        yield str(number), Source(_relative(path, root), start_seconds=start, stop_seconds=stop, **texts)


def parse_seconds(place: Path, number: int, column: str, text: str) -> float | None:
    """Return the seconds that a cell of a CSV holds, None for an empty one.

    Raises
    ------
    ManifestError
        The text is no number of seconds; the message names file, row and column.

    Examples
    --------
    >>> parse_seconds(Path("clips.csv"), 2, "start", "1.5")
    1.5
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ManifestError(f"{place} row {number}, column {column!r}: {text!r} is no number of seconds (0 or more)")
    return value


def _seconds(place: Path, number: int, row: Mapping[str, str], column: str | None) -> float | None:
    return parse_seconds(place, number, column, (row[column] or "").strip()) if column else None


def _unique(rows: Iterable[tuple[str, Source]], where: str, unit: str) -> tuple[tuple[Source, ...], int]:
    first: dict[ClipKey, tuple[str, Source]] = {}
    n_repeats = 0
    for number, source in rows:
        if source.key not in first:
            first[source.key] = (number, source)
            continue
        n_repeats += 1
        earlier, kept = first[source.key]
        if kept.label != source.label:
            raise ManifestError(
                f"{where}: {source.id} is {kept.label!r} in {unit} {earlier} and {source.label!r} in {unit} {number}. "
                "One clip has one label: delete one of them"
            )
    return tuple(source for _, source in first.values()), n_repeats


def _require_files(place: Path, manifest: Manifest) -> None:
    missing = [source.uri for source in manifest if not os.path.isfile(manifest.path_of(source))]
    if missing:
        raise ManifestError(
            f"{place}: {len(missing)} of {len(manifest)} files are missing, the first is {_shorten(missing[0])!r} "
            f"(looked in {manifest.root}). Correct the paths, or leave them out with --skip-missing"
        )


def _relative(path: str, root: Path) -> str:
    """Return ``path`` relative to ``root`` where it lies below it, else absolute; always with ``/``."""
    absolute = os.path.normpath(os.path.join(root, path))
    inside = os.path.commonpath([absolute, root]) == str(root)
    return Path(os.path.relpath(absolute, root) if inside else absolute).as_posix()


def _short_number(value: float) -> str:
    """Return six digits where they say all, else all: two segments of a long file must not look like one."""
    text = f"{value:g}"
    return text if float(text) == value else repr(float(value))


def _shorten(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def with_labels(sources: Iterable[Source], labels: Manifest) -> tuple[Source, ...]:
    """Give sources the label, group and split that another manifest has for the same clip.

    Clips that ``labels`` does not name keep None.

    Examples
    --------
    >>> known = Manifest.from_paths(["/d/a.wav"], labels=["dog"], root="/d")
    >>> with_labels([Source("a.wav"), Source("b.wav", label="old")], known)
    (Source(uri='a.wav', label='dog', group=None, split=None, start_seconds=0.0, stop_seconds=None), \
Source(uri='b.wav', label=None, group=None, split=None, start_seconds=0.0, stop_seconds=None))
    """
    known = {source.key: source for source in labels}
    blank = Source("")
    found = ((source, known.get(source.key, blank)) for source in sources)
    return tuple(replace(old, label=new.label, group=new.group, split=new.split) for old, new in found)
