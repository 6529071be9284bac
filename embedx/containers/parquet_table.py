"""Parquet files with the bytes of clips in a column, as Hugging Face's ``datasets`` writes them."""

from __future__ import annotations

import json
import os
import posixpath
import threading
from collections.abc import Mapping
from typing import Any

from embedx.containers.members import BytesMember, as_error, no_member, plain_name
from embedx.errors import MissingExtraError

__all__ = ["ParquetTable"]

_DIGITS = 7
_ROWS_AT_A_TIME = 4096


class ParquetTable:
    """The clips of a Parquet file: row 3 with the path ``a.wav`` is the member ``0000003/a.wav``.

    The bytes are read a row group at a time, and the last group is kept.

    Parameters
    ----------
    path : str
        The file.

    Attributes
    ----------
    n_members : int
        Rows.

    Raises
    ------
    OSError
        It is no Parquet file, or cannot be read.
    MissingExtraError
        pyarrow is not installed.
    """

    def __init__(self, path: str) -> None:
        parquet = _import_parquet(path)
        self.path, self._guard = path, threading.Lock()
        facts = os.stat(path)
        self.identity = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        self._mtime_ns = facts.st_mtime_ns
        self._file = _translated(path, lambda: parquet.ParquetFile(path, pre_buffer=False))
        groups = self._file.metadata
        self._ends = [0]
        for number in range(groups.num_row_groups):
            self._ends.append(self._ends[-1] + groups.row_group(number).num_rows)
        self.n_members = self._ends[-1]
        self._kept: tuple[tuple[int, str], Any] | None = None

    @property
    def audio_columns(self) -> list[str]:
        """Columns that hold audio: those that are declared so, else all of ``{bytes, path}``."""
        declared = [name for name, feature in self._features.items() if feature.get("_type") == "Audio"]
        schema = self._file.schema_arrow
        shaped = [field.name for field in schema if _has_bytes(field.type)]
        return [name for name in declared if name in shaped] or shaped

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return list(self._file.schema_arrow.names)

    def has_bytes(self, audio_column: str) -> bool:
        """Whether any row has the bytes of its clip, as far as the file's own counts tell; others hold paths alone."""
        groups, name = self._file.metadata, f"{audio_column}.bytes"
        for number in range(groups.num_row_groups):
            group = groups.row_group(number)
            for at in range(group.num_columns):
                column = group.column(at)
                counted = column.statistics
                if column.path_in_schema == name and (
                    counted is None or not counted.has_null_count or counted.null_count < group.num_rows
                ):
                    return True
        return not self.n_members

    def names(self, audio_column: str) -> list[str]:
        """Return the name of each row's member."""
        kept: list[str | None] = []
        column = f"{audio_column}.path"
        has_path = "path" in {field.name for field in self._file.schema_arrow.field(audio_column).type}
        batches = self._batches([column]) if has_path else iter(())
        for batch in batches:
            paths = batch.column(0).flatten()[0].to_pylist() if batch.num_columns else []
            kept.extend(paths)
        kept.extend([None] * (self.n_members - len(kept)))
        return [_member(row, path) for row, path in enumerate(kept)]

    def cells(self, name: str) -> list[str] | None:
        """Return a column as texts, class labels by their names, lists with ``|``; None for what no cell can hold."""
        kind, feature = str(self._file.schema_arrow.field(name).type), self._features.get(name, {})
        if kind.startswith(("struct", "map")) or "binary" in kind:
            return None
        inner = feature.get("feature")
        names = feature.get("names") or (inner.get("names") if isinstance(inner, dict) else None)
        return [_text(value.as_py(), names) for batch in self._batches([name]) for value in batch.column(0)]

    def size_of(self, name: str) -> None:
        """Return None: the size of a member is not known before it is read."""
        self._row(name)

    def open(self, name: str) -> BytesMember:
        """Read a member.

        Raises
        ------
        FileNotFoundError
            There is no such row, or another clip lies in it.
        OSError
            The row has no bytes, or they cannot be read.
        """
        row, column = self._row(name), self._only_audio()
        with self._guard:
            cell = _translated(self.path, lambda: self._cell(row, column))
        if _member(row, cell.get("path")) != name:
            raise no_member(self.path, name)
        content = cell["bytes"]
        if not content.is_valid:
            raise as_error(f"row {row} has no bytes of audio in the column {column!r}", self.path)
        return BytesMember(content.as_buffer(), name=f"{self.path}/{name}", mtime_ns=self._mtime_ns)

    @property
    def _features(self) -> Mapping[str, Mapping[str, Any]]:
        """What ``datasets`` wrote of the columns."""
        told = (self._file.schema_arrow.metadata or {}).get(b"huggingface")
        try:
            features = dict(json.loads(told)["info"]["features"]) if told else {}
        except (ValueError, KeyError, TypeError, RecursionError):
            return {}
        return {name: one for name, one in features.items() if isinstance(one, dict)}

    def _only_audio(self) -> str:
        found = self.audio_columns
        if not found:
            raise as_error(f"it has no column of audio (its columns: {', '.join(self.columns)})", self.path)
        return found[0]

    def _row(self, name: str) -> int:
        first = name.partition("/")[0]
        row = int(first) if first.isascii() and first.isdigit() else -1
        if not 0 <= row < self.n_members:
            raise no_member(self.path, name)
        return row

    def _cell(self, row: int, column: str) -> Any:
        group = next(number for number, end in enumerate(self._ends[1:]) if row < end)
        if self._kept is None or self._kept[0] != (group, column):
            self._kept = None  # two groups at a time would be too many
            table = self._file.read_row_group(group, columns=[column], use_threads=False)
            self._kept = (group, column), table.column(0)
        return self._kept[1][row - self._ends[group]]

    def _batches(self, columns: list[str]) -> Any:
        return _translated(
            self.path,
            lambda: list(self._file.iter_batches(batch_size=_ROWS_AT_A_TIME, columns=columns, use_threads=False)),
        )


def _import_parquet(path: str) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError.for_extra("pyarrow", "parquet", os.path.basename(path)) from error
    return pyarrow.parquet


def _translated(path: str, call: Any) -> Any:
    import pyarrow

    try:
        return call()
    except pyarrow.ArrowException as error:
        raise as_error(f"it cannot be read as Parquet ({str(error).splitlines()[0][:200]})", path) from error


def _has_bytes(kind: Any) -> bool:
    names = {kind.field(i).name: str(kind.field(i).type) for i in range(getattr(kind, "num_fields", 0))}
    return str(kind).startswith("struct") and "binary" in names.get("bytes", "")


def _member(row: int, path: Any) -> str:
    path = path.as_py() if hasattr(path, "as_py") else path
    name = posixpath.basename(str(path or "").replace("\\", "/").rstrip("/"))
    try:
        return f"{row:0{_DIGITS}}" + (f"/{plain_name(name)}" if name else "")
    except OSError:
        return f"{row:0{_DIGITS}}"


def _text(value: Any, names: Any) -> str:
    if isinstance(value, list):
        return "|".join(filter(None, (_text(one, names) for one in value)))
    if value is None or value != value:
        return ""
    if isinstance(names, list) and isinstance(value, int):
        return str(names[value]) if 0 <= value < len(names) else ""
    return str(value)
